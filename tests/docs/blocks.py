"""Finds the fenced blocks of a document."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    """The texts of all blocks in one language, in order."""
    return [text for kind, text in _BLOCK.findall(document.read_text()) if kind == language]


def first_words(block: str) -> str:
    """A short name for a block, for the list of tests."""
    return " ".join(block.split()[:3])
