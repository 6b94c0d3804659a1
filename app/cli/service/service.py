"""`dragoman service`: runs the gateway in the background from login on."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from app.cli.options import config_option, json_option, open_routing, print_json, read_settings
from app.cli.serving.start_screen import base_url
from app.cli.terminal import echo
from app.settings.places import home_folder

# Timeout in seconds for systemctl and launchctl.
TIMEOUT = 30.0
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


@click.group()
def service() -> None:
    """Run the gateway in the background with systemd --user or launchd."""


@service.command()
@config_option
@click.option("--no-start", is_flag=True, help="Only write the file.")
def install(path: Path | None, no_start: bool) -> None:
    """Install the service and start it, now and at each login."""
    settings = read_settings(path)
    # A configuration that `serve` refuses would be restarted again and again.
    open_routing(settings)
    source = path or settings.source
    # A service has none of the shell's variables, so only its file determines what it does.
    environ = {"DRAGOMAN_CONFIG": str(source.absolute())} if source else {}
    command = [sys.executable, "-P", "-c", "from app.cli import main; main()", "serve", "--no-browser"]
    file = find_file()
    log = home_folder(os.environ) / "Library" / "Logs" / "dragoman.log"
    text = write_plist(command, environ, log) if is_mac() else write_unit(command, environ)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    echo(f"wrote {file}")
    if source is None:
        echo("no configuration file, and a service does not see your shell's variables; run: dragoman config init")
    if no_start:
        return
    for words in _starts(file):
        _run(words)
    echo(f"started; it answers at {base_url(settings.server)}")


@service.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the service is installed and running. Exits with 1 if it is not running."""
    file = find_file()
    asked = ["launchctl", "list", LABEL] if is_mac() else ["systemctl", "--user", "is-active", NAME]
    runs = file.exists() and _ask(asked) is not None
    if as_json:
        print_json({"file": str(file), "installed": file.exists(), "runs": runs})
    elif not file.exists():
        echo("not installed; run: dragoman service install")
    else:
        echo(f"{file}: {'running' if runs else 'not running; start it with: dragoman service install'}")
    sys.exit(not runs)


@service.command()
def uninstall() -> None:
    """Stop the service and delete its file."""
    file = find_file()
    if not file.exists():
        echo("not installed")
        return
    stop = ["launchctl", "unload", str(file)] if is_mac() else ["systemctl", "--user", "disable", "--now", NAME]
    _ask(stop)
    file.unlink()
    if not is_mac():
        _ask(["systemctl", "--user", "daemon-reload"])
    echo(f"removed {file}")


def is_mac() -> bool:
    return sys.platform == "darwin"


def find_file() -> Path:
    home = home_folder(os.environ)
    if is_mac():
        return home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user" / f"{NAME}.service"


def _starts(file: Path) -> list[list[str]]:
    if is_mac():
        return [["launchctl", "unload", str(file)], ["launchctl", "load", "-w", str(file)]]
    # Restart: a service that already runs takes the new file.
    return [["systemctl", "--user", *words] for words in (["daemon-reload"], ["enable", NAME], ["restart", NAME])]


def _run(words: Sequence[str]) -> None:
    if _ask(words) is None and words[1] != "unload":
        message = f"{' '.join(words)} failed; does this user have a {'launchd' if is_mac() else 'systemd'} session?"
        raise click.ClickException(
            f"{message} The service's file was kept; run that command by hand, or use: dragoman serve"
        )


def _ask(words: Sequence[str]) -> str | None:
    """The output of a command; None if it fails or does not exist."""
    if shutil.which(words[0]) is None:
        return None
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


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
