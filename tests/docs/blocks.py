"""Finds the fenced blocks of a document, and why one of them is not run.

A block that a test cannot run has a comment of one line before its fence: `<!-- not run: REASON -->`, or
`<!-- not ours: REASON -->` for a file that another program reads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
CLIENTS = ROOT / "docs" / "how-to" / "clients.md"
# What users read. The decisions are history, and quote what is no longer so.
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SUPPORT.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(path for path in ROOT.glob("docs/**/*.md") if path.parent.name != "decisions"),
]

_BLOCK = re.compile(
    r"(?:^<!-- (not run|not ours): ([^\n]{3,200}) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """`excuse` says why a test cannot run it; empty where one can."""

    document: Path
    language: str
    text: str
    excuse: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {' '.join(self.text.split()[:3])}"


def all_blocks(document: Path) -> list[Block]:
    return [
        Block(document, language, text, excuse) for _, excuse, language, text in _BLOCK.findall(document.read_text())
    ]


def blocks(document: Path, language: str) -> list[str]:
    """The texts of all blocks in one language, in order."""
    return [block.text for block in all_blocks(document) if block.language == language]
