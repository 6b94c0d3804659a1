"""This room holds the commands, one module each. They read the options, ask the rooms below, and print."""

from app.cli.group import main

__all__ = ["main"]
