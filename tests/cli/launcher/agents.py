"""Stand-ins for agents on the path: each writes down how it was called and ends as it is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

# What it was called with is in a file; the rest is what a test wants it to do.
_PROGRAM = """#!{python}
import json, os, signal, sys
signal.alarm(60)  # a test that waits for more than this agent has to say fails and does not hang
if sys.argv[1:3] == ["debug", "models"]:
    print({catalogue!r})
    sys.exit()
files = {{}}
for word in [*sys.argv, *os.environ.values()]:
    path = json.loads(word.partition("=")[2]) if word.startswith("model_catalog_json=") else word
    if path.startswith("/") and path.endswith(".json") and os.path.isfile(path):
        files[path] = [open(path).read(), os.stat(path).st_mode & 0o777]
for folder in filter(None, [os.environ.get("CLINE_DATA_DIR")]):
    path = folder + "/settings/providers.json"
    files[path] = [open(path).read(), os.stat(path).st_mode & 0o777]
json.dump({{"arguments": sys.argv[1:], "environ": dict(os.environ), "files": files}}, open({record!r}, "w"))
{then}
"""
CATALOGUE = {
    "models": [
        {
            "slug": "gpt-lite",
            "visibility": "list",
            "context_window": 9,
            "tool_mode": "code_mode_only",
            "base_instructions": "x",
        },
        {
            "slug": "gpt-plain",
            "visibility": "list",
            "context_window": 9,
            "tool_mode": None,
            "apply_patch_tool_type": "freeform",
            "base_instructions": "y",
        },
    ]
}


class Called(NamedTuple):
    """How an agent was called; `files` holds the text and the mode of those it was told to read."""

    arguments: list[str]
    environ: dict[str, str]
    files: dict[str, tuple[str, int]]


class StandInAgent:
    def __init__(self, folder: Path, name: str, then: str = "") -> None:
        self.folder = folder / "bin"
        self.folder.mkdir(exist_ok=True)
        self._record = folder / "called.json"
        program = self.folder / name
        program.write_text(
            _PROGRAM.format(python=sys.executable, catalogue=json.dumps(CATALOGUE), record=str(self._record), then=then)
        )
        program.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    @property
    def was_called(self) -> bool:
        return self._record.exists()

    def called(self) -> Called:
        told = json.loads(self._record.read_text())
        return Called(told["arguments"], told["environ"], told["files"])
