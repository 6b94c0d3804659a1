"""Metrics, health and reports: right, bounded, and for those alone who may see them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.accounts.record import AttemptRecord, RequestRecord, Times
from app.conversation.response import Usage
from app.errors import UpstreamUnreachable
from app.gateway.recording import workers as workers_module
from app.gateway.recording.metrics import MAX_MODELS, OTHER, Counts, Gauge, Metrics
from app.gateway.recording.recorder import Recorder
from app.gateway.recording.worker_files import WorkerFiles
from app.gateway.recording.workers import Reload, Workers
from tests.accounts.records import record
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply

ELSEWHERE = {"REMOTE_ADDR": "203.0.113.7"}


def scrape(client: Client, **options: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples, by name and labels."""
    text = client.http.get("/metrics", **options).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (each, told), value in samples.items() if each == name and wanted <= set(told))


@pytest.fixture
def watched(make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a gateway whose loops run."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    client = make_client()
    client.app.runtime.watch()
    yield client
    for loop in client.app.runtime.loops:
        loop.stop()
    client.app.runtime.finish(1)


def test_a_scrape_tells_what_was_asked(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()), chat_stream("one", "two"), json_reply({"error": {"message": "no"}}, 400))
    client.chat()
    assert client.message(stream=True).data
    client.chat()

    samples = scrape(client)

    assert total(samples, "dragoman_requests_total", status="200", provider="chat") == 2
    assert total(samples, "dragoman_requests_total", status="400", error="invalid_request") == 1
    assert total(samples, "dragoman_errors_total", error_type="invalid_request", provider="chat") == 1
    assert total(samples, "dragoman_tokens_total", type="input", model="m") >= 11
    assert total(samples, "dragoman_attempts_total", provider="chat", status="200") == 2
    assert total(samples, "gen_ai_server_request_duration_seconds_count", gen_ai_provider_name="chat") == 3
    assert total(samples, "gen_ai_server_time_to_first_token_seconds_count") == 1
    assert total(samples, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") >= 7
    assert total(samples, "dragoman_provider_up") == 2
    assert total(samples, "dragoman_active_requests") == 0


def test_strangers_cannot_multiply_the_metrics() -> None:
    metrics = Metrics()

    for number in range(2 * MAX_MODELS):
        metrics.take(
            [
                RequestRecord(
                    id=str(number),
                    received=0.0,
                    method=f"M{number}",
                    provider="p",
                    target=f"p/{number}",
                    model=str(number),
                )
            ]
        )
    counts = metrics.count()

    assert len(counts.traffic) == MAX_MODELS + 1
    assert {group.labels[0] for group in counts.traffic} == {OTHER}
    assert next(group.requests for group in counts.traffic if group.labels[5] == OTHER) == MAX_MODELS


def test_counts_are_those_of_the_records() -> None:
    metrics = Metrics()
    records = [record(number) for number in range(50)]

    for each in records:
        metrics.take([each])
    (traffic,) = metrics.count().traffic

    assert traffic.requests == 50
    assert traffic.cost == sum(each.cost or 0 for each in records)
    assert traffic.cache_read == sum(each.usage.cache_read for each in records if each.usage is not None)


class Worker:
    """A worker of a server, as far as the others know it."""

    def __init__(self, folder: Path, pid: str) -> None:
        self.metrics = Metrics()
        self.recorder = Recorder([self.metrics])
        self.workers = Workers(self.recorder, self.metrics, telling_limit=0.0)
        self.workers.join(folder)
        files = self.workers._files
        assert files is not None
        # Two of them in one process: the second takes another name.
        files.leave()
        files._own = pid
        files.join()
        self.workers._publish()
        self.files = files

    def die(self) -> None:
        assert self.files._lock is not None
        os.close(self.files._lock)
        self.files._lock = None

    def ask(self, count: int) -> None:
        for number in range(count):
            self.metrics.take([record(number)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "dragoman-1"
    base.mkdir(mode=0o700)
    return base / str(os.getpid())


def requests_of(counts: Counts) -> int:
    return sum(group.requests for group in counts.traffic)


def test_every_worker_tells_of_all(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")
    one.ask(3)
    two.ask(4)

    for each in (one, two):
        each.files.ask()
        each.workers.round()

    assert [requests_of(each.workers.look().counts) for each in (one, two)] == [7, 7]
    assert one.workers.look().workers == 2


def test_a_worker_without_others_publishes_nothing_for_its_own_questions(folder: Path) -> None:
    worker = Worker(folder, "1")
    os.utime(folder / "1.worker", (1, 1))

    assert worker.workers.look_running().complete
    assert not worker.files.is_asked()


def test_a_worker_that_does_not_answer_is_waited_for_and_said_to_be_missing(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")
    two.ask(4)
    os.utime(folder / "2.worker", (1, 1))

    silent = one.workers.look()
    two.workers.round()

    assert (silent.complete, silent.workers) == (False, 2)
    assert requests_of(one.workers.look().counts) == 4


def test_what_dead_workers_counted_is_kept_once(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")
    two.ask(4)
    two.workers._publish()
    two.die()

    seen = [requests_of(one.workers.look().counts) for _ in range(3)]
    three = Worker(folder, "3")

    assert seen == [4, 4, 4]
    assert requests_of(three.workers.look().counts) == 4
    assert one.workers.look().workers == 2


def test_reloads_of_all_workers_are_told_and_the_same_one_once(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")
    for at in (1000.0, 1001.0, 2000.0):
        one.workers.note_reload(Reload(at))
    two.workers.note_reload(Reload(1000.4))
    two.workers.note_reload(Reload(2000.3, faults=("it is wrong",)))

    told, workers = one.workers.list_reloads()

    assert workers == 2
    assert [(each.at, each.workers, each.faults) for each in told] == [
        (2000.3, 1, ("it is wrong",)),
        (2000.0, 1, ()),
        (1001.0, 1, ()),
        (1000.0, 2, ()),
    ]
    assert two.workers.list_reloads() == (told, 2)


def test_gauges_of_workers_are_merged_as_they_say(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")
    for worker, value in ((one, 1.0), (two, 3.0)):
        worker.workers.gauges.append(
            lambda value=value: [Gauge(name, "", value, {}, name) for name in ("sum", "max", "min")]  # type: ignore[misc]
        )
    two.workers._publish()

    merged = {gauge.name: gauge.value for gauge in one.workers.look().gauges}

    assert merged == {"sum": 4.0, "max": 3.0, "min": 1.0}


def test_a_long_request_of_a_worker_that_dies_is_recorded_as_stopped(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")
    taken: list[RequestRecord] = []
    one.recorder.sinks = (type("Taker", (), {"take": lambda self, records: taken.extend(records)})(),)
    for started, name in ((time.monotonic() - 60, "long"), (time.monotonic(), "short")):
        running = two.recorder.begin(name, "openai_chat")
        running.started = started
    two.workers._publish()
    two.die()

    one.workers.look()
    one.workers.look()

    assert [(each.id, each.terminal) for each in taken] == [("long", "stopped")]


def test_a_file_that_cannot_be_read_harms_nobody(folder: Path) -> None:
    one = Worker(folder, "1")
    one.ask(2)
    (folder / "99.worker").write_bytes(os.urandom(200))

    seen = one.workers.look()

    assert (requests_of(seen.counts), seen.workers) == (2, 1)


def test_what_a_gateway_tells_can_be_read_by_another_worker(watched: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()), chat_stream("one"))
    watched.chat()
    assert watched.chat(stream=True).data
    workers = watched.app.runtime.workers

    told = workers_module._read(workers_module._encode(workers._describe()))

    assert told is not None
    assert requests_of(told.counts) == 2
    assert {gauge.name for gauge in told.gauges} >= {"dragoman_provider_up", "dragoman_loop_age_seconds"}


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    base = tmp_path / "open"
    base.mkdir(mode=0o777)
    base.chmod(0o777)

    with pytest.raises(PermissionError):
        WorkerFiles(base / "1").join()


def test_the_folder_goes_with_the_last_worker(folder: Path) -> None:
    one, two = Worker(folder, "1"), Worker(folder, "2")

    one.workers.leave()
    assert folder.exists()
    two.workers.leave()

    assert not folder.exists()


@pytest.mark.parametrize(
    ("setting", "keys", "key", "place", "status"),
    [
        ("local", (), "", {}, 200),
        ("local", (), "", ELSEWHERE, 403),
        ("local", (), "", {"HTTP_X_FORWARDED_FOR": "203.0.113.7"}, 403),
        ("local", ("k-first",), "", {}, 401),
        ("local", ("k-first",), "k-first", ELSEWHERE, 200),
        ("local", ("k-first",), "k-wrong", ELSEWHERE, 401),
        ("key", ("k-first",), "", {}, 401),
        ("key", ("k-first",), "k-first", {}, 200),
        ("key", (), "", {}, 403),
        ("open", ("k-first",), "", ELSEWHERE, 200),
    ],
)
def test_metrics_are_for_those_who_may_see_them(
    make_client: MakeClient, setting: str, keys: tuple[str, ...], key: str, place: dict[str, str], status: int
) -> None:
    client = make_client(server={"metrics": setting, "api_keys": keys})

    answer = client.http.get("/metrics", environ_overrides=place, headers={"x-api-key": key} if key else {})

    assert answer.status_code == status


def test_a_client_key_sees_its_own_rows(
    make_client: MakeClient, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    client = make_client(server={"api_keys": ("k-first", "k-second")})
    runtime = client.app.runtime
    runtime.watch()
    upstream.script(json_reply(chat_answer()))
    first, second = {"authorization": "Bearer k-first"}, {"authorization": "Bearer k-second"}
    client.ask("/v1/chat/completions", {"model": "chat/m", "messages": [{"role": "user", "content": "a"}]}, **first)
    assert runtime.accounts is not None
    runtime.recorder.hand_out()
    runtime.accounts.flush()

    mine = client.http.get("/_/api/requests", headers=first).json["requests"]
    theirs = client.http.get("/_/api/requests", headers=second).json["requests"]
    request_id = mine[0]["id"]
    statuses = [
        client.http.get(f"/_/api/requests/{request_id}", headers=headers).status_code for headers in (first, second, {})
    ]
    usage = [client.http.get("/_/api/usage", headers=headers).json["usage"] for headers in (first, second)]
    for loop in runtime.loops:
        loop.stop()
    runtime.finish(1)

    assert len(mine) == 1
    assert theirs == []
    assert "tenant" not in mine[0]
    assert statuses == [200, 404, 401]
    assert [len(rows) for rows in usage] == [1, 0]


def test_reports_have_twins_of_the_commands(watched: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))
    watched.chat(model="chat/gpt-4.1")
    accounts = watched.app.runtime.accounts
    assert accounts is not None
    watched.app.runtime.recorder.hand_out()
    accounts.flush()

    get = watched.http.get
    (row,) = get("/_/api/usage?by=model&by=day&since=1h").json["usage"]
    listed = get("/_/api/requests?model=chat/gpt-4.1&limit=1").json
    whole = get(f"/_/api/requests/{listed['requests'][0]['id']}").json

    assert (row["model"], row["requests"], row["fresh"], row["cost"]) == ("chat/gpt-4.1", 1, 11, 11 * 2000 + 7 * 8000)
    assert whole["target"] == "chat/gpt-4.1"
    assert get("/_/api/requests?failed=1").json["requests"] == []
    statuses = [get(f"/_/api/requests?status={status}").json["requests"] for status in ("200", "2xx", "404", "5XX")]
    assert [len(rows) for rows in statuses] == [1, 1, 0, 0]
    assert get("/_/api/requests?before=" + str(listed["next"])).json["requests"] == []
    assert get("/_/api/sessions").json == {"sessions": [], "next": None}
    assert get("/_/api/running").json == {"running": [], "workers": 1, "complete": True}
    assert get("/_/api/prices?model=gpt-4.1").json["prices"]["gpt-4.1"]["input"] == 2.0


@pytest.mark.parametrize(
    "query",
    [
        "usage?by=tenant",
        "usage?by=session&by=model",
        "usage?since=soon",
        "usage?since=-5",
        "usage?since=nan",
        "usage?session=s-1",
        "usage?until=1h&by=session",
        "usage?model=m&by=session",
        "usage?key=ana&by=credential",
        "usage?keys=ana",
        "requests?tenant=somebody",
        "requests?status=teapot",
        "requests?status=6xx",
        "sessions?model=m",
        "prices?key=ana",
        "requests?limit=0",
        "requests?limit=99999",
        "requests?before=x",
        "requests?before=²",
        "requests?after=" + "9" * 40,
        "requests?until=1e30",
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_its_field(watched: Client, query: str) -> None:
    answer = watched.http.get(f"/_/api/{query}")

    assert answer.status_code == 400
    field = query.partition("?")[2].partition("=")[0]
    assert answer.json["error"]["param"] == field
    assert field in answer.json["error"]["message"]


def test_nobody_elsewhere_sees_anything_without_keys(client: Client) -> None:
    paths = ("usage", "requests", "requests/x", "sessions", "running", "prices")

    statuses = {client.http.get(f"/_/api/{path}", environ_overrides=ELSEWHERE).status_code for path in paths}

    assert statuses == {403}


def test_ready_says_no_while_the_worker_stops(client: Client) -> None:
    client.app.runtime.draining = True

    answer = client.http.get("/health/ready")

    assert answer.status_code == 503
    assert "stop" in answer.json["reasons"][0]
    assert client.http.get("/health/live").status_code == 200


def test_ready_says_no_while_no_provider_can_serve_and_tries_again_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for provider in client.app.runtime.services.providers.values():
        provider.health.fail(UpstreamUnreachable("gone"))

    before = client.http.get("/health/ready")
    later = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: later)

    assert before.status_code == 503
    assert before.json["reasons"] == ["no provider can answer"]
    assert client.http.get("/health/ready").status_code == 200


@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
def test_ready_minds_the_ledger_where_it_is_required(make_client: MakeClient, required: bool, status: int) -> None:
    client = make_client(ledger={"required": required})
    client.app.runtime.services.ledger.problem = "the disk is full"

    assert client.http.get("/health/ready").status_code == status
    assert "the disk is full" not in client.http.get("/health/ready").text


def test_health_counts_and_names_its_reasons(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))
    client.chat()
    client.app.runtime.services.ledger.problem = "the disk is full"

    told = client.http.get("/health").json

    assert told["process"]["requestCount"] == 1
    assert told["process"]["queueLength"] == 0
    assert "/v1/messages" in told["endpoints"]["anthropic"]
    assert told["status"] == "degraded"
    assert any("the disk is full" in reason for reason in told["reasons"])


def test_a_record_of_a_worker_survives_the_way_to_another() -> None:
    whole = record(1, attempts=(AttemptRecord("a/b", 503, "overloaded", "busy"),), times=Times(1, 2, 3, 4, 5))

    back = msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=RequestRecord)

    assert back == whole
    assert back.usage == Usage(fresh=1000, cache_read=4000, output=200)
