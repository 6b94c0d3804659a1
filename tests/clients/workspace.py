"""The folder that an agent works in, and a run of a program there."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

MARKER = "marker.txt"
TIMEOUT = 90  # seconds for one run


class Workspace:
    """A project with a marker file, beside a home that holds nothing. What the marker says can only be read there, so
    a program that prints it has really run its tool."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "user"
        self.project = folder / "project"
        self.home.mkdir(parents=True)
        self.project.mkdir()
        self.secret = secrets.token_hex(8)
        (self.project / MARKER).write_text(f"{self.secret}\n")

    def run(self, command: Sequence[str | Path], **environ: str) -> str:
        """What a program prints on stdout; fails the test, with all that it said, unless it succeeds in time.

        Of this process's environment it sees nothing but the path.
        """
        bare = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.project,
            env=bare | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout
