"""Requests in the shapes of another dialect than that of their path: clients that speak several mix them."""
