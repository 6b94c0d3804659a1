"""Remembers reasoning for clients that do not send it back."""
