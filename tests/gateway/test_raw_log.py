"""The raw HTTP log: off by default, whole, masked and bounded where it is on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.gateway.inspection import raw_log as module
from app.gateway.inspection.raw_log import RawLog
from app.known_secrets import known_secrets
from app.settings import RawLogSettings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply

CLIENT_KEY, UPSTREAM_KEY = "k-client-key-1234567890", "sk-upstream-0123456789"


def log_to(client: Client, folder: Path, **changes: object) -> RawLog:
    made = RawLog(RawLogSettings(enabled=True, folder=str(folder), **changes))  # type: ignore[arg-type]
    client.app.runtime.observers.raw_log = made
    client.app.runtime.observers.set_wiretaps()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def read(folder: Path) -> dict[str, str]:
    """The files by what follows the id of their request."""
    return {path.stem.partition("_")[2]: path.read_bytes().decode() for path in folder.iterdir()}


def test_nothing_is_kept_unless_it_is_asked_for(client: Client, upstream: FakeUpstream, data_folder: Path) -> None:
    upstream.script(json_reply(chat_answer()))

    client.chat()
    client.app.runtime.finish(1)

    assert not RawLogSettings().enabled
    assert not (data_folder / "raw").exists()


@pytest.mark.parametrize("stream", [False, True])
def test_four_files_tell_of_a_request(
    make_client: MakeClient, upstream: FakeUpstream, folder: Path, stream: bool
) -> None:
    client = make_client()
    log = log_to(client, folder)
    upstream.script(chat_stream("one", "two") if stream else json_reply(chat_answer("one two")))

    answer = client.message(stream=stream).text
    log.flush()

    files = read(folder)
    assert set(files) == {"client_request", "client_response", "provider_request", "provider_response"}
    assert files["client_request"].startswith("POST /v1/messages HTTP/1.1\r\n")
    assert '"max_tokens": 100' in files["client_request"]
    assert files["provider_request"].startswith(f"POST {upstream.url}/v1/chat/completions HTTP/1.1\r\n")
    assert files["provider_response"].startswith("HTTP/1.1 200\r\n")
    head, _, body = files["client_response"].partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert body == answer
    assert log.held == 0


def test_each_attempt_has_its_files(client: Client, upstream: FakeUpstream, folder: Path) -> None:
    log = log_to(client, folder)
    upstream.script(json_reply({"error": {"message": "later"}}, 503), json_reply(chat_answer()))

    client.chat()
    log.flush()

    files = read(folder)
    assert files["provider_response"].startswith("HTTP/1.1 503")
    assert "later" in files["provider_response"]
    assert files["2_provider_response"].startswith("HTTP/1.1 200")


def test_no_credential_is_in_any_file(make_client: MakeClient, upstream: FakeUpstream, folder: Path) -> None:
    known_secrets.configure([CLIENT_KEY, UPSTREAM_KEY])
    client = make_client(server={"api_keys": (CLIENT_KEY,)}, chat={"api_key": UPSTREAM_KEY})
    log = log_to(client, folder)
    quoted = f"the key {UPSTREAM_KEY} and {CLIENT_KEY} are fine"
    upstream.script(
        json_reply(chat_answer(quoted), headers={"set-cookie": "session=abc123secret", "x-note": UPSTREAM_KEY})
    )
    body = {"model": "chat/m", "messages": [{"role": "user", "content": quoted}]}

    client.ask("/v1/chat/completions", body, authorization=f"Bearer {CLIENT_KEY}", cookie="session=abc123secret")
    log.flush()

    whole = "".join(read(folder).values())
    assert "[REDACTED]" in whole
    for secret in (CLIENT_KEY, UPSTREAM_KEY, "abc123secret"):
        assert secret not in whole


def test_a_long_body_is_cut(client: Client, upstream: FakeUpstream, folder: Path) -> None:
    log = log_to(client, folder, max_body_kb=1)
    upstream.script(json_reply(chat_answer("a" * 5000)))

    client.chat()
    log.flush()

    files = read(folder)
    assert files["provider_response"].endswith("[TRUNCATED]")
    assert len(files["provider_response"].partition("\r\n\r\n")[2]) == 1024 + len("\n[TRUNCATED]")
    assert not files["client_request"].endswith("[TRUNCATED]")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"include": ("/v1/messages",)}, False),
        ({"include": ("/v1/chat",)}, True),
        ({"include": ("/v1/chat",), "exclude": ("/v1",)}, False),
    ],
)
def test_paths_are_left_out(
    client: Client, upstream: FakeUpstream, folder: Path, changes: dict[str, tuple[str, ...]], kept: bool
) -> None:
    log = log_to(client, folder, **changes)
    upstream.script(json_reply(chat_answer()))

    client.chat()
    log.flush()

    assert folder.exists() is kept


def test_only_the_wanted_parts_are_kept(client: Client, upstream: FakeUpstream, folder: Path) -> None:
    log = log_to(client, folder, parts=("provider_request",))
    upstream.script(json_reply({"error": {"message": "later"}}, 503), json_reply(chat_answer()))

    client.chat()
    log.flush()

    assert set(read(folder)) == {"provider_request", "2_provider_request"}


def test_the_oldest_files_go_when_the_folder_is_full(
    client: Client, upstream: FakeUpstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_WRITES", 1)
    log = log_to(client, folder, max_mb=1, max_body_kb=400, parts=("provider_response",))
    upstream.script(json_reply(chat_answer("a" * 300_000)))

    for number in range(6):
        client.chat()
        log.flush()
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_mtime - 10, path.stat().st_mtime - 10))
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 1 << 20, number

    assert len(list(folder.iterdir())) == 3


def test_the_files_are_their_owners_alone(client: Client, upstream: FakeUpstream, folder: Path) -> None:
    log = log_to(client, folder)
    upstream.script(json_reply(chat_answer()))

    client.chat()
    log.flush()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_that_cannot_be_written_harms_no_request(
    client: Client, upstream: FakeUpstream, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    log = log_to(client, tmp_path / "file")
    upstream.script(json_reply(chat_answer()))

    status = client.chat().status_code
    log.flush()

    assert (status, log.lost, log.held) == (200, 1, 0)


def test_what_waits_is_bounded(
    client: Client, upstream: FakeUpstream, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 2000)
    log = log_to(client, folder)
    upstream.script(json_reply(chat_answer()))

    statuses = {client.chat().status_code for _ in range(20)}

    assert statuses == {200}
    assert log.lost > 0
    assert log.held < 10_000


def test_strangers_leave_no_files(make_client: MakeClient, folder: Path) -> None:
    client = make_client(server={"api_keys": (CLIENT_KEY,)})
    log = log_to(client, folder)

    client.chat()
    log.flush()

    assert not folder.exists()
