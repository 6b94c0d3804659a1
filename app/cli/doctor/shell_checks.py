"""Checks shell start files for variables that point clients elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.cli.doctor.claude_checks import is_own_address
from app.cli.doctor.finding import Finding, Subject

FILES = (".bashrc", ".bash_profile", ".profile", ".zshrc", ".zprofile", ".zshenv", ".config/fish/config.fish")
VARIABLES = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL")
# Maximum characters read of a file, and of a line.
LARGEST, LONGEST = 1 << 20, 500
_SETTING = re.compile(
    r"^\s{0,20}(?:export\s{1,4}|set\s{1,4}-\w{1,4}\s{1,4})?"  # the syntax of sh and fish
    r"(\w{1,40})[= ]\s{0,4}[\"']?([^\s\"';]{1,300})"
)


def check_shells(subject: Subject) -> Iterator[Finding]:
    if subject.settings is None:
        return
    for name in FILES:
        file = subject.home / name
        try:
            with file.open(encoding="utf-8", errors="replace") as opened:
                lines = opened.read(LARGEST).splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            found = _SETTING.match(line[:LONGEST])
            if found is None or found[1] not in VARIABLES or is_own_address(found[2], subject.settings):
                continue
            message = f"~/{name}:{number} sets {found[1]} to another server in every new shell"
            yield Finding("note", "shell", message, f"remove line {number} of ~/{name}, or use: dragoman run")
