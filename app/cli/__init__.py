"""This room holds the commands, one module each. They read the options, ask the rooms below, and print."""

# ruff: noqa: E402
from app.log_target import fill_standard_descriptors

fill_standard_descriptors()

from app.cli.group import main

__all__ = ["main"]
