"""What requests cost and who made them: one frozen record per request, its rows, sums and prices.

Nothing here delays a request: records are queued, and a loop of each worker writes them in batches.
"""
