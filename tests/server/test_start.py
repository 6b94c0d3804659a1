"""What a start loads: once, and no more than it needs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.support.gateway_process import GatewayProcess

# A part in C of what Flask brings along; it shows in a process's memory.
FLASKS = "markupsafe"


class Relaying(GatewayProcess):
    """One whose first request is a generating one, as a client's is."""

    def healthy(self) -> bool:
        asked = {"model": "demo/demo", "messages": [{"role": "user", "content": "hi"}]}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(asked).encode())
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_a_worker_that_only_relays_has_loaded_no_flask(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text('[providers.demo]\nkind = "demo"\n')

    with Relaying(tmp_path) as gateway:
        (worker,) = children(gateway.process.pid)
        assert FLASKS not in maps(worker)

        with urllib.request.urlopen(f"{gateway.url}/health") as reply:
            assert json.loads(reply.read())["process"]["pid"] == worker
        assert FLASKS in maps(worker)


def test_the_command_itself_becomes_the_master(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path) as gateway:
        said = Path(f"/proc/{gateway.process.pid}/cmdline").read_text().split("\0")

    assert "serve" in said
    assert not any(part.endswith("launch.py") for part in said)
