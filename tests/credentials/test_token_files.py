"""How a running gateway follows the files it reads: changed, replaced, broken, gone."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.credentials.credential import CredentialSource
from app.credentials.sources import open_source
from app.credentials.watcher import Watcher
from app.errors import CredentialUnavailable
from app.settings import ProviderSettings
from tests.credentials.issuer import make_jwt
from tests.credentials.test_renewal import wait_until


def open_file(path: Path, kind: str = "oca") -> CredentialSource:
    source = open_source(ProviderSettings(kind=kind, token_file=str(path)), {}, path.parent, requests.Session)
    assert source is not None
    return source


def replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.json"
    path.write_text('{"access_token": "one"}')
    return path


def test_a_token_file_gives_its_token(path: Path) -> None:
    credential = open_file(path).snapshot()

    assert credential.access_token == "one"
    assert credential.source == str(path)


def test_a_fresh_token_costs_no_look_at_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_file(path)
    first = source.snapshot()
    monkeypatch.setattr(os, "stat", lambda *_, **__: pytest.fail("looked at the disk"))

    assert source.snapshot() is first


def test_a_valid_token_needs_no_issuer(path: Path) -> None:
    path.write_text(json.dumps({"ocaApiKey": make_jwt()}))

    assert open_file(path).snapshot().expires_at == pytest.approx(time.time() + 3600, abs=5)


@pytest.mark.parametrize("how", ["rename", "in place", "same second", "same times and size"])
def test_a_poll_takes_up_a_changed_file(path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = open_file(path)
    before = source.snapshot()
    found = path.stat()
    match how:
        case "rename":
            replace(path, '{"access_token": "two"}')
        case "same second":
            replace(path, '{"access_token": "two"}')
            os.utime(path, (int(found.st_mtime), int(found.st_mtime)))
        case "in place":
            path.write_text('{"access_token": "two"}')
        case _:
            path.write_text('{"access_token": "two"}')
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    source.poll()

    assert source.snapshot().access_token == "two"
    assert source.snapshot().generation == before.generation + 1
    assert "Token file change detected. Reloading..." in caplog.messages
    assert caplog.messages[-1] == f"Successfully loaded new access token from {path}"


def test_a_request_keeps_the_snapshot_that_it_began_with(path: Path) -> None:
    source = open_file(path)
    held = source.snapshot()
    replace(path, '{"access_token": "two"}')

    source.poll()

    assert held.access_token == "one"


@pytest.mark.parametrize("broken", ["", '{"access_token": "tw', "{}", "[]"])
def test_a_broken_file_keeps_the_old_token_and_warns_once(
    path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_file(path)
    source.snapshot()
    path.write_text(broken)

    for _ in range(3):
        source.poll()

    assert source.snapshot().access_token == "one"
    assert [record.levelname for record in caplog.records if str(path) in record.message] == ["WARNING"]


def test_a_broken_file_that_is_mended_counts_again(path: Path) -> None:
    source = open_file(path)
    source.snapshot()
    path.write_text("{")
    source.poll()
    path.write_text('{"access_token": "two"}')

    source.poll()

    assert source.snapshot().access_token == "two"


def test_a_file_that_is_missing_for_a_moment_keeps_its_token(path: Path) -> None:
    source = open_file(path)
    source.snapshot()
    path.unlink()

    source.poll()

    assert source.snapshot().access_token == "one"


def test_a_file_that_stays_away_ends_the_login(path: Path) -> None:
    source = open_file(path)
    source.snapshot()
    path.unlink()

    source.poll()
    source.poll()

    with pytest.raises(CredentialUnavailable, match="Not authenticated"):
        source.snapshot()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ("{", "not valid JSON"),
        ("{}", "access token not found in token file"),
    ],
)
def test_no_usable_token_at_the_start_names_file_cause_and_remedy(path: Path, text: str | None, cause: str) -> None:
    path.unlink() if text is None else path.write_text(text)

    with pytest.raises(CredentialUnavailable, match=cause) as caught:
        open_file(path).snapshot()

    assert str(path) in str(caught.value)
    assert "cline auth" in str(caught.value)


def test_a_file_that_is_being_written_at_the_first_look_gets_a_moment(path: Path) -> None:
    whole = path.read_text()
    path.write_text(whole[:10])
    writer = threading.Timer(0.1, path.write_text, (whole,))
    writer.start()

    credential = open_file(path).snapshot()

    writer.join()
    assert credential.access_token == "one"


def test_a_login_that_appears_later_is_taken_up(path: Path) -> None:
    path.unlink()
    source = open_file(path)
    with pytest.raises(CredentialUnavailable):
        source.snapshot()

    path.write_text('{"access_token": "one"}')

    assert source.snapshot().access_token == "one"


def test_an_expired_token_that_nothing_renews_asks_for_a_login(path: Path) -> None:
    path.write_text(json.dumps({"access_token": make_jwt(-60)}))

    with pytest.raises(CredentialUnavailable, match=r"has expired.*dragoman login oca"):
        open_file(path).snapshot()


def test_an_expired_token_is_looked_up_again_before_anything_is_said(path: Path) -> None:
    path.write_text(json.dumps({"access_token": make_jwt(-60)}))
    source = open_file(path)
    with pytest.raises(CredentialUnavailable):
        source.snapshot()

    replace(path, '{"access_token": "two"}')

    assert source.snapshot().access_token == "two"


def test_a_refused_token_is_looked_up_again(path: Path) -> None:
    source = open_file(path)
    failed = source.snapshot()
    replace(path, '{"access_token": "two"}')

    assert source.refresh(failed).access_token == "two"


def test_a_refused_token_that_the_file_still_holds_asks_for_a_login(path: Path) -> None:
    source = open_file(path)

    with pytest.raises(CredentialUnavailable, match=r"was refused.*dragoman login oca"):
        source.refresh(source.snapshot())


def test_a_changed_claude_login_counts_from_the_next_request_on(path: Path) -> None:
    source = open_file(path, "anthropic")
    source.snapshot()

    replace(path, '{"access_token": "two"}')

    assert source.snapshot().access_token == "two"


def test_a_symbolic_link_is_followed_to_its_new_target(path: Path, tmp_path: Path) -> None:
    link, other = tmp_path / "link.json", tmp_path / "other.json"
    link.symlink_to(path)
    other.write_text('{"access_token": "two"}')
    source = open_file(link)
    source.snapshot()
    link.unlink()
    link.symlink_to(other)

    source.poll()

    assert source.snapshot().access_token == "two"


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher(interval=0.01)
    yield watcher
    watcher.stop()


def test_the_watcher_takes_up_changes_by_itself(path: Path, watcher: Watcher) -> None:
    source = open_file(path)
    source.snapshot()
    watcher.watch(source)
    watcher.start()

    replace(path, '{"access_token": "two"}')

    wait_until(lambda: source.snapshot().access_token == "two")


def test_a_watcher_runs_once_in_a_process(watcher: Watcher) -> None:
    before = set(threading.enumerate())

    watcher.start()
    watcher.start()

    assert len(set(threading.enumerate()) - before) == 1


def test_a_forked_worker_starts_a_watcher_of_its_own(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher.start()
    before = set(threading.enumerate())
    monkeypatch.setattr(os, "getpid", lambda: -1)

    watcher.start()

    assert len(set(threading.enumerate()) - before) == 1


def test_a_source_that_fails_oddly_does_not_end_the_watching(
    path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, source = open_file(path), open_file(path)
    source.snapshot()
    monkeypatch.setattr(odd, "_reload", lambda: 1 / 0)
    watcher.watch(odd)
    watcher.watch(source)
    replace(path, '{"access_token": "two"}')

    watcher.poll()

    assert source.snapshot().access_token == "two"


def test_a_released_source_is_polled_no_more(path: Path, watcher: Watcher) -> None:
    source = open_file(path)
    source.snapshot()
    watcher.watch(source)
    watcher.release(source)
    replace(path, '{"access_token": "two"}')

    watcher.poll()

    assert source.snapshot().access_token == "one"


def test_a_file_replaced_a_thousand_times_fails_no_request(path: Path, watcher: Watcher) -> None:
    source = open_file(path, "anthropic")
    allowed = {"one", *(f"token-{number}" for number in range(1000))}
    seen: set[str | None] = set()
    problems: list[BaseException] = []
    done = threading.Event()

    def serve() -> None:
        try:
            while not done.is_set():
                seen.add(source.snapshot().access_token)
        except BaseException as error:
            problems.append(error)

    source.snapshot()
    watcher.watch(source)
    watcher.start()
    servers = [threading.Thread(target=serve) for _ in range(4)]
    for server in servers:
        server.start()

    for number in range(1000):
        text = json.dumps({"access_token": f"token-{number}", "padding": "x" * (number % 7)})
        match number % 3:
            case 0:
                replace(path, text)
            case 1:
                path.write_text(text)
            case _:
                path.write_text(text[: len(text) // 2])
                path.write_text(text)
    wait_until(lambda: source.snapshot().access_token == "token-999")
    done.set()
    for server in servers:
        server.join()

    assert problems == []
    assert seen <= allowed
