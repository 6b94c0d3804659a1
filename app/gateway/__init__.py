"""Answers requests: routes, passes or translates, sends, translates back, counts and logs.

It is independent of any HTTP server: a blueprint hands in a `ClientRequest` and writes out the `ClientResponse`.
"""
