"""Limits the memory and time used for large bodies."""
