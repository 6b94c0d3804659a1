"""Endpoints that take more than one generation, or none."""
