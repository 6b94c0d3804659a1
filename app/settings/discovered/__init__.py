"""Finds settings on this machine: other programs' logins, other gateways' variables."""
