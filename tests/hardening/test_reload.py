"""A change of the configuration takes nothing from what runs; what a start refuses, reload and SIGHUP refuse."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hardening.gateway import ANSWER, KEY, PATHS, Attacked, post, question, read_rest
from tests.support.clock import wait_until
from tests.support.fake_upstream import FakeUpstream, json_reply, sse
from tests.support.gateway_process import free_port

Figure = Callable[[str, object, object], None]

ROOT = Path(__file__).parents[2]
CHAT, RESPONSES = PATHS["openai_chat"], PATHS["openai_responses"]
CHOICE = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
CHUNK = b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                "choices": [CHOICE]}).encode() + b"\n\n"  # fmt: skip
END = CHUNK.replace(b"null", b'"stop"') + b"data: [DONE]\n\n"

DEEP = "a = " + "[" * 5000 + "]" * 5000
HUGE = "9" * 5000

# What follows, or changes, the good file; each would be refused by a start.
BROKEN = {
    "no TOML": "[server\n",
    "unknown key": "[server.x]\n",
    "deep": DEEP,
    "deep tables": "\n".join(f"[{'.'.join('a' * depth)}]" for depth in (1, 900)),
    "huge number": f"[ledger]\nmax_mb = {HUGE}",
    "number out of range": "[ledger]\nmax_mb = 99999999999999999999",
    "endless time": '[providers.other]\nkind = "openai"\nbase_url = "http://a"\nidle_timeout = inf',
    "no time": '[providers.other]\nkind = "openai"\nbase_url = "http://a"\nidle_timeout = nan',
    "bad bracket": '[providers.other]\nkind = "openai"\nbase_url = "http://[bad"',
    "bad address": '[providers.other]\nkind = "openai"\nbase_url = "http://[::1/v1"',
    "bad port": '[providers.other]\nkind = "openai"\nbase_url = "http://a:99999"',
    "bracket of redis": '[shared]\nredis = "redis://:p@[bad"',
    "bracket of a database": '[ledger]\nurl = "postgresql://u:p@[::1:5432/x"',
    "no database": '[ledger]\nurl = "x:[[["',
    "zero byte": '[providers.other]\nkind = "openai"\nbase_url = "http://a"\napi_key = "a\\u0000b"',
    "not text": '[providers.other]\nkind = "openai"\nbase_url = "http://a"\nheaders = { "a\\u0001" = "b" }',
}
BROKEN_SERVER: dict[str, dict[str, Any]] = {
    "proxy's name": {"trusted_proxies": ["nginx"]},
    "zero byte in a path": {"ca_bundle": "/etc/\0/ca.pem"},
    "no such certificates": {"ca_bundle": "/nowhere/ca.pem"},
    "no workers": {"workers": 0},
    "words": {"max_body_mb": "eighty"},
    "huge time": {"graceful_timeout": 1e300},
    "huge body": {"max_body_mb": 10**17},
}


@pytest.fixture
def gateway(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Attacked]:
    with Attacked(tmp_path, upstream.url) as gateway:
        yield gateway


def health(gateway: Attacked) -> Any:
    head = f"GET /health HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close\r\n\r\n"
    return json.loads(gateway.exchange(head.encode()).partition(b"\r\n\r\n")[2])


def is_whole(gateway: Attacked) -> bool:
    try:
        return gateway.ask(CHAT, question("openai_chat"))[0] == 200
    except OSError:
        return False


def test_whatever_a_start_refuses_a_change_refuses_and_the_follower_lives(gateway: Attacked) -> None:
    for name, more in BROKEN.items():
        gateway.write_config(more)
        wait_until(lambda: not health(gateway)["config"]["ok"], what=name)
        assert is_whole(gateway), name
        gateway.write_config()
        wait_until(lambda: health(gateway)["config"]["ok"])
    for name, server in BROKEN_SERVER.items():
        gateway.write_config(**server)
        wait_until(lambda: not health(gateway)["config"]["ok"], what=name)
        assert is_whole(gateway), name
        gateway.write_config()
        wait_until(lambda: health(gateway)["config"]["ok"])

    assert "Traceback" not in gateway.log.read_text()


def test_whatever_a_start_refuses_a_sighup_refuses(gateway: Attacked, upstream: FakeUpstream) -> None:
    upstream.script(sse(CHUNK, 12.0, END))
    client = gateway.connect(40)
    client.sendall(post(CHAT, question("openai_chat", stream=True)))
    client.recv(16)
    upstream.script(json_reply(ANSWER))
    cases: list[tuple[str, str, dict[str, Any]]] = [
        *((name, more, {}) for name, more in BROKEN.items()),
        *((name, "", server) for name, server in BROKEN_SERVER.items()),
    ]

    for _name, more, server in cases:
        gateway.write_config(more, **server)
        gateway.signal(signal.SIGHUP)
        time.sleep(0.35)
        assert gateway.process.poll() is None, _name
    gateway.write_config()
    wait_until(lambda: is_whole(gateway))
    rest = read_rest(client)
    client.close()

    assert b"[DONE]" in rest
    assert gateway.process.poll() is None
    assert "Traceback" not in gateway.log.read_text()


def test_a_port_that_somebody_holds_is_refused_by_a_sighup(upstream: FakeUpstream, tmp_path: Path) -> None:
    port = free_port()
    without = ("sh", "-c", "unset PORT; exec dragoman serve")
    gateway = Attacked(tmp_path, upstream.url, command=without, port=port)
    gateway.port, gateway.url = port, f"http://127.0.0.1:{port}"
    with gateway, socket.create_server(("127.0.0.1", 0)) as holder:
        gateway.write_config(port=holder.getsockname()[1])
        gateway.signal(signal.SIGHUP)
        time.sleep(1)
        refused = is_whole(gateway)
        gateway.write_config(port=(elsewhere := free_port()))
        gateway.signal(signal.SIGHUP)
        gateway.port = elsewhere
        wait_until(lambda: is_whole(gateway))

        assert refused
        assert "server.port" in gateway.log.read_text()


def write(gateway: Attacked, content: str) -> None:
    """Into the very file, as an editor or `cat >` does."""
    gateway.config.write_text(content)


def test_a_file_that_is_being_written_is_not_taken(gateway: Attacked) -> None:
    whole = gateway.config.read_text()
    statuses = []

    for cut in (0, 1, len(whole) // 3, len(whole) // 2, whole.index("[providers")):
        write(gateway, whole[:cut])
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            statuses.append(gateway.ask(CHAT, question("openai_chat"))[0])
        write(gateway, whole)
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            statuses.append(gateway.ask(CHAT, question("openai_chat"))[0])

    assert set(statuses) == {200}


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing yet\n"])
def test_an_empty_file_never_replaces_one_with_content(gateway: Attacked, content: str) -> None:
    write(gateway, content)
    wait_until(lambda: not health(gateway)["config"]["ok"])
    hot = is_whole(gateway)
    gateway.signal(signal.SIGHUP)
    time.sleep(1.5)

    assert hot
    assert is_whole(gateway)
    assert "empty" in health(gateway)["config"]["error"]


def test_a_good_change_works_within_two_seconds(gateway: Attacked) -> None:
    begun = time.monotonic()
    gateway.write_config('[models.routes]\nnew = "up/m"')
    wait_until(lambda: gateway.ask(CHAT, question("openai_chat", model="new"))[0] == 200)

    assert time.monotonic() - begun < 2


def test_a_response_in_the_background_survives_a_change_and_a_term(gateway: Attacked, upstream: FakeUpstream) -> None:
    upstream.script(sse(CHUNK, 4.0, END))
    body = json.dumps({"model": "up/m", "input": "a", "background": True, "store": True}).encode()
    status, answer = gateway.ask(RESPONSES, body)
    response_id = json.loads(answer)["id"]
    gateway.write_config('[models.routes]\nnew = "up/m"')
    upstream.script(json_reply(ANSWER))
    wait_until(lambda: gateway.ask(CHAT, question("openai_chat", model="new"))[0] == 200, 3)

    gateway.signal(signal.SIGTERM)
    gateway.wait(15)
    with Attacked(gateway.config.parent, upstream.url) as again:
        head = f"GET /v1/responses/{response_id} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close"
        found = json.loads(again.exchange(f"{head}\r\n\r\n".encode()).partition(b"\r\n\r\n")[2])

    assert status == 200
    assert found["status"] == "completed", found


def test_a_hundred_reloads_leak_nothing(tmp_path: Path, figure: Figure) -> None:
    """Within one process, where each takes no second: ledger, proxies and providers are others after each."""
    script = Path(__file__).parent / "reloads.py"
    environ = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=True, env=environ)

    before, after = json.loads(done.stdout.splitlines()[-1])
    figure("descriptors after 100 reloads", f"{after[0] - before[0]:+d}", "+4")
    figure("memory after 100 reloads", f"{after[1] - before[1]:+.1f} MiB", "+4 MiB")
    assert after[0] - before[0] <= 4
    assert after[1] - before[1] <= 4


def test_a_worker_that_is_only_begun_hears_that_it_is_to_end(
    tmp_path_factory: pytest.TempPathFactory, upstream: FakeUpstream
) -> None:
    for _ in range(5):
        with Attacked(tmp_path_factory.mktemp("begun"), upstream.url, workers=2) as gateway:
            gateway.signal(signal.SIGHUP)
            time.sleep(0.05)
            gateway.signal(signal.SIGTERM)

            assert gateway.wait(15) == 0


def test_a_storm_of_reloads_and_other_signals_holds_up_no_request(gateway: Attacked, figure: Figure) -> None:
    others = [signal.SIGCHLD, signal.SIGUSR1, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG, signal.SIGPIPE]
    waits, statuses = [], []
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for number in (signal.SIGHUP, others[len(waits) % len(others)]):
            gateway.signal(number)
        begun = time.monotonic()
        statuses.append(gateway.ask(CHAT, question("openai_chat"))[0])
        waits.append(time.monotonic() - begun)
    begun = time.monotonic()
    while time.monotonic() - begun < 40 and len(pids_of(gateway)) != 1:
        time.sleep(0.1)

    figure("longest wait in a storm of HUPs", f"{max(waits):.1f} s", "3 s")
    assert set(statuses) == {200}
    assert max(waits) < 3
    assert len(pids_of(gateway)) == 1
    assert "Traceback" not in gateway.log.read_text()


def pids_of(gateway: Attacked) -> list[str]:
    """The workers."""
    master = gateway.process.pid
    return Path(f"/proc/{master}/task/{master}/children").read_text().split()
