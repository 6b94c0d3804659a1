"""Operators are told once, when it begins and when it is over, and never more than they can read."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from app.errors import UpstreamUnreachable
from app.gateway.recording.alerts import MAX_PER_HOUR, MAX_TRIES, Alert, Alerts
from app.loops import Loop
from app.settings import AlertsSettings
from tests.gateway.conftest import MakeClient
from tests.support.clock import Clock
from tests.support.fake_upstream import FakeUpstream, Reply

DOWN = Alert("provider_down", "oca", "provider oca is failing (unreachable): no <b>connection</b>")


@pytest.fixture
def receiver() -> Iterator[FakeUpstream]:
    with FakeUpstream(Reply(framing="length")) as server:
        yield server


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


def test_a_webhook_gets_what_is_the_matter_and_that_it_is_over(
    receiver: FakeUpstream, session: requests.Session, clock: Clock
) -> None:
    alerts = Alerts(AlertsSettings(webhooks=(receiver.url,)), clock)

    for standing in ([DOWN], [DOWN], []):
        alerts.compare(standing)
        alerts.send(lambda: session)

    began, ended = (seen.json() for seen in receiver.seen)
    assert began == {
        "source": "dragoman",
        "kind": "provider_down",
        "subject": "oca",
        "message": DOWN.message,
        "solved": False,
        "time": "2025-10-09T08:53:20+00:00",
    }
    assert (ended["kind"], ended["subject"], ended["solved"]) == ("provider_down", "oca", True)
    assert (alerts.sent, alerts.lost) == (2, 0)


def test_slack_gets_plain_text(receiver: FakeUpstream, session: requests.Session) -> None:
    alerts = Alerts(AlertsSettings(slack=(receiver.url,)))

    alerts.queue(DOWN)
    alerts.send(lambda: session)

    (seen,) = receiver.seen
    assert seen.json() == {
        "text": ":warning: dragoman: provider oca is failing (unreachable): no &lt;b&gt;connection&lt;/b&gt;"
    }


def test_what_still_stands_is_told_again_after_the_interval(
    receiver: FakeUpstream, session: requests.Session, clock: Clock
) -> None:
    alerts = Alerts(AlertsSettings(webhooks=(receiver.url,), interval=60), clock)

    for seconds in (0, 59, 2, 58):
        clock.now += seconds
        alerts.compare([DOWN])
        alerts.send(lambda: session)

    assert alerts.sent == 2


def test_what_flutters_does_not_bury_the_rest(receiver: FakeUpstream, session: requests.Session, clock: Clock) -> None:
    alerts = Alerts(AlertsSettings(webhooks=(receiver.url,)), clock)

    for _ in range(2 * MAX_PER_HOUR):
        alerts.compare([DOWN])
        alerts.compare([])
        alerts.send(lambda: session)
    sent, lost = alerts.sent, alerts.lost
    clock.now += 3601
    alerts.queue(Alert("loop_dead", "sweeper", "the sweeper has not run for 60 s"))
    alerts.send(lambda: session)

    assert sent == MAX_PER_HOUR
    assert lost > 0
    assert alerts.sent == sent + 1


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_receiver_that_fails_is_asked_a_few_times(session: requests.Session, status: int) -> None:
    with FakeUpstream(Reply(status=status, framing="length")) as receiver:
        alerts = Alerts(AlertsSettings(webhooks=(receiver.url,)))
        alerts.queue(DOWN)

        for _ in range(MAX_TRIES + 3):
            alerts.send(lambda: session)

        assert len(receiver.seen) == MAX_TRIES
    assert (alerts.sent, alerts.lost) == (0, 1)


def test_a_receiver_that_is_gone_leaves_no_address_in_the_log(
    session: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    alerts = Alerts(AlertsSettings(webhooks=("http://127.0.0.1:9/T0/secret-part",)))
    alerts.queue(DOWN)

    for _ in range(MAX_TRIES):
        alerts.send(lambda: session)

    assert alerts.lost == 1
    assert "secret-part" not in caplog.text


def test_only_the_kinds_that_are_wanted_are_told(receiver: FakeUpstream, session: requests.Session) -> None:
    alerts = Alerts(AlertsSettings(webhooks=(receiver.url,), kinds=("loop_dead",)))

    alerts.queue(DOWN)
    alerts.queue(Alert("loop_dead", "sweeper", "it stands"))
    alerts.send(lambda: session)

    assert [seen.json()["kind"] for seen in receiver.seen] == ["loop_dead"]


def test_without_receivers_nothing_waits() -> None:
    alerts = Alerts(AlertsSettings())

    alerts.compare([DOWN])

    assert not alerts.enabled
    assert not alerts._waiting


def test_a_gateway_knows_its_troubles(make_client: MakeClient) -> None:
    client = make_client()
    runtime = client.app.runtime
    runtime.services.providers["chat"].health.fail(UpstreamUnreachable("gone"))
    runtime.services.ledger.problem = "the disk is full"
    runtime.problem = "models.default: nobody has it"
    stale = Loop("sweeper", lambda: None, 1.0)
    stale._last = time.monotonic() - 60
    runtime.loops.append(stale)

    kinds = {(alert.kind, alert.subject) for alert in runtime._find_troubles()}

    assert kinds == {
        ("provider_down", "chat"),
        ("ledger_down", "ledger"),
        ("config_refused", "config"),
        ("loop_dead", "sweeper"),
    }
