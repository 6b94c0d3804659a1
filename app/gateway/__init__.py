"""Answers requests: routes, passes or translates, sends, translates back, counts and logs.

It knows no HTTP server: a blueprint hands in an `ClientRequest` and writes out an `ClientResponse`.
"""
