"""Writes systemd units and launchd property lists."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from pathlib import Path

NAME = "dragoman"
LABEL = "dev.dragoman.gateway"

_UNIT = """\
[Unit]
Description=Dragoman, a gateway between LLM clients and providers
After=network-online.target

[Service]
{environment}ExecStart={command}
# A small system has no /bin/kill.
ExecReload=/bin/sh -c "kill -HUP $MAINPID"
Restart=on-failure
RestartSec=2
# Running streams may finish.
TimeoutStopSec=620
KillMode=mixed
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


def write_unit(command: Sequence[str], environ: Mapping[str, str]) -> str:
    message = "".join(f"Environment={_quote(f'{name}={value}')}\n" for name, value in environ.items())
    return _UNIT.format(environment=message, command=" ".join(_quote(word) for word in command))


def write_plist(command: Sequence[str], environ: Mapping[str, str], log: Path) -> str:
    settings = {
        "Label": LABEL,
        "ProgramArguments": list(command),
        "EnvironmentVariables": dict(environ),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
        "ExitTimeOut": 620,
    }
    return plistlib.dumps(settings).decode()


def _quote(word: str) -> str:
    """A word quoted for systemd, where %, $ and quotes have a meaning."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", " ")
    return f'"{escaped}"'
