"""The process that `dragoman serve` becomes: its signals, its reload, and the folder it is started in."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_upstream import FakeUpstream, sse
from tests.support.gateway_process import GatewayProcess

ROOT = Path(__file__).parents[2]


def configure(folder: Path, upstream: FakeUpstream, **routes: str) -> None:
    lines = [f'"{name}" = "up/{model}"' for name, model in routes.items()]
    text = f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "k"\n[models.routes]\n'
    (folder / "dragoman.toml").write_text(text + "\n".join(lines) + "\n")


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def ask(gateway: GatewayProcess, model: str) -> str:
    """The whole answer to a streamed Chat request, as text."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    request = urllib.request.Request(
        f"{gateway.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.read().decode())


def started(do: Callable[[], str]) -> tuple[threading.Thread, list[str]]:
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(do()))
    thread.start()
    return thread, answers


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


SLOW = sse(
    chunk({"role": "assistant", "content": "first "}), 1.0, chunk({"content": "last"}, "stop"), b"data: [DONE]\n\n"
)


def test_a_running_stream_ends_well_when_the_server_is_told_to_stop(tmp_path: Path) -> None:
    with FakeUpstream(SLOW) as upstream:
        configure(tmp_path, upstream, a="m")
        with GatewayProcess(tmp_path) as gateway:
            thread, answers = started(lambda: ask(gateway, "a"))
            upstream.wait_for(1)

            gateway.signal(signal.SIGTERM)

            thread.join(20)
            assert "last" in answers[0]
            assert "[DONE]" in answers[0]
            assert gateway.wait() == 0


def test_a_running_stream_ends_well_when_the_server_reloads(tmp_path: Path) -> None:
    with FakeUpstream(SLOW) as upstream:
        configure(tmp_path, upstream, a="m")
        with GatewayProcess(tmp_path) as gateway:
            thread, answers = started(lambda: ask(gateway, "a"))
            upstream.wait_for(1)

            gateway.signal(signal.SIGHUP)

            thread.join(20)
            assert "[DONE]" in answers[0]
            assert within(5, gateway.healthy)
            assert within(5, lambda: "the configuration was reloaded and is in force" in gateway.log.read_text())


def test_a_reload_of_a_broken_configuration_keeps_the_last_good_one(tmp_path: Path) -> None:
    with FakeUpstream(sse(chunk({"content": "yes"}, "stop"), b"data: [DONE]\n\n")) as upstream:
        configure(tmp_path, upstream, a="m")
        with GatewayProcess(tmp_path) as gateway:
            for broken in ("[server\n", '[models]\ndefault = "nowhere/m"\n'):
                (tmp_path / "dragoman.toml").write_text(broken)
                before = gateway.log.read_text().count("the last good one stays")
                gateway.signal(signal.SIGHUP)
                assert within(10, lambda: gateway.log.read_text().count("the last good one stays") > before)  # noqa: B023

                assert within(10, gateway.healthy)
                assert "yes" in ask(gateway, "a")
            assert within(5, lambda: "so the last good one stays in force" in gateway.log.read_text())
            assert "was reloaded" not in gateway.log.read_text()


def test_modules_in_the_working_folder_are_not_taken_for_ours(tmp_path: Path) -> None:
    for name in ("app", "wsgi", "secrets", "flask", "gunicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not ours')\n")

    with GatewayProcess(tmp_path) as gateway:
        assert gateway.healthy()


WAYS = {
    "gunicorn": ["gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"],
    "flask": ["bash", "-c", "exec flask --app wsgi run --port $PORT"],
}


@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
def test_other_servers_start_the_same_application(tmp_path: Path, command: list[str]) -> None:
    with (
        GatewayProcess(tmp_path, command=command) as gateway,
        urllib.request.urlopen(f"{gateway.url}/v1/models") as reply,
    ):
        names = [model["id"] for model in json.load(reply)["data"]]

    assert "demo/demo" in names


def test_a_stopped_gateway_leaves_nothing_behind(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path) as gateway:
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0

    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["gateway.log"]
