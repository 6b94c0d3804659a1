"""The chaos suite runs when it is asked for by `make chaos`; it prints its figures like the hardening suite."""

from __future__ import annotations

import os

from tests.hardening.conftest import figure, pytest_terminal_summary

__all__ = ["figure", "pytest_terminal_summary"]

collect_ignore_glob = [] if os.environ.get("CHAOS") else ["test_*.py"]
