"""The units in deploy/systemd: systemd takes them, they leave little to attack, and what they rely on works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.server import ports
from app.settings import ServerSettings, load_settings
from tests.docs.blocks import ROOT
from tests.support.gateway_process import bare_environ, free_port
from tests.support.programs import program

UNITS = ROOT / "deploy" / "systemd"
EXPOSURE = 2.5


def settings_of(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (UNITS / unit).read_text().splitlines() if re.match(r"\w+=", line))


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.iterdir()))
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    verify = program("systemd-analyze")
    # The verifier wants the program to exist, and each socket its service; where it lies is the operator's choice.
    for path in UNITS.iterdir():
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    scope = ["--user"] if ".user." in unit else []

    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([verify, "verify", *scope, tmp_path / unit], capture_output=True, text=True, env=environ)

    assert done.returncode == 0, done.stderr
    assert unit not in done.stderr


def test_the_service_leaves_little_to_attack() -> None:
    analyze = program("systemd-analyze")

    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", UNITS / "dragoman.service"],
        capture_output=True,
        text=True,
    )

    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(level) <= EXPOSURE


@pytest.mark.parametrize("unit", ["dragoman.service", "dragoman.user.service"])
def test_systemd_waits_longer_than_streams_may_take(unit: str) -> None:
    assert float(settings_of(unit)["TimeoutStopSec"]) > ServerSettings().graceful_timeout


def test_the_socket_listens_where_the_settings_say_by_default() -> None:
    server = ServerSettings()

    assert settings_of("dragoman.socket")["ListenStream"] == f"{server.host}:{server.port}"


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A port that systemd's own program listens at; the gateway starts when the first one connects."""
    activate = program("systemd-socket-activate")
    port = free_port()
    environ = bare_environ(tmp_path / "home", PORT=str(port))
    command = [activate, "-l", f"127.0.0.1:{port}", *(f"-E{name}" for name in environ), "dragoman", "serve"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=log, stderr=log)
    yield process, port
    process.terminate()
    assert process.wait(20) == 0


def test_who_connects_before_the_gateway_runs_is_answered(activated: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = activated
    while not _listens(port):
        assert process.poll() is None
        time.sleep(0.01)
    body = {"model": "demo/demo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"}
    )

    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert "Hello" in json.load(answer)["content"][-1]["text"]


def _listens(port: int) -> bool:
    """Without connecting, which would start the gateway."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return wanted in " ".join(Path("/proc/net/tcp").read_text().split())


def test_a_socket_elsewhere_than_the_settings_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "find_handed_addresses", lambda: ["0.0.0.0:8080"])

    with pytest.raises(ConfigError, match=r"server\.host.*0\.0\.0\.0:8080"):
        ports.check_port(ServerSettings())


def test_the_sockets_of_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))

    assert ports.find_handed_addresses() == []


def load(folder: Path, **environ: str) -> tuple[str, ...]:
    config = folder / "config.toml"
    config.write_text('[server]\napi_keys = ["${TEAM_KEY}"]\n')
    config.chmod(0o600)
    return load_settings(config, {"HOME": str(folder), **environ}, {}).server.api_keys


def test_a_variable_may_be_a_credential_that_systemd_loaded(tmp_path: Path) -> None:
    (tmp_path / "TEAM_KEY").write_text("key-of-the-team\n")

    assert load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path)) == ("key-of-the-team",)
    assert load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path), TEAM_KEY="the variable") == ("the variable",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no file of that name"),
        (b"two\nlines", "not one line"),
        (b"\xff\xfe", "it is not text"),
        (b"k" * 70_000, "not one line"),
        (b"a\0b", "not one line"),
    ],
    ids=["none", "two lines", "bytes", "endless", "nul"],
)
def test_a_credential_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "TEAM_KEY").write_bytes(content)

    with pytest.raises(ConfigError, match=said) as refused:
        load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))

    assert "TEAM_KEY" in str(refused.value)
    assert "kkkk" not in str(refused.value)
