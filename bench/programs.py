"""Builds and starts the programs: fake upstream, gateway, and the peers that are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dialects import CHAT, MESSAGES, RESPONSES, render_answer, render_request, render_stream
from msgspec import Struct
from peers import SMG, SWITCHYARD, peer_commands
from processes import LOAD_CORE, SERVER_CORE, pinned_to, read_cpu_us
from scenarios import ANSWERS, PROVIDERS, REWRITING, Answer

HERE = Path(__file__).parent
OURS, NGINX, NODE, DIRECT = "dragoman", "nginx", "node", "direct"
START_LIMIT_S = 60
_PLAIN = (NGINX, NODE, DIRECT, SMG, SWITCHYARD)


class Server(Struct, frozen=True):
    """A started program that listens on loopback."""

    name: str
    port: int
    pid: int


@contextmanager
def started_servers(folder: Path, log_level: str, *, with_peers: bool = False) -> Iterator[Mapping[str, Server]]:
    """The gateway and its peers by name, the compiled ones too where they are wanted, all in front of one fake
    upstream, which is itself there as `direct`."""
    ports = {name: free_port() for name in (DIRECT, OURS, NGINX, NODE)}
    upstream_port = ports[DIRECT]
    commands: dict[str, list[str]] = {
        DIRECT: upstream_command(folder, upstream_port),
        OURS: gateway_command(write_gateway_config(folder, upstream_port), ports[OURS], log_level),
    }
    if nginx := shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"):
        config = _write_nginx_config(folder, ports[NGINX], upstream_port)
        commands[NGINX] = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    if node := shutil.which("node"):
        commands[NODE] = [node, str(HERE / "passthrough.js"), str(ports[NODE]), str(upstream_port)]
    if with_peers:
        for name, (port, command) in peer_commands(folder, upstream_port, free_port).items():
            ports[name], commands[name] = port, command
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(started(name, command, ports[name], folder)) for name, command in commands.items()
        }


def upstream_command(folder: Path, port: int) -> list[str]:
    return [str(build_program("upstream", folder)), str(port), *map(str, write_answers(folder))]


def gateway_command(config: Path, port: int, log_level: str, workers: int = 1) -> list[str]:
    program = str(Path(sys.executable).with_name("dragoman"))
    options = ("--config", str(config), "--port", str(port), "--workers", str(workers), "--log-level", log_level)
    return [program, "serve", *options]


def build_program(name: str, folder: Path) -> Path:
    """Compile one of the C programs; the command ends with a plain sentence where there is no compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        sys.exit("The bench compiles its load driver and its fake upstream: please install a C compiler (cc).")
    program = folder / name
    subprocess.run([compiler, "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return program


def time_start(folder: Path, upstream_port: int, log_level: str) -> tuple[float, float]:
    """Seconds from the command to the answer of a first request, and microseconds of CPU time."""
    port = free_port()
    request = render_request(CHAT, f"{PROVIDERS[CHAT]}/unary", stream=False)
    began = time.monotonic()
    command = gateway_command(write_gateway_config(folder, upstream_port), port, log_level)
    with started("start", command, port, folder, pause=0.005) as server, socket.socket() as client:
        client.settimeout(START_LIMIT_S)
        client.connect(("127.0.0.1", port))
        client.sendall(request)
        if not client.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit("a fresh gateway gave no good answer")
        return time.monotonic() - began, read_cpu_us(server.pid)


@contextmanager
def started(name: str, command: list[str], port: int, folder: Path, pause: float = 0.05) -> Iterator[Server]:
    """`pause` is how many seconds pass between two looks whether it listens."""
    log = folder / f"{name}.log"
    with log.open("wb") as output, pinned_to(LOAD_CORE if name == DIRECT else SERVER_CORE):
        # What the gateway keeps of its requests is nobody's.
        environ = {**os.environ, "XDG_DATA_HOME": str(folder), "UP_KEY": "sk-bench"}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environ
        )
    try:
        if not answers_soon(process, port, pause):
            sys.exit(f"{name} did not start:\n{log.read_text()[-2000:]}")
        yield Server(name, port, process.pid)
    finally:
        # QUIT ends gunicorn and nginx at once where TERM would let open connections finish.
        process.send_signal(signal.SIGTERM if name in _PLAIN else signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def answers_soon(process: subprocess.Popen[bytes], port: int, pause: float = 0.05) -> bool:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(pause)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_answers(folder: Path) -> list[Path]:
    """One file for each dialect and answer, as `upstream.c` describes them."""
    paths = []
    for dialect in (CHAT, MESSAGES, RESPONSES):
        for answer in ANSWERS:
            if answer.streamed:
                kind, chunks = "text/event-stream", render_stream(dialect, answer.texts)
            else:
                kind, chunks = "application/json", [render_answer(dialect, answer.texts[0])]
            path = folder / f"{dialect.path.rsplit('/', 1)[1]}.{answer.name}"
            path.write_bytes(_frame_answer(answer, kind, chunks))
            paths.append(path)
    return paths


def _frame_answer(answer: Answer, kind: str, chunks: list[bytes]) -> bytes:
    return b"%b %d\n" % (kind.encode(), answer.pause_ms) + b"".join(b"%d\n%b" % (len(chunk), chunk) for chunk in chunks)


def write_gateway_config(folder: Path, upstream_port: int) -> Path:
    upstream = f"http://127.0.0.1:{upstream_port}"
    providers = {CHAT: ("openai", f"{upstream}/v1"), MESSAGES: ("anthropic", upstream)}
    tables = [
        f'[providers.{PROVIDERS[dialect]}]\nkind = "{kind}"\nbase_url = "{base_url}"\napi_key = "sk-bench"\n'
        for dialect, (kind, base_url) in providers.items()
    ]
    tables.append(
        f'[providers.{REWRITING}]\nkind = "openai"\nbase_url = "{upstream}/v1"\napi_key = "sk-bench"\n'
        'reasoning_effort = "low"\n'
    )
    path = folder / "dragoman.toml"
    path.write_text("\n".join(tables))
    return path


def _write_nginx_config(folder: Path, port: int, upstream_port: int) -> Path:
    text = (HERE / "nginx.conf").read_text()
    for word, value in (("UPSTREAM_PORT", upstream_port), ("PORT", port), ("FOLDER", folder)):
        text = text.replace(word, str(value))
    path = folder / "nginx.conf"
    path.write_text(text)
    return path
