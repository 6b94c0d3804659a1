"""Kinds of providers, one module or package each."""
