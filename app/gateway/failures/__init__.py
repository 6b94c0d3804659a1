"""Interprets failures and decides what to do about them."""
