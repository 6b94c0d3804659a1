"""What a start loads: once, and no more than it needs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.support.fake_upstream import FakeUpstream, json_reply
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


# What a worker loads when a request first needs it: together some fifteen megabytes.
LOADED_LATER = {
    "requests": "logins, lists of models, alerts, odd URLs and proxies",
    "urllib3": "requests",
    "http.cookiejar": "requests",
    "idna": "requests",
    "charset_normalizer": "requests, which guesses encodings; nothing here does",
    "zstandard": "stored responses, recordings, compressed bodies",
    "brotli": "compressed bodies",
    "webbrowser": "`serve --open`",
    "flask": "everything but generating requests",
    "werkzeug.routing": "everything but generating requests",
    "jinja2": "the dashboard",
    "app.dashboard": "the dashboard",
    "prometheus_client": "a scrape",
    "opentelemetry": "exports",
    "redis": "limits shared by hosts",
    "psycopg": "a database in Postgres",
    "keyring": "logins in the system's keyring",
    "cryptography": "none of ours; the genuine programs of tests",
    "tomlkit": "changes of the configuration by a page",
    "yaml": "imports from other gateways",
    "filelock": "renewals",
    "gevent.resolver.ares": "none: names are looked up by the system",
}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def list_imports(gateway: GatewayProcess) -> set[str]:
    """What master and workers have imported so far, if they were started with PYTHONPROFILEIMPORTTIME."""
    lines = gateway.log.read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_a_worker_that_only_relays_has_loaded_no_flask(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text('[providers.demo]\nkind = "demo"\n')

    with Relaying(tmp_path) as gateway:
        (worker,) = children(gateway.process.pid)
        assert FLASKS not in maps(worker)

        with urllib.request.urlopen(f"{gateway.url}/health") as reply:
            assert json.loads(reply.read())["process"]["pid"] == worker
        assert FLASKS in maps(worker)


def test_a_worker_that_only_relays_has_loaded_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    with FakeUpstream(json_reply(answer)) as upstream:
        (tmp_path / "dragoman.toml").write_text(
            f'[providers.demo]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk-some-key"\n'
        )
        with Relaying(tmp_path, PYTHONPROFILEIMPORTTIME="1") as gateway:
            loaded = list_imports(gateway)
            urllib.request.urlopen(f"{gateway.url}/health").close()
            later = list_imports(gateway)

    assert "app.server.connections.client_connection" in loaded
    assert "app.transport.transport" in loaded
    assert sorted(loaded & LOADED_LATER.keys()) == []
    assert "flask" in later


def test_the_command_itself_becomes_the_master(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path) as gateway:
        said = Path(f"/proc/{gateway.process.pid}/cmdline").read_text().split("\0")

    assert "serve" in said
    assert not any(part.endswith("launch.py") for part in said)
