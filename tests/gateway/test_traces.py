"""Traces are made of records, with the standard variables, and nothing of them is loaded without."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.accounts.record import AttemptRecord, StepRecord
from app.gateway.recording.telemetry.exported_logs import open_exported_logs
from app.gateway.recording.telemetry.traces import open_traces
from app.known_secrets import known_secrets
from app.transport import Transport, TransportSettings
from tests.accounts.records import record
from tests.docs.blocks import ROOT
from tests.gateway.conftest import MakeClient, listen
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


_heads: list[Transport] = []


def find_transport() -> Transport:
    return _heads[-1]


@pytest.fixture(autouse=True)
def way() -> Iterator[None]:
    _heads.append(Transport(TransportSettings()))
    yield
    _heads.pop().close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeUpstream]:
    """An OTLP receiver that the variables name."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with FakeUpstream(Reply(framing="length")) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def spans(collector: FakeUpstream) -> list[Any]:
    import gzip

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for seen in collector.seen:
        if seen.path != "/v1/traces":
            continue
        packed = seen.headers.get("content-encoding") == "gzip"
        told = ExportTraceServiceRequest.FromString(gzip.decompress(seen.body) if packed else seen.body)
        found += [span for resource in told.resource_spans for scope in resource.scope_spans for span in scope.spans]
    return found


def exported(collector: FakeUpstream) -> list[Any]:
    import gzip

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    found = []
    for seen in collector.seen:
        if seen.path == "/v1/logs":
            packed = seen.headers.get("content-encoding") == "gzip"
            told = ExportLogsServiceRequest.FromString(gzip.decompress(seen.body) if packed else seen.body)
            found += [each for group in told.resource_logs for scope in group.scope_logs for each in scope.log_records]
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value"))
        for each in span.attributes
        if each.value.WhichOneof("value") != "array_value"
    }


def test_a_request_is_a_span_with_a_child_for_each_attempt(collector: FakeUpstream) -> None:
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, find_transport)
    assert traces is not None
    tried = (
        AttemptRecord("oca/gpt-4.1", 503, "overloaded", "busy", started=2, ended=100, waited=250),
        AttemptRecord("oca/gpt-4.1", 200, started=350, ended=900),
    )

    traces.take([record(1, attempts=tried, trace=PARENT)])
    traces.close()

    by_name = {span.name: span for span in spans(collector) if span.kind == 2}
    request = by_name["chat claude-sonnet-4-6"]
    first, second = (span for span in spans(collector) if span.name == "attempt oca/gpt-4.1")
    assert request.trace_id.hex() == PARENT.split("-")[1]
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert first.parent_span_id == second.parent_span_id == request.span_id
    assert request.end_time_unix_nano - request.start_time_unix_nano == 900_000_000
    assert attributes(request)["gen_ai.usage.input_tokens"] == 5000
    assert attributes(request)["dragoman.cost_usd"] == 0.0056
    assert attributes(first)["error.type"] == "overloaded"
    assert (first.status.code, second.status.code) == (2, 0)


@pytest.mark.parametrize("header", ["", "x" * 200, "00-" + "0" * 32 + "-" + "0" * 16 + "-01", PARENT.upper()])
def test_a_wrong_context_begins_a_trace_of_its_own(collector: FakeUpstream, header: str) -> None:
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, find_transport)
    assert traces is not None

    traces.take([record(1, trace=header)])
    traces.close()

    roots = [span for span in spans(collector) if not span.parent_span_id]
    assert [span.name for span in roots] == ["chat claude-sonnet-4-6"]


def test_what_a_request_waited_for_has_spans_of_its_own(collector: FakeUpstream) -> None:
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, find_transport)
    assert traces is not None
    steps = (StepRecord("credential", "oca", 1, 41), StepRecord("fetch", "URLs of the client", 41, 91))

    traces.take([record(1, steps=steps)])
    traces.close()

    by_name = {span.name: span for span in spans(collector)}
    request, credential, fetch = by_name["chat claude-sonnet-4-6"], by_name["credential"], by_name["fetch"]
    assert credential.parent_span_id == fetch.parent_span_id == request.span_id
    assert credential.end_time_unix_nano - credential.start_time_unix_nano == 40_000_000
    assert fetch.end_time_unix_nano - fetch.start_time_unix_nano == 50_000_000
    assert attributes(credential)["dragoman.about"] == "oca"


def test_a_renewed_credential_and_a_wait_in_the_queue_are_steps_of_a_request(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(chat_answer()))
    client = make_client(chat={"max_parallel": 1})
    told = listen(client)
    provider = client.app.runtime.services.providers["chat"]
    usual = provider.credential

    def renew(*asked: Any) -> Any:
        time.sleep(0.01)
        return usual(*asked)

    provider.credential = renew  # type: ignore[method-assign]
    queue = client.app.runtime.services.gateway.health.queues["chat"]
    held = queue.enter("somebody")
    threading.Timer(0.5, queue.leave, (held,)).start()

    client.chat()

    assert [(step.name, step.about) for step in told[0].steps] == [("credential", "chat"), ("queue", "chat")]
    assert all(step.ended > step.started >= 0 for step in told[0].steps)


def test_a_trace_without_a_parent_has_the_id_of_its_request_and_so_has_its_log(collector: FakeUpstream) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    traces, logs = open_traces(environ, find_transport), open_exported_logs(environ, find_transport)
    assert traces is not None
    assert logs is not None
    plain, child = record(1, id="0af7651916cd43dd8448eb211c80319c"), record(2, trace=PARENT)

    for each in (plain, child):
        traces.take([each])
        logs.take([each])
    traces.close()
    logs.close()

    requests = {span.span_id: span.trace_id.hex() for span in spans(collector) if span.kind == 2}
    told = exported(collector)
    assert list(requests.values()) == [plain.id, PARENT.split("-")[1]]
    assert {each.span_id: each.trace_id.hex() for each in told} == requests
    assert told[0].body.string_value.endswith(f"→ {plain.target}, 200")
    assert attributes(told[0])["dragoman.request_id"] == plain.id


def test_messages_of_the_gateway_are_exported_without_secrets_and_others_are_not(collector: FakeUpstream) -> None:
    known_secrets.configure(["sk-very-secret-0123456789"])
    logs = open_exported_logs({"OTEL_LOGS_EXPORTER": "otlp"}, find_transport)
    assert logs is not None

    logging.getLogger("dragoman").warning("the key %s is refused", "sk-very-secret-0123456789")
    logging.getLogger("elsewhere").warning("not ours")
    logs.close()
    logging.getLogger("dragoman").warning("too late")

    (told,) = exported(collector)
    assert (told.severity_text, told.severity_number) == ("WARNING", 13)
    assert told.body.string_value.startswith("the key ")
    assert "very-secret" not in str(told)


def test_logs_that_cannot_be_kept_are_counted(collector: FakeUpstream) -> None:
    logs = open_exported_logs({"OTEL_LOGS_EXPORTER": "otlp"}, find_transport)
    assert logs is not None

    for number in range(2010):
        logs.take([record(number)])
    lost = logs.lost
    logs._waiting.clear()
    logs.close()

    assert lost == 10


@pytest.mark.parametrize(
    "environ", [{}, {"OTEL_LOGS_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}]
)
def test_no_logs_are_exported_unless_asked_for(environ: dict[str, str]) -> None:
    assert open_exported_logs(environ, find_transport) is None


def test_strangers_leave_no_traces(collector: FakeUpstream) -> None:
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, find_transport)
    assert traces is not None

    traces.take([record(1, operation="")])
    traces.close()

    assert collector.seen == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
)
def test_nobody_is_traced_who_does_not_want_it(environ: dict[str, str]) -> None:
    assert open_traces(environ, find_transport) is None


def test_nothing_is_loaded_while_it_is_off() -> None:
    script = (
        "import sys; from app import create_app; from app.settings import ProviderSettings, Settings;"
        "app = create_app(Settings(providers={'demo': ProviderSettings(kind='demo')})); app.runtime.observers.start("
        "app.runtime.services.settings, {}, lambda: None, lambda: []); app.runtime.observers.finish();"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus_client'))])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)

    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("handed_on", [True, False])
def test_a_context_is_handed_on_to_providers_of_ones_own_alone(
    make_client: MakeClient, upstream: FakeUpstream, handed_on: bool
) -> None:
    client = make_client(chat={"trace_context": handed_on})
    upstream.script(json_reply(chat_answer()))
    body = {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}]}

    client.ask("/v1/chat/completions", body, traceparent=PARENT, tracestate="a=b")

    sent = upstream.seen[0].headers
    assert (sent.get("traceparent"), sent.get("tracestate")) == ((PARENT, "a=b") if handed_on else (None, None))
