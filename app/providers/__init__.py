"""Providers: their URLs, headers, credentials, models and quirks.

A provider knows no client and translates nothing; it takes a body in its own dialect and gives back an exchange.
One module a kind; third parties add one through the entry point group `dragoman.providers`.
"""
