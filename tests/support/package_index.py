"""Where pip and npm of this machine find packages, for tests that install in a system of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# Where a system keeps its settings of pip and npm, and the certificates that it trusts.
_SETTINGS = ("/etc/pip.conf", "/etc/xdg/pip", "/etc/npmrc", "/etc/ssl/certs")
_FOLDER = re.compile(r"(?:file://|[\s'])(/[^\s']{1,300})")


def find_outside() -> list[Path]:
    """The files and folders that must lie at the same place inside: settings, and what they point to."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    named = [Path(path) for path in _FOLDER.findall(told.replace("=", " "))]
    own = [Path.home() / ".npmrc", Path.home() / ".config" / "pip"]
    folders = [path.parent if path.name == "simple" else path for path in named if not path.is_file()]
    return sorted({path for path in (*map(Path, _SETTINGS), *own, *folders) if path.exists()})
