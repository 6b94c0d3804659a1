"""Requests that mix in the shapes of a dialect other than their path's, from clients that speak several."""
