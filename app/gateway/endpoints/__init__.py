"""Endpoints that are answered otherwise than by one generation."""
