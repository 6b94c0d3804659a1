"""Endpoints for operators: health, metrics, usage, versions and permissions."""
