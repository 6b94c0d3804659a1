"""Finds the gateway running with these settings, or starts one that ends with the agent."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import requests

from app.cli.launcher.port_holder import find_port_holder
from app.cli.running_gateway import ask_health, open_gateway_session, own_key
from app.cli.serving.start_screen import base_url
from app.cli.terminal import echo
from app.settings import Settings, fingerprint

# Timeouts in seconds: for a gateway to start, to answer a health check, and to end.
_STARTING, _ASKING, _ENDING = 60.0, 2.0, 5.0
_LOOK = 0.05
LAST_LINES = 15


@contextlib.contextmanager
def open_gateway(settings: Settings, path: Path | None, folder: Path, *, quiet: bool = False) -> Iterator[str]:
    """The URL of a running gateway. If we start our own, it lives as long as the `with`, on a free port, and writes its
    log into `folder`."""
    server = settings.server
    say = (lambda _: None) if quiet else _say
    if not server.host.startswith("unix:"):
        url = base_url(server)
        if runs_here(url, settings):
            say(f"dragoman: using the gateway at {url}")
            yield url
            return
        if (holder := find_port_holder(server.port)) is not None:
            message = f"port {server.port} is in use by {holder}, not by a gateway with these settings"
            say(f"dragoman: {message}; starting one on another port")
    port = _find_free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / "gateway.log"
    process = _start(port, path or settings.source, log)
    try:
        _await(process, url, log)
        say(f"dragoman: started a gateway at {url} for this agent")
        yield url
    finally:
        _end(process)


def _say(text: str) -> None:
    echo(text, err=True)


def runs_here(url: str, settings: Settings) -> bool:
    """Whether a gateway at the URL accepts our key and answers as one with these settings would."""
    match ask_health(url, settings):
        case {"fingerprint": str(mark)}:
            return mark == fingerprint(settings) and _takes_key(url, settings)
    return False


def _takes_key(url: str, settings: Settings) -> bool:
    """Whether the key is accepted, by a question that leaves no request in the accounts."""
    with open_gateway_session(own_key(settings)) as session:
        try:
            reply = session.get(f"{url}/_/api/limits", timeout=_ASKING, allow_redirects=False)
        except requests.RequestException:
            return False
    return reply.status_code not in (401, 403)


def _start(port: int, config: Path | None, log: Path) -> subprocess.Popen[bytes]:
    """Starts `dragoman serve` in our own process group, with the agent in the foreground of the terminal."""
    # -P: do not import from the working folder.
    command = [sys.executable, "-P", "-c", "from app.cli import main; main()", "serve", "--for-agent"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-browser"]
    if config is not None:
        command += ["--config", str(config)]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTING
    with open_gateway_session(None) as session:
        while True:
            with contextlib.suppress(requests.RequestException):
                if session.get(f"{url}/health/ready", timeout=_ASKING).ok:
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
                raise click.ClickException("\n  ".join(["the gateway did not start; its last log lines:", *lines]))
            time.sleep(_LOOK)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a gateway whose only client has gone."""
    for end in (process.terminate, process.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)
            return


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
