"""`/_/api/live`: what programs are told of requests as they end."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from msgspec.structs import replace
from werkzeug.test import Client

from app.application import Application
from app.dashboard import feed
from app.gateway.client_access.client_keys import read_key
from app.gateway.messages import new_id
from app.settings import KeySettings
from app.settings.checks.keys import hash_key
from tests.dashboard.conftest import SECRET, MakeApp, sign_with
from tests.dashboard.records import STREAMS, hostile, record

Event = tuple[str, str | None, Any]
FOLLOWED_BY_KEY = ("/_/api/live", "/_/api/live?running=yes", "/permissions/stream", "/api/logs/stream")
ADMIN = KeySettings(key="dm-" + "e" * 32, role="admin")


def read(client: Client, query: str = "", **headers: str) -> Iterator[Event]:
    """Name, id and data of each event."""
    answer = client.get(f"/_/api/live{query}", headers={name.replace("_", "-"): text for name, text in headers.items()})
    assert answer.status_code == 200, answer.text
    for part in answer.response:
        assert isinstance(part, bytes)
        for event in part.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in event.split("\n") if re.match(r"event|id|data", line))
            if "data" in fields:
                yield fields["event"], fields.get("id"), json.loads(fields["data"])


def read_until_ready(client: Client, query: str = "", **headers: str) -> list[Event]:
    with gevent.Timeout(10):
        events = []
        for event in read(client, query, **headers):
            events.append(event)
            if event[0] == "ready":
                break
        return events


def take(app: Application, *records: Any) -> None:
    assert app.runtime.accounts is not None
    for each in records:
        app.runtime.accounts.accounts.take([each])
    app.runtime.accounts.flush()


def follow(client: Client, query: str, count: int, **headers: str) -> list[Event]:
    """The first `count` events."""
    with gevent.Timeout(10):
        events = read(client, query, **headers)
        return [next(events) for _ in range(count)]


def wait_for_followers(app: Application, count: int = 1) -> None:
    with gevent.Timeout(10):
        while (
            (live := app.extensions.get("dragoman.live")) is None or len(live._followers) < count or live._last is None
        ):
            gevent.sleep(0.01)


def test_the_latest_requests_come_first_and_then_each_as_it_ends(make_app: MakeApp) -> None:
    app = make_app(None, *(record(number, model=f"m{number}") for number in range(1, 5)))
    reader = gevent.spawn(follow, app.test_client(), "?limit=2", 4)
    wait_for_followers(app)

    take(app, record(8, model="m8"))

    told = reader.get(timeout=10)
    assert [(name, data.get("model")) for name, _, data in told] == [
        ("request", "m3"),
        ("request", "m4"),
        ("ready", None),
        ("request", "m8"),
    ]
    assert [number for _, number, _ in told] == ["3", "4", "4", "5"]
    assert "tenant" not in told[0][2]


def test_a_program_that_connects_again_misses_and_repeats_nothing(make_app: MakeApp) -> None:
    app = make_app(None, *(record(number, model=f"m{number}") for number in range(1, 5)))

    told = follow(app.test_client(), "", 3, last_event_id="2")

    assert [(name, number, data.get("model")) for name, number, data in told] == [
        ("ready", "2", None),
        ("request", "3", "m3"),
        ("request", "4", "m4"),
    ]


@pytest.mark.parametrize("last", ["999999", "x", "9" * 30, "-1"])
def test_a_mark_that_is_none_of_ours_ends_nothing(make_app: MakeApp, last: str) -> None:
    app = make_app(None, record(1))

    told = read_until_ready(app.test_client(), "", last_event_id=last)

    assert told[-1][:2] == ("ready", "1")


def test_a_burst_is_told_in_parts_of_which_none_is_lost(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_ROWS", 3)
    app = make_app(None, record(1))
    reader = gevent.spawn(follow, app.test_client(), "", 2 + 8)
    wait_for_followers(app)

    take(app, *(record(id=new_id(), received=time.time(), model=f"b{number}") for number in range(8)))

    assert [data["model"] for _, _, data in reader.get(timeout=15)[2:]] == [f"b{number}" for number in range(8)]


def test_filters_hold_for_what_was_and_for_what_comes(make_app: MakeApp) -> None:
    app = make_app(None, record(1, model="qwen3"), record(2))
    reader = gevent.spawn(follow, app.test_client(), "?model=qwen*&failed=1", 2)
    wait_for_followers(app)

    take(app, record(3), record(4, model="qwen3"), record(5, model="qwen3", terminal="error", status=500, error="x"))

    ready, failed = reader.get(timeout=10)
    assert (ready[0], failed[2]["id"][-1], failed[2]["model"]) == ("ready", "5", "qwen3")


def test_what_runs_is_told_with_the_providers_and_without_their_key(make_app: MakeApp) -> None:
    app = make_app(None)
    app.runtime.recorder.begin(new_id(), "openai_chat").model = f"m {SECRET}"

    told = follow(app.test_client(), "?running=yes", 3)

    assert [name for name, _, _ in told] == ["ready", "providers", "running"]
    assert told[1][2]["up"]["kind"] == "openai"
    assert (told[2][2]["workers"], told[2][2]["complete"], len(told[2][2]["running"])) == (1, True, 1)
    assert "sk-planted" not in json.dumps(told)


def test_a_key_is_told_of_its_own_requests_alone(make_app: MakeApp) -> None:
    keys = {"ana": KeySettings(key="dm-" + "a" * 32), "root": KeySettings(key="dm-" + "r" * 32, role="admin")}
    app = make_app(None, keys=keys)
    access = app.runtime.services.access
    mine = access.check_key({"x-api-key": "dm-" + "a" * 32}).tenant
    take(app, record(1, tenant=mine, model="of-mine"), record(2, tenant="another", model="of-another"))
    app.runtime.recorder.begin(new_id(), "openai_chat").tenant = "another"
    seen = {}
    for name, letter in (("ana", "a"), ("root", "r")):
        client = app.test_client()
        seen[name] = follow(client, "?running=yes&limit=9", 4 + (name == "root"), x_api_key="dm-" + letter * 32)

    assert [data["model"] for name, _, data in seen["ana"] if name == "request"] == ["of-mine"]
    assert [data["model"] for name, _, data in seen["root"] if name == "request"] == ["of-mine", "of-another"]
    assert [len(seen[name][-1][2]["running"]) for name in ("ana", "root")] == [0, 1]
    assert app.test_client().get("/_/api/live").status_code == 401


def test_no_secret_and_no_second_event_gets_into_a_feed(make_app: MakeApp) -> None:
    app = make_app(None, hostile(f"a {SECRET}\n\nevent: ready\ndata: {{}}\r\r"))

    told = read_until_ready(app.test_client())

    assert [name for name, _, _ in told] == ["request", "ready"]
    assert "sk-planted" not in json.dumps(told)


def test_a_parameter_that_would_be_ignored_is_refused(make_app: MakeApp) -> None:
    answer = make_app(None).test_client().get("/_/api/live?modle=x")

    assert answer.status_code == 400
    assert "'modle'" in answer.text


@pytest.mark.parametrize(
    "later",
    [None, replace(ADMIN, role="user"), replace(ADMIN, expires=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))],
)
@pytest.mark.parametrize("path", [*STREAMS, *FOLLOWED_BY_KEY])
def test_a_stream_ends_with_the_rights_of_its_key(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, path: str, later: KeySettings | None
) -> None:
    for name in ("operations.rights.RIGHTS_HOLD", "operations.permissions.KEEPALIVE"):
        monkeypatch.setattr(f"app.blueprints.{name}", 0.0)
    monkeypatch.setattr("app.dashboard.live.PING", 0.0)
    app = make_app(keys={"root": KeySettings(key="dm-" + "r" * 32, role="admin")})
    access = app.runtime.services.access
    access.set_made_keys({hash_key(ADMIN.key): read_key("eve", "eve", ADMIN)})
    client, _ = sign_with(app, ADMIN.key)
    stream = client.get(path, headers={} if path in STREAMS else {"x-api-key": ADMIN.key}, buffered=False)
    parts = iter(stream.response)
    with gevent.Timeout(10):
        shown = [next(parts), next(parts)]

        access.set_made_keys({hash_key(ADMIN.key): read_key("eve", "eve", later)} if later else {})
        after = next(parts, None)

    stream.close()
    assert (stream.status_code, all(shown), after) == (200, True, None)
