"""What a person sees at a terminal while a command waits."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

from tests.support.fake_upstream import FakeUpstream, Reply
from tests.support.gateway_process import BIN, bare_environ


def test_a_person_is_told_what_is_waited_for_and_a_program_is_not(tmp_path: Path) -> None:
    slow = Reply((b'{"data": [{"id": "m"}]}',), headers={"content-type": "application/json"}, delay=3.0)
    master, slave = pty.openpty()
    with FakeUpstream(slow, slow) as upstream:
        (tmp_path / "dragoman.toml").write_text(
            f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk-up"\n'
        )
        how: dict[str, Any] = {"cwd": tmp_path, "env": bare_environ(tmp_path / "home"), "stdin": subprocess.DEVNULL}
        command = [BIN / "dragoman", "models"]
        seen = subprocess.run(command, stdout=subprocess.PIPE, stderr=slave, text=True, timeout=60, check=True, **how)
        piped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, **how)
    shown = os.read(master, 4096).decode()
    os.close(slave)
    os.close(master)

    said = "waiting for the providers' lists of models"
    assert said in shown
    assert shown.partition(said)[2].lstrip(" …").startswith("\r")
    assert said not in piped.stdout + piped.stderr
    assert "up/m" in seen.stdout
    assert "up/m" in piped.stdout
