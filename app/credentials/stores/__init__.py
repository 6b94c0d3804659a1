"""Stores of logins."""
