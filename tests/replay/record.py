"""Records a program anew: installs it, runs it on the gateway with a stand-in behind it, and keeps what it asked.

python -m tests.replay.record claude-code [VERSION]
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.gateways import write_config
from tests.clients.programs import install_npm, install_python
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.scripted_model import ScriptedModel
from tests.clients.workspace import Workspace
from tests.replay.cleaning import Cleaner
from tests.replay.programs import NODE, PROGRAMS, Program
from tests.replay.recording import HERE, Recorded
from tests.support.gateway_process import BIN, free_port

TIMEOUT = 180  # seconds for one run
# Paths whose requests an upstream is asked.
ASKING = ("/v1/messages", "/v1/chat/completions", "/v1/responses")
# As many requests as show the kinds of one turn: a title, the question, the result of the tool.
MOST = 3


def main() -> None:
    name, *rest = sys.argv[1:]
    program = PROGRAMS[name]._replace(**({"version": rest[0]} if rest else {}))
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(program, Path(folder))
    place = HERE / program.folder
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "version").write_text(f"{program.package} {program.version}\n")
    for number, request in enumerate(recorded, 1):
        (place / f"{number}.request").write_text(request.write())
    print(f"{program.name} {program.version}: {len(recorded)} requests recorded")


def record(program: Program, folder: Path) -> list[Recorded]:
    """The distinct requests of one turn, cleaned."""
    workspace = Workspace(folder)
    raw = folder / "raw"
    calls = [program.call] if program.call is not None else []
    with ChatStandIn(ScriptedModel(*calls)) as upstream:
        config = write_config({"up": {**upstream.settings, "context_window": 200_000}}, f"up/{upstream.model}", folder)
        tables = {"enabled": True, "folder": str(raw), "parts": ["client_request"], "max_body_kb": 8192}
        lines = [f"{key} = {json.dumps(value)}" for key, value in tables.items()]
        config.write_text("\n".join([config.read_text(), "[raw_log]", *lines, ""]))
        _run(program, workspace, config)
    places = {str(folder): "/home", socket.gethostname(): "host", workspace.secret: "0123456789abcdef"}
    cleaner = Cleaner(places)
    files = sorted(raw.glob("*_client_request.http"), key=lambda path: path.stat().st_mtime_ns)
    requests = [_read(path, cleaner) for path in files]
    distinct = {request.write(): request for request in requests if _asks(request)}
    return list(distinct.values())[:MOST]


def _run(program: Program, workspace: Workspace, config: Path) -> None:
    if program.registry == "npm":
        command = install_npm(f"{program.package}@{program.version}", program.agent)
        node = install_npm(NODE, "node").parent
    else:
        command = node = install_python(f"{program.package}=={program.version}") / program.agent
    own = command.parent.parent / program.package / "bin"  # where goose's program has its own name
    path = f"{command.parent}:{own}:{node}:{BIN}:{os.environ['PATH']}"
    words = ["dragoman", "run", "--config", str(config), "--no-check"]
    words += ["--model", program.model] if program.model else []
    try:
        done = subprocess.run(
            [*words, program.agent, "--", *program.arguments],
            cwd=workspace.project,
            env={"HOME": str(workspace.home), "PATH": path, "LANG": "C.UTF-8", "TERM": "xterm-256color", "USER": "user",
                 "PORT": str(free_port()), "CLINE_HUB_PORT": str(free_port()),
                 "XDG_DATA_HOME": str(config.parent / "data"), **program.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )  # fmt: skip
    finally:
        _end_daemons(workspace)
    if done.returncode:
        sys.exit(f"{program.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")


def _end_daemons(workspace: Workspace) -> None:
    """Ends what a program left behind. Cline's hub would serve the next run too; it is known by its home."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if b"HOME=%b\0" % os.fsencode(workspace.home) in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGTERM)


def _read(path: Path, cleaner: Cleaner) -> Recorded:
    head, _, body = path.read_bytes().decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Recorded(first.removesuffix(" HTTP/1.1"), cleaner.clean_headers(headers), cleaner.clean(_decode(body)))


def _decode(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _asks(request: Recorded) -> bool:
    path = request.first.removeprefix("POST ").partition("?")[0]
    return request.body is not None and path in ASKING


if __name__ == "__main__":
    main()
