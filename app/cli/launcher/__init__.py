"""Starts agents on the gateway for one run, without changing any of the user's files."""
