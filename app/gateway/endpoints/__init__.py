"""Endpoints that need several generations, or none."""
