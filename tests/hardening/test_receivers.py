"""What runs beside the requests for an operator, hooks and receivers of alerts and metrics, holds up nothing and ends
nothing, whatever it does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import requests
import trustme

from app.dialects.registry import DIALECTS
from app.gateway.messages import ClientRequest
from app.gateway.recording import hooks as hooks_module
from app.gateway.recording import receivers as receivers_module
from app.gateway.recording.alerts import Alert, Alerts
from app.gateway.recording.hooks import Hook, HookFailed, Hooks, load_hooks
from app.gateway.recording.telemetry.collector_session import MAX_ANSWER, ExportSession
from app.gateway.recording.telemetry.push import Push
from app.settings import AlertsSettings, PushSettings
from app.transport import Transport, TransportSettings
from tests.accounts.records import record
from tests.support.fake_upstream import CLOSE, FakeUpstream, Reply, json_reply, raw

LIMIT = 0.3
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
DRIP: tuple[Any, ...] = tuple(piece for number in range(60) for piece in (b"x-%d: y\r\n" % number, 0.1))
GIGABYTE = HEAD + b"content-length: 1000000000\r\n\r\n" + bytes(1 << 20)


class Odd(BaseException):
    """What no `except Exception` catches."""


def leave(_asked: object) -> None:
    raise SystemExit(3)


def be_odd(_asked: object) -> None:
    raise Odd


def hang(_asked: object) -> None:
    gevent.sleep(60)


@pytest.fixture
def canary() -> Iterator[FakeUpstream]:
    """What must never be asked."""
    with FakeUpstream() as fake:
        yield fake


def answers(canary: FakeUpstream) -> dict[str, Reply]:
    elsewhere = {"location": f"{canary.url}/latest/meta-data"}
    return {
        "a head that drips": raw(HEAD, *DRIP, CLOSE),
        "a body of a gigabyte": raw(GIGABYTE, 5.0),
        "a body that drips": raw(HEAD + b"content-length: 99\r\n\r\n", *(b"x", 0.1) * 40),
        **{f"a redirect ({status})": json_reply({}, status, elsewhere) for status in (301, 302, 303, 307, 308)},
    }  # fmt: skip


def send_alert(url: str, transport: Transport) -> None:
    alerts = Alerts(AlertsSettings(webhooks=(url,)))
    alerts.queue(Alert("provider_down", "up", "it is down"))
    alerts.send(lambda: transport.session)


def push_metrics(url: str, transport: Transport) -> None:
    Push(PushSettings(url=url)).round(lambda: None, "1.0", lambda: transport.session)  # type: ignore[arg-type,return-value]


def export_spans(url: str, transport: Transport) -> None:
    session = ExportSession(lambda: transport)
    with contextlib.suppress(requests.RequestException):
        assert len(session.post(f"{url}/v1/traces", data=b"spans", timeout=LIMIT).content) <= MAX_ANSWER


@pytest.mark.parametrize("tell", [send_alert, push_metrics, export_spans])
def test_a_receiver_gets_its_time_and_no_more_whatever_it_answers(
    tell: Callable[[str, Transport], None], canary: FakeUpstream, monkeypatch: pytest.MonkeyPatch,
    figure: Callable[..., None],
) -> None:  # fmt: skip
    monkeypatch.setattr(receivers_module, "TIMEOUT", LIMIT)
    monkeypatch.setattr("app.gateway.recording.exposition.write_metrics", lambda *_told: "")
    longest = (0.0, "")
    for name, answer in answers(canary).items():
        with FakeUpstream(answer) as receiver, closing(Transport(TransportSettings())) as transport:
            began = time.monotonic()
            tell(receiver.url, transport)
            longest = max(longest, (time.monotonic() - began, name))
            assert receiver.accepted == 1, name

    figure("longest hold by a receiver of alerts, metrics or traces", f"{longest[0]:.1f} s", f"{LIMIT} s and a little")
    assert longest[0] < LIMIT + 1.0, longest
    assert canary.accepted == 0


def test_traces_go_by_the_proxy_and_the_certificates_of_the_configuration(
    canary: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by no others: the environment may have changed since the start."""
    monkeypatch.setenv("HTTP_PROXY", canary.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    with FakeUpstream(json_reply({})) as proxy:
        settings = TransportSettings(proxies={"http": proxy.url})
        with closing(Transport(settings)) as transport:
            ExportSession(lambda: transport).post("http://collector.test:4318/v1/traces", data=b"spans")
        assert [seen.path for seen in proxy.seen] == ["http://collector.test:4318/v1/traces"]
        assert "cookie" not in proxy.seen[0].headers
    assert canary.accepted == 0


def test_a_collectors_own_certificate_is_the_one_that_counts(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "odd.pem"))
    odd = TransportSettings(ca_bundle=str(tmp_path / "odd.pem"))
    with FakeUpstream(json_reply({}), tls=True) as collector, closing(Transport(odd)) as transport:
        session = ExportSession(lambda: transport)
        with pytest.raises(requests.ConnectionError):
            session.post(f"{collector.url}/v1/traces", data=b"spans")
        session.verify = collector.write_ca(str(tmp_path / "own.pem"))
        assert session.post(f"{collector.url}/v1/traces", data=b"spans").status_code == 200


@pytest.mark.parametrize("fault", [leave, be_odd, hang])
def test_a_hook_harms_no_request_but_where_it_is_required(
    fault: Callable[[object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "LIMIT", 0.05)
    asked = ClientRequest(DIALECTS["openai_chat"], b"{}", {})
    hooks = Hooks([Hook("odd", on_request=fault)])
    required = Hooks([Hook("odd", on_request=fault, required=True)])

    assert hooks.admit(asked) is asked
    assert hooks.failures == {"odd": 1}
    with pytest.raises(HookFailed):
        required.admit(asked)


@pytest.mark.parametrize("fault", [leave, be_odd, hang])
def test_a_hook_keeps_no_record_from_another(fault: Callable[[object], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "LIMIT", 0.05)
    seen: list[object] = []
    hooks = Hooks([Hook("odd", on_record=fault), Hook("well", on_record=seen.append)])
    for _ in range(2):
        hooks.take([record()])

    hooks.hand_out()

    assert (len(seen), hooks.failures) == (2, {"odd": 2, "well": 0})


def test_a_client_that_leaves_while_a_hook_waits_ends_its_request() -> None:
    def be_left(_asked: object) -> None:
        raise gevent.GreenletExit

    hooks = Hooks([Hook("waits", on_request=be_left)])

    with pytest.raises(gevent.GreenletExit):
        hooks.admit(SimpleNamespace())  # type: ignore[arg-type]


def test_a_package_that_ends_the_program_when_it_is_loaded_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name="quits", load=lambda: leave(None))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_group: [entry])

    assert load_hooks().names == ()
