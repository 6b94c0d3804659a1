"""Limits the memory and time that large bodies take."""
