"""Finds the program that listens on a port of this machine."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_LISTENING = "0A"
# Timeout in seconds for lsof, used where the system has no /proc/net.
_TIMEOUT = 5.0


def find_port_holder(port: int) -> str | None:
    """The program that listens on the port, as "PID 123 (node)"; None if there is none, or if the system does not say:
    it hides the programs of other users."""
    if Path("/proc/net/tcp").exists():
        return next(_find_in_proc(f"{port:04X}"), None)
    lsof = shutil.which("lsof")
    if lsof is None:
        return None
    asked = [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-F", "pc"]
    try:
        lines = subprocess.run(asked, capture_output=True, text=True, timeout=_TIMEOUT).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = {line[:1]: line[1:] for line in reversed(lines)}
    return f"PID {fields['p']} ({fields.get('c', 'unknown')})" if "p" in fields else None


def _find_in_proc(port: str) -> Iterator[str]:
    rows = [row.split() for table in ("tcp", "tcp6") for row in _read_lines(Path("/proc/net") / table)[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENING and row[1].endswith(f":{port}")}
    if not sockets:
        return
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _holds(process, sockets):
            name = "".join(_read_lines(process / "comm")[:1]) or "unknown"
            yield f"PID {process.name} ({name})"


def _holds(process: Path, sockets: set[str]) -> bool:
    # Another user's process, or one that has just ended.
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()) in sockets:
                    return True
    return False


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
