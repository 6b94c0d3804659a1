"""Providers: their URLs, headers, credentials, models and quirks.

A provider knows no client and translates nothing; it accepts a body in its own dialect and returns an exchange. One
module per kind; third parties add kinds through the entry point group `dragoman.providers`.
"""
