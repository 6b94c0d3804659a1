"""Limits on client keys and providers: requests, tokens, budgets."""
