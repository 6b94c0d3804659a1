"""The file for PM2, as PM2 itself carries it out."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import ServerSettings
from tests.docs.blocks import ROOT
from tests.support.answers import chunk
from tests.support.fake_upstream import FakeUpstream, sse
from tests.support.gateway_process import BIN, bare_environ, free_port

FILE = ROOT / "deploy" / "ecosystem.config.cjs"
INSTALLED = ROOT / ".cache" / "pm2" / "node_modules" / ".bin"
SLOW = sse(chunk({"role": "assistant", "content": "Now"}), 1.5, chunk({}, "stop"), b"data: [DONE]\n\n")


def program(name: str) -> str:
    path = shutil.which(name, path=f"{INSTALLED}:{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not on this machine (npm install --prefix .cache/pm2 pm2)")
    return path


def test_streams_may_take_as_long_as_the_settings_say() -> None:
    script = "process.stdout.write(JSON.stringify(require(process.argv[1])))"

    done = subprocess.run([program("node"), "-e", script, FILE], capture_output=True, text=True, check=True)

    (app,) = json.loads(done.stdout)["apps"]
    assert app["kill_timeout"] > ServerSettings().graceful_timeout * 1000


class PM2:
    """A daemon of the test's own, and a checkout with the file in it."""

    def __init__(self, checkout: Path, port: int) -> None:
        self.checkout = checkout
        self.url = f"http://127.0.0.1:{port}"
        self._program = program("node") and program("pm2")
        self._environ = bare_environ(checkout / "home", PM2_HOME=str(checkout / "pm2"), DRAGOMAN_CONFIG="config.toml")

    def run(self, *words: str) -> str:
        command = [self._program, *words]
        done = subprocess.run(command, cwd=self.checkout, env=self._environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.run("logs", "--nostream"))


@pytest.fixture
def pm2(tmp_path: Path) -> Iterator[PM2]:
    port = free_port()
    text = FILE.read_text()
    assert '"8080"' in text
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / FILE.name).write_text(text.replace('"8080"', f'"{port}"'))
    (tmp_path / ".venv").symlink_to(BIN.parent)
    pm2 = PM2(tmp_path, port)
    yield pm2
    pm2.run("kill")


def test_a_stop_lets_streams_finish_and_a_restart_serves_again(pm2: PM2) -> None:
    with FakeUpstream(SLOW) as upstream:
        config = pm2.checkout / "config.toml"
        config.write_text(f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk-upstream"\n')
        config.chmod(0o600)
        pm2.run("start", "deploy/ecosystem.config.cjs")
        pm2.wait_until_healthy()
        body = b'{"model": "up/m", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
        asked = urllib.request.Request(f"{pm2.url}/v1/chat/completions", body, {"content-type": "application/json"})
        stream = urllib.request.urlopen(asked, timeout=20)

        pm2.run("stop", "dragoman")
        said = stream.read()
        pm2.run("restart", "dragoman")
        pm2.wait_until_healthy()

    assert b"[DONE]" in said
