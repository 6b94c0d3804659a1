"""The gateway where only what macOS has too is there: names of Linux are taken out of Python, /proc is not found.

This is no macOS: what it shows is that no call which only Linux has is made without another way.
"""

from __future__ import annotations

import ast
import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.support.gateway_process import GatewayProcess

APP = Path(__file__).parents[2] / "app"
# Names of modules that Python has on Linux alone, or that macOS lacks.
GONE = {
    "os": [
        "memfd_create",
        "eventfd",
        "pipe2",
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_setscheduler",
        "splice",
        "copy_file_range",
        "posix_fadvise",
        "posix_fallocate",
        "fallocate",
        "getrandom",
        "unshare",
        "setns",
        "setresuid",
        "setresgid",
        "pidfd_open",
        "getxattr",
        "setxattr",
        "listxattr",
        "removexattr",
        "O_PATH",
        "O_TMPFILE",
        "O_DIRECT",
        "O_NOATIME",
    ],
    "socket": [
        "AF_NETLINK",
        "AF_PACKET",
        "AF_VSOCK",
        "SOCK_NONBLOCK",
        "SOCK_CLOEXEC",
        "SO_PEERCRED",
        "SO_BINDTODEVICE",
        "SO_MARK",
        "TCP_CORK",
        "TCP_QUICKACK",
        "TCP_USER_TIMEOUT",
        "TCP_KEEPIDLE",
        "TCP_DEFER_ACCEPT",
        "MSG_MORE",
        "MSG_ERRQUEUE",
        "MSG_NOSIGNAL",
    ],
    "select": ["epoll", "EPOLLIN", "EPOLLOUT"],
    "signal": ["sigtimedwait", "sigwaitinfo", "pidfd_send_signal", "SIGPWR", "SIGSTKFLT", "SIGRTMIN", "SIGRTMAX"],
    "fcntl": ["F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_ADD_SEALS", "F_OFD_SETLK"],
    "resource": ["prlimit", "RUSAGE_THREAD", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"],
}
# Loaded by each interpreter before anything of ours.
WITHOUT_LINUX = f"""
import builtins, importlib, io, os

for name, names in {GONE!r}.items():
    module = importlib.import_module(name)
    for each in names:
        if hasattr(module, each):
            delattr(module, each)
    if hasattr(module, "__all__"):
        module.__all__ = [each for each in module.__all__ if hasattr(module, each)]


def without_proc(really):
    def opened(path, *arguments, **named):
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(("/proc", "/dev/shm", "/sys")):
            raise FileNotFoundError(2, "No such file or directory", path)
        return really(path, *arguments, **named)
    return opened


builtins.open = io.open = without_proc(io.open)
os.open = without_proc(os.open)
really_lists = os.listdir
os.listdir = without_proc(lambda path=".": really_lists(path))
print("linux taken away", flush=True)
"""


def find_uses(tree: ast.AST, within: ast.AST | None = None) -> Iterator[tuple[str, str, ast.AST | None]]:
    """Module and name of each use of what only Linux has, and the function around it."""
    for node in ast.iter_child_nodes(tree):
        around = node if isinstance(node, ast.FunctionDef) else within
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in GONE.get(module, ()):
                yield module, name, around
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((module, each.name, None) for each in names if each.name in GONE.get(module, ()))
        yield from find_uses(node, around)


def test_what_only_linux_has_is_asked_for_before_it_is_used() -> None:
    uses = [(path, *use) for path in APP.rglob("*.py") for use in find_uses(ast.parse(path.read_text()))]

    assert uses
    for path, module, name, around in uses:
        assert around is not None, f"{path}: {module}.{name} is used without a function that asks for it"
        assert f"hasattr({module}, '{name}')" in ast.unparse(around), f"{path}: {module}.{name}"


def test_a_gateway_serves_reloads_and_stops_without_anything_that_only_linux_has(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (away / "sitecustomize.py").write_text(WITHOUT_LINUX)
    body = {"model": "demo/demo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}

    with GatewayProcess(tmp_path, PYTHONPATH=str(away), DRAGOMAN__SERVER__WORKERS="2") as gateway:
        for _ in range(2):
            request = urllib.request.Request(
                f"{gateway.url}/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert "Hello" in json.load(answer)["content"][-1]["text"]
            gateway.signal(signal.SIGHUP)
        with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=20) as answer:
            assert b"dragoman_requests_total" in answer.read()
        gateway.signal(signal.SIGTERM)

        assert gateway.wait() == 0

    said = gateway.log.read_text()
    assert "linux taken away" in said
    assert "Traceback" not in said
