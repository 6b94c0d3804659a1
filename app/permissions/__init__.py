"""Requests of programs for permission to use a tool, and how people answer them."""
