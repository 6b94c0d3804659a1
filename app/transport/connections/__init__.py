"""Connections to upstreams: opening, keeping and waiting."""
