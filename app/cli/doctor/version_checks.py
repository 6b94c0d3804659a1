"""Compares installed client versions with the tested ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from app.blueprints.operations.tested_clients import find_tested
from app.cli.doctor.finding import Finding, Subject

# Programs whose version is checked.
LOOKED_AT = ("claude", "codex")
_TIMEOUT = 10.0
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")


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
