"""Records what each request used and cost: one frozen record per request, stored as rows and sums, with prices.

Nothing here delays a request: records are queued, and a loop in each worker writes them in batches.
"""
