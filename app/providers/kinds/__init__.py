"""The kinds of providers, one module or package for each."""
