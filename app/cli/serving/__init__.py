"""Starts the server and shows what it found."""
