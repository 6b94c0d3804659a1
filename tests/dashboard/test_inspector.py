"""The inspector: off unless it is asked for, whole and in order where it is on, and never with a secret or a file."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from werkzeug.test import Client

from app.application import Application
from app.cli import main
from app.dashboard.inspection import compare
from app.gateway.inspection.bodies import clean_body, clean_text
from app.gateway.inspection.inspector import Inspector
from app.gateway.inspection.orders import RecordingOrder, orders_file, read_orders, write_orders
from app.settings import KeySettings, ServerSettings
from tests.dashboard.conftest import SCRIPT, MakeApp, enter, read_mark, sign_with
from tests.support.answers import chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply

PICTURE = base64.b64encode(b"\x89PNG" + bytes(range(256)) * 20).decode()
SIDES = ("", "/export", "/export.json")


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


def record_all(app: Application, **changes: Any) -> None:
    write_orders(orders_file(), [RecordingOrder(id="o", until=time.time() + 60, **changes)])
    app.runtime.observers.follow_orders()


def ask(client: Client, text: str = "hello", key: str = "", **more: Any) -> str:
    body = {"model": "up/m", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}
    headers = {"x-api-key": key} if key else {}
    answer = client.post("/v1/messages", json=body, headers=headers)
    answer.get_data()
    return answer.headers["x-request-id"]


def look(app: Application, client: Client, request_id: str) -> str:
    app.runtime.recorder.hand_out()
    app.runtime.observers.follow_orders()
    assert app.runtime.accounts is not None
    app.runtime.accounts.flush()
    return client.get(f"/_/requests/{request_id}").text


def test_nothing_listens_unless_it_is_asked_for(make_app: MakeApp, upstream: FakeUpstream) -> None:
    app = make_app(base_url=upstream.url)
    upstream.script(chat_stream("hi"))

    text = look(app, enter(app), ask(app.test_client(), stream=True))

    assert app.runtime.observers.wiretaps is None
    assert "This request was not recorded" in text
    assert "Record for a while" in text


def test_a_recorded_stream_is_shown_from_four_sides(make_app: MakeApp, upstream: FakeUpstream) -> None:
    app = make_app(base_url=upstream.url)
    record_all(app)
    upstream.script(chat_stream("one ", f"two {SCRIPT}"))

    request_id = ask(app.test_client(), f"look at {SCRIPT}", stream=True)
    client = enter(app)
    text = look(app, client, request_id)

    panes = re.findall(r'<section class="panel" aria-label="([a-z ]+)">', text)
    assert panes == ["client request", "upstream request", "upstream reply", "client reply"]
    assert "message_start" in text
    assert "content_block_delta" in text
    assert re.search(r"\d ms</td>", text)
    assert '<span class="del">-  &#34;content&#34;: ' in text or '<span class="add">' in text
    assert "$DRAGOMAN_KEY" in text
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "Recorded with their content: requests until" in text
    listed = client.get("/_/recording").text
    assert request_id in listed
    assert ">Werkzeug/" in listed
    assert '>up/m</td><td class="narrow">200</td>' in listed


def test_what_no_server_answers_is_recorded_too(make_app: MakeApp) -> None:
    app = make_app(demo=True)
    record_all(app)

    request_id = ask(app.test_client(), model="demo/demo", stream=True)

    assert "POST demo</p>" in look(app, enter(app), request_id)


def test_neither_keys_nor_files_are_kept(make_app: MakeApp, upstream: FakeUpstream) -> None:
    key = "dm-" + "a" * 40
    app = make_app(keys={"ana": KeySettings(key=key)}, base_url=upstream.url)
    record_all(app)
    upstream.script(json_reply({"error": {"message": "no"}}, 500))
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    said = 'my "password": "hunter2-hunter2" and Bearer abcdefgh12345678'
    content = [
        picture,
        {"type": "text", "text": said},
        {"type": "text", "text": json.dumps({"api_key": "x-y-z-secret"})},
    ]

    request_id = ask(app.test_client(), content, key)  # type: ignore[arg-type]
    client, _ = sign_with(app, key)
    page, told = look(app, client, request_id), client.get(f"/_/requests/{request_id}/export.json").text

    assert PICTURE[:200] not in page + told
    assert "[image/png, 5124 bytes, sha256 " in told
    assert [each for each in (key, "abcdefgh12345678", "secret-0123456789") if each in page + told] == []
    assert "[REDACTED]" in told
    assert json.loads(told)["panes"][0]["name"] == "client request"
    assert "ana" not in json.dumps(json.loads(told)["request"])


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ({}, [True, True]),
        ({"only": "errors"}, [False, True]),
        ({"model": "up/*"}, [True, True]),
        ({"model": "qwen*"}, [False, False]),
        ({"key": "ana"}, [False, False]),
        ({"share": 0}, [False, False]),
    ],
)
def test_only_what_an_order_is_for_is_kept(
    make_app: MakeApp, upstream: FakeUpstream, order: dict[str, Any], kept: list[bool]
) -> None:
    app = make_app({"max_attempts": 1}, base_url=upstream.url)
    record_all(app, **order)
    upstream.script(chat_stream("well"), json_reply({"error": {"message": "no"}}, 400))

    ids = [ask(app.test_client(), stream=True), ask(app.test_client(), stream=True)]

    client = enter(app)
    assert ['aria-label="client request"' in look(app, client, each) for each in ids] == kept
    assert app.runtime.observers.inspector.held == 0


def test_an_order_ends_by_itself(make_app: MakeApp) -> None:
    now = [1000.0]
    write_orders(orders_file(), [RecordingOrder(id="o", until=1060.0)])
    inspector = Inspector(ServerSettings(), clock=lambda: now[0])
    inspector.follow()
    before = inspector.active

    now[0] = 1061.0

    assert (before, inspector.active, inspector.describe()) == (True, False, None)


def test_the_setting_records_without_an_end() -> None:
    inspector = Inspector(ServerSettings(record="errors"))

    assert inspector.describe() == "Recorded with their content: failed requests."


def test_recordings_of_another_key_are_not_there(make_app: MakeApp, upstream: FakeUpstream) -> None:
    keys = {name: KeySettings(key=f"dm-{name * 40}") for name in "ab"}
    app = make_app(keys=keys, base_url=upstream.url)
    record_all(app)
    upstream.script(chat_stream("hi"))
    request_id = ask(app.test_client(), key=keys["a"].key, stream=True)

    (mine, _), (other, _) = (sign_with(app, keys[name].key) for name in "ab")

    assert 'aria-label="client request"' in look(app, mine, request_id)
    assert [other.get(f"/_/requests/{request_id}{more}").status_code for more in ("", "/export", "/export.json")] == [
        404
    ] * 3
    assert request_id in mine.get("/_/recording").text
    assert request_id not in other.get("/_/recording").text
    mark = read_mark(mine)
    refused = [
        mine.post(f"/_/recording/{what}", data={"csrf": mark}).status_code for what in ("start", "stop", "forget")
    ]
    assert refused == [403] * 3


def test_a_page_begins_and_ends_recording(make_app: MakeApp) -> None:
    app = make_app()
    client = enter(app)
    mark = read_mark(client)

    client.post(
        "/_/recording/start", data={"csrf": mark, "for": "1h", "model": "qwen*", "only": "errors", "share": "50"}
    )
    begun = client.get("/_/").text
    (order,) = read_orders(orders_file(), time.time())
    client.post("/_/recording/stop", data={"csrf": mark, "id": order.id})

    assert "failed requests of model qwen*, 50 of 100 until" in begun
    assert order.until is not None
    assert 3500 < order.until - time.time() <= 3600
    assert read_orders(orders_file(), time.time()) == []
    assert app.runtime.observers.wiretaps is None


@pytest.mark.parametrize("form", [{"for": "2d"}, {"for": "soon"}, {"share": "0"}, {"share": "x"}])
def test_a_wrong_order_is_refused(make_app: MakeApp, form: dict[str, str]) -> None:
    client = enter(make_app())

    answer = client.post("/_/recording/start", data={"csrf": read_mark(client), **form})

    assert answer.status_code == 400
    assert read_orders(orders_file(), time.time()) == []


def test_the_command_records_for_a_while() -> None:
    begun = CliRunner().invoke(main, ["record", "--for", "15m", "--key", "ana", "--errors"])
    (order,) = read_orders(orders_file(), time.time())
    ended = CliRunner().invoke(main, ["record", "--stop"])

    assert (begun.exit_code, ended.exit_code) == (0, 0)
    assert (order.key, order.only) == ("ana", "errors")
    assert orders_file().stat().st_mode & 0o777 == 0o600
    assert read_orders(orders_file(), time.time()) == []


def test_a_request_is_replayed_at_another_target(make_app: MakeApp, upstream: FakeUpstream) -> None:
    app = make_app(base_url=upstream.url, demo=True)
    record_all(app)
    upstream.script(chat_stream("hi"))
    request_id = ask(app.test_client(), stream=True)
    client = enter(app)
    look(app, client, request_id)

    answer = client.post(f"/_/requests/{request_id}/replay", data={"csrf": read_mark(client), "target": "demo/demo"})

    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "led to <strong>demo/demo</strong>" in page
    assert 'aria-label="client request"' in page


def test_the_oldest_recordings_go_where_there_are_too_many(make_app: MakeApp, upstream: FakeUpstream) -> None:
    from app.accounts.recordings import keep_recordings, list_recordings
    from app.gateway.inspection.wire_copy import Recording

    app = make_app()
    accounts = app.runtime.accounts
    assert accounts is not None
    accounts.read(lambda _connection: None)
    noise = [
        base64.b64encode(bytes((number * 7 + at * at) % 251 for at in range(40_000))).decode() for number in range(40)
    ]
    made = [(Recording(f"{number:032x}", 0.0, "openai_chat", text, []), "") for number, text in enumerate(noise)]

    for at, each in enumerate(made):
        accounts.change(lambda connection, each=each, at=at: keep_recordings(connection, [each], 1000.0 + at, 24, 1))
    kept = accounts.read(lambda connection: list_recordings(connection, None))
    accounts.change(lambda connection: keep_recordings(connection, [made[0]], 1000.0 + 25 * 3600, 24, 1))
    later = accounts.read(lambda connection: list_recordings(connection, None))

    assert sum(row["size"] for row in kept) <= 1 << 20
    assert kept[0]["id"] == f"{39:032x}"
    assert [row["id"] for row in later] == [f"{0:032x}"]


def test_a_long_body_is_json_still() -> None:
    body = json.dumps({"messages": [{"content": "word " * 100_000}, {"content": "short"}]}).encode()

    text, cut = clean_body(body)

    assert cut
    assert len(text) <= 256 * 1024
    assert json.loads(text)["messages"][1] == {"content": "short"}
    assert "(500000 characters)" in text


@pytest.mark.parametrize(
    "text", ['"' * 200_000, '"data:' * 50_000, '"api_key":"' * 30_000, '"' + "A" * 300_000, "\\" * 200_000]
)
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    begun = time.process_time()

    clean_text(text)

    assert time.process_time() - begun < 2.0


def test_the_order_of_fields_is_no_difference() -> None:
    panes = [
        {"name": "client request", "body": '{"a":1,"b":[2]}'},
        {"name": "upstream request", "body": '{"b":[2],"a":1}'},
    ]

    assert compare({"panes": panes}) == []
