"""Logging in: the issuers, the browser, the token endpoint."""
