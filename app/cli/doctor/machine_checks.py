"""Checks this machine: shell start files that point clients elsewhere, and the versions of installed clients."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from app.blueprints.operations.tested_clients import find_tested
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
# Programs whose version is checked.
LOOKED_AT = ("claude", "codex")
_TIMEOUT = 10.0
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")


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


def check_versions(subject: Subject) -> Iterator[Finding]:
    for name in LOOKED_AT:
        client = find_tested(name)
        tried, renew = client.version, f"npm install -g {client.package}"
        program = shutil.which(name, path=subject.environ.get("PATH"))
        if program is None:
            continue
        try:
            done = subprocess.run(
                [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired):
            yield Finding("warning", "versions", f"{program} does not report its version", f"{renew}@{tried}")
            continue
        found = _VERSION.search(done.stdout[:500].decode("utf-8", "replace"))
        if found is None:
            yield Finding("warning", "versions", f"{program} does not report its version", f"{renew}@{tried}")
        elif _read(found[0]) < _read(tried):
            yield Finding("note", "versions", f"{name} {found[0]} is older than the tested version, {tried}", renew)
        elif found[0] != tried:
            yield Finding("note", "versions", f"{name} {found[0]} is newer than the tested version, {tried}")
        else:
            yield Finding("ok", "versions", f"{name} {tried} is the tested version")


def _read(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
