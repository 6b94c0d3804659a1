"""Responses in the background: the client asks for them later, of whichever worker, also when theirs has died."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.errors import LedgerUnavailable
from app.gateway.responses_api import background, response_store
from app.settings.tables import RouteSettings
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.gateway.responses_api.test_response_store import ask, native_answer, said_to
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, json_reply, sse

PLACE = "/v1/responses"
FINAL = ("completed", "incomplete", "failed", "cancelled")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "TICK", 0.02)
    monkeypatch.setattr(background, "BEAT", 0.1)


def begin(client: Client, given: Any = "q1", **more: Any) -> Any:
    response = ask(client, given, background=True, **more)
    assert response.status_code == 200, response.text
    return response.get_json()


def see(client: Client, response_id: str, **query: Any) -> TestResponse:
    return client.http.get(f"{PLACE}/{response_id}", query_string=query)


def wait(client: Client, response_id: str, statuses: tuple[str, ...] = FINAL) -> Any:
    """The response as soon as it has one of the statuses; fails the test after five seconds."""
    return wait_until(lambda: found if (found := see(client, response_id).get_json())["status"] in statuses else None)


def numbers_of(response: TestResponse) -> list[int]:
    return [event["sequence_number"] for event in events_of(response) if event != "[DONE]"]


def test_a_response_in_the_background_is_queued_at_once_and_complete_later(
    client: Client, upstream: FakeUpstream
) -> None:
    upstream.script(sse(0.2, *chat_stream("hel", "lo").pieces))

    queued = begin(client, metadata={"a": "b"})
    done = wait(client, queued["id"])

    assert (queued["status"], queued["background"], queued["output"]) == ("queued", True, [])
    assert (done["status"], done["background"], done["metadata"]) == ("completed", True, {"a": "b"})
    assert done["output"][0]["content"][0]["text"] == "hello"
    assert done["id"] == queued["id"]
    assert said_to(upstream) == [("user", "q1")]
    assert client.http.get(f"{PLACE}/{done['id']}/input_items").get_json()["data"][0]["role"] == "user"


def test_it_is_in_progress_while_its_upstream_speaks(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "hel"}), STALL))

    queued = begin(client)
    running = wait(client, queued["id"], ("in_progress",))

    assert running["output"] == []
    assert client.http.post(f"{PLACE}/{queued['id']}/cancel").get_json()["status"] == "cancelled"


def test_its_events_can_be_read_along_and_again(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), 0.1, *chat_stream("b", "c").pieces))

    along = ask(client, "q1", background=True, stream=True)
    again = see(client, events_of(along)[0]["response"]["id"], stream="true")
    rest = see(client, events_of(along)[0]["response"]["id"], stream="true", starting_after=3)

    assert along.headers["content-type"].startswith("text/event-stream")
    assert events_of(along)[-2]["type"] == "response.completed"
    assert events_of(along)[-1] == "[DONE]"
    assert numbers_of(along) == list(range(len(numbers_of(along))))
    assert again.data == along.data
    assert numbers_of(rest) == numbers_of(along)[4:]


def test_who_stops_reading_along_does_not_stop_it(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), 0.2, *chat_stream("b").pieces))
    body = {"model": "chat/m", "input": "q", "background": True, "stream": True}

    reading = client.http.post(PLACE, data=json.dumps(body), buffered=False)
    first = next(iter(reading.response))
    reading.close()
    assert isinstance(first, bytes)
    begun = json.loads(first.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]

    assert wait(client, begun)["status"] == "completed"


def test_a_cancelled_response_ends_its_upstream_and_stays_cancelled(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), *[0.05, chunk({"content": "b"})] * 80))
    queued = begin(client)
    wait(client, queued["id"], ("in_progress",))

    cancelled = client.http.post(f"{PLACE}/{queued['id']}/cancel").get_json()
    again = client.http.post(f"{PLACE}/{queued['id']}/cancel").get_json()

    assert cancelled["status"] == again["status"] == "cancelled"
    upstream.wait_until_left(0)
    replayed = events_of(see(client, queued["id"], stream="true"))
    assert [event if event == "[DONE]" else event["type"] for event in replayed[-2:]] == [
        "response.cancelled",
        "[DONE]",
    ]
    assert see(client, queued["id"]).get_json()["status"] == "cancelled"
    assert ask(client, "q2", previous_response_id=queued["id"]).status_code == 400


def test_a_running_response_keeps_the_room_of_its_body(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), *[0.05, chunk({"content": "b"})] * 80))
    bodies = client.app.runtime.bodies

    queued = begin(client, "x" * 200_000)
    held = bodies.taken
    refused = ask(client, "x" * 200_000, background=True, previous_response_id="resp_none")
    held_after = bodies.taken
    client.http.delete(f"{PLACE}/{queued['id']}")

    assert refused.status_code == 400
    assert held_after == held > 200_000
    wait_until(lambda: bodies.taken == 0)


def test_a_response_that_is_over_cannot_be_cancelled(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("a"))
    done = wait(client, begin(client)["id"])

    refused = client.http.post(f"{PLACE}/{done['id']}/cancel")

    assert refused.status_code == 400
    assert "completed" in refused.get_json()["error"]["message"]


def test_a_deleted_response_ends_its_upstream(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), *[0.05, chunk({"content": "b"})] * 80))
    queued = begin(client)
    wait(client, queued["id"], ("in_progress",))

    client.http.delete(f"{PLACE}/{queued['id']}")

    upstream.wait_until_left(0)
    assert see(client, queued["id"]).status_code == 404
    assert see(client, queued["id"], stream="true").status_code == 404


def test_the_events_of_a_long_response_are_deleted_many_at_a_time(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one those of ten minutes took twelve seconds, in which the worker did nothing else."""
    upstream.script(chat_stream("a"))
    done = wait(client, begin(client)["id"])
    services = client.app.runtime.services
    events, tenant = services.ledger.events, ""
    for number in range(1200):
        events.put(tenant, f"{done['id']}:{number}", b"data: {}")
    deletes, delete = [], events.delete
    monkeypatch.setattr(events, "delete", lambda *names: (deletes.append(names), delete(*names))[1])

    client.http.delete(f"{PLACE}/{done['id']}")

    assert len(deletes) < 10
    assert not any(events.get(tenant, f"{done['id']}:{number}") for number in range(1200))


def test_a_refusal_by_the_upstream_is_the_end_of_the_response(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "no such thing", "type": "invalid_request_error"}}, status=400))

    failed = wait(client, begin(client)["id"])

    assert failed["status"] == "failed"
    assert failed["error"]["message"] == "no such thing"
    replayed = events_of(see(client, failed["id"], stream="true"))
    assert replayed[-2]["type"] == "response.failed"
    assert replayed[-2]["response"]["id"] == failed["id"]


def test_a_stream_that_breaks_is_a_failed_response(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("a", tail=()))

    failed = wait(client, begin(client)["id"])

    assert failed["status"] == "failed"
    deltas = [event["delta"] for event in events_of(see(client, failed["id"], stream="true")) if "delta" in event]
    assert deltas == ["a"]


def test_a_complete_response_can_be_continued_and_a_running_one_cannot(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(0.3, *chat_stream("a1").pieces), json_reply(chat_answer("a2")))
    queued = begin(client)

    early = ask(client, "q2", previous_response_id=queued["id"])
    wait(client, queued["id"])
    late = ask(client, "q2", previous_response_id=queued["id"])

    assert early.status_code == 400
    assert early.get_json()["error"]["param"] == "previous_response_id"
    assert late.status_code == 200
    assert said_to(upstream) == [("user", "q1"), ("assistant", "a1"), ("user", "q2")]


def test_every_worker_can_show_and_cancel_it(make_client: MakeClient, upstream: FakeUpstream) -> None:
    one, other = make_client(), make_client()
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), *[0.05, chunk({"content": "b"})] * 80))
    queued = begin(one)

    running = wait(other, queued["id"], ("in_progress",))
    cancelled = other.http.post(f"{PLACE}/{queued['id']}/cancel").get_json()

    assert running["id"] == queued["id"]
    assert cancelled["status"] == "cancelled"
    upstream.wait_until_left(0)


def test_a_response_whose_worker_died_has_failed(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_store, "LEASE", 0.3)
    monkeypatch.setattr(background, "BEAT", 1000.0)
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), STALL))

    lost = wait(client, begin(client)["id"])

    assert lost["status"] == "failed"
    assert "worker" in lost["error"]["message"]
    assert events_of(see(client, lost["id"], stream="true"))[-2]["type"] == "response.failed"
    client.http.delete(f"{PLACE}/{lost['id']}")


def test_a_long_response_keeps_its_lease_and_its_record_is_read_no_more_while_it_runs(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record may hold megabytes, and anyone who reads along looks four times a second."""
    monkeypatch.setattr(response_store, "LEASE", 0.3)
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), *[0.05, chunk({"content": "b"})] * 20,
                        *chat_stream("c").pieces))  # fmt: skip
    queued = begin(client)
    wait(client, queued["id"], ("in_progress",))
    records = client.app.runtime.services.background._response_store._collection
    find, found = records._find, []
    monkeypatch.setattr(records, "_find", lambda *place: (found.append(place), find(*place))[1])

    replayed = events_of(see(client, queued["id"], stream="true"))

    assert replayed[-2]["type"] == "response.completed"
    assert len(found) <= 3
    assert see(client, queued["id"]).get_json()["status"] == "completed"


def test_a_worker_that_stops_lets_its_responses_come_to_their_end(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(0.2, *chat_stream("a").pieces))
    queued = begin(client)

    client.app.runtime.services.background.finish(5)

    assert see(client, queued["id"]).get_json()["status"] == "completed"


def test_a_response_that_outlasts_its_worker_has_failed_at_once(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), STALL))
    queued = begin(client)

    client.app.runtime.services.background.finish(0)

    assert see(client, queued["id"]).get_json()["status"] == "failed"


def test_a_conversation_gets_what_was_said_in_the_background(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("a1"))
    place = client.ask("/v1/conversations", {}).get_json()["id"]

    wait(client, begin(client, conversation=place)["id"])

    assert len(client.http.get(f"/v1/conversations/{place}/items").get_json()["data"]) == 2


def test_an_upstream_that_keeps_responses_makes_its_own(make_client: MakeClient, upstream: FakeUpstream) -> None:
    native = {"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1", "api_key": "sk-up"}
    client = make_client(native=native)
    upstream.script(json_reply({**native_answer(), "status": "queued", "background": True}))

    queued = begin(client, model="native/m")

    assert queued["id"] == "resp_native"
    assert upstream.seen[0].json()["background"] is True


def test_an_upstream_that_speaks_responses_and_keeps_nothing_is_asked_by_the_gateway(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    keyless = {"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1", "api_key": "sk-up"}
    client = make_client(native=keyless, models={"routes": {"both": RouteSettings(targets=("native/m", "chat/m"))}})
    upstream.script(json_reply(native_answer()))

    done = wait(client, begin(client, model="both")["id"])

    assert done["status"] == "completed"
    assert done["id"] != "resp_native"
    sent = upstream.seen[0].json()
    assert "background" not in sent
    assert sent["stream"] is True


@pytest.mark.parametrize(
    ("more", "param"),
    [({"store": False}, "background"), ({"input": [{"role": 5}]}, "input[0]"), ({"temperature": 9}, "temperature")],
)
def test_what_cannot_be_answered_is_refused_at_once(
    client: Client, upstream: FakeUpstream, more: dict[str, Any], param: str
) -> None:
    refused = client.ask(PLACE, {"model": "chat/m", "input": "q", "background": True, **more})

    assert refused.status_code == 400
    assert param in refused.get_json()["error"]["param"]
    assert upstream.seen == []


def test_who_reads_along_is_told_when_the_ledger_fails(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script(chat_stream("a"))
    done = wait(client, begin(client)["id"])
    reading = see(client, done["id"], stream="true")

    def fail(*_: object) -> None:
        raise LedgerUnavailable("the disk is full")

    shelf = client.app.runtime.services.background._events
    monkeypatch.setattr(shelf, "get", fail)
    broken = see(client, done["id"], stream="true")

    assert events_of(reading)[-2]["type"] == "response.completed"
    assert events_of(broken)[0]["error"]["message"] == "the disk is full"
    assert events_of(broken)[-1] == "[DONE]"


def test_more_than_a_worker_can_bear_are_refused(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_JOBS", 1)
    upstream.script(sse(chunk({"role": "assistant", "content": "a"}), STALL))
    first = begin(client)

    refused = ask(client, "q2", background=True)

    assert refused.status_code == 429
    client.http.delete(f"{PLACE}/{first['id']}")


def test_an_unknown_previous_response_is_refused_at_once(client: Client, upstream: FakeUpstream) -> None:
    refused = ask(client, "q", background=True, previous_response_id="resp_none")

    assert refused.status_code == 400
    assert refused.get_json()["error"]["code"] == "previous_response_not_found"


def test_a_wrong_starting_point_is_refused(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("a"))
    done = wait(client, begin(client)["id"])

    refused = see(client, done["id"], stream="true", starting_after="x")

    assert refused.status_code == 400
    assert refused.get_json()["error"]["param"] == "starting_after"


def test_without_a_ledger_nothing_is_made_in_the_background(
    client: Client, upstream: FakeUpstream, data_folder: Path
) -> None:
    data_folder.mkdir(parents=True, exist_ok=True)
    (data_folder / "ledger.sqlite3").write_bytes(b"this is no database, and nobody may overwrite it" * 100)

    refused = ask(client, "q", background=True)

    assert refused.status_code == 503
    assert "database" in refused.get_json()["error"]["message"]
    assert upstream.seen == []
