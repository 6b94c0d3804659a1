"""Traces are made of records, with the standard variables, and nothing of them is loaded without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.accounts.record import AttemptRecord
from app.gateway.recording.traces import open_traces
from tests.accounts.records import record
from tests.docs.blocks import ROOT
from tests.gateway.conftest import MakeClient, chat_answer
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


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
        assert seen.path == "/v1/traces"
        packed = seen.headers.get("content-encoding") == "gzip"
        told = ExportTraceServiceRequest.FromString(gzip.decompress(seen.body) if packed else seen.body)
        found += [span for resource in told.resource_spans for scope in resource.scope_spans for span in scope.spans]
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value"))
        for each in span.attributes
        if each.value.WhichOneof("value") != "array_value"
    }


def test_a_request_is_a_span_with_a_child_for_each_attempt(collector: FakeUpstream) -> None:
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    tried = (
        AttemptRecord("oca/gpt-4.1", 503, "overloaded", "busy", started=2, ended=100, waited=250),
        AttemptRecord("oca/gpt-4.1", 200, started=350, ended=900),
    )

    traces.take(record(1, attempts=tried, trace=PARENT))
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
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None

    traces.take(record(1, trace=header))
    traces.close()

    roots = [span for span in spans(collector) if not span.parent_span_id]
    assert [span.name for span in roots] == ["chat claude-sonnet-4-6"]


def test_strangers_leave_no_traces(collector: FakeUpstream) -> None:
    traces = open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None

    traces.take(record(1, operation=""))
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
    assert open_traces(environ) is None


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
