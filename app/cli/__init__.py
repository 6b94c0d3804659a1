"""The commands, one module each. They read options, call the rooms below and print the result."""

from app.cli.group import main

__all__ = ["main"]
