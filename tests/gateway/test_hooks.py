"""Hooks may refuse and change requests and see records; what they get wrong is counted, and harms only who wants it."""

from __future__ import annotations

import logging

import pytest

from app.errors import ConfigError, DragomanError, Forbidden
from app.gateway.messages import ClientRequest
from app.gateway.recording import hooks as module
from app.gateway.recording.hooks import MAX_WAITING, Hook, Hooks, load_hooks
from tests.accounts.records import record
from tests.gateway.conftest import Client, listen
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, json_reply


def use(client: Client, *hooks: Hook) -> Hooks:
    client.app.runtime.observers.hooks = made = Hooks(hooks)
    return made


def refuse(client_request: ClientRequest) -> None:
    raise Forbidden("not on a Sunday")


def break_down(client_request: ClientRequest) -> None:
    raise ZeroDivisionError("a fault of the hook")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"])
def test_a_hook_refuses_in_the_clients_dialect(client: Client, upstream: FakeUpstream, path: str) -> None:
    use(client, Hook("sunday", on_request=refuse))

    answer = client.ask(path, {"model": "chat/m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})

    assert answer.status_code == 403
    assert answer.json["error"]["message"] == "not on a Sunday"
    assert upstream.seen == []


def test_who_a_hook_refused_is_accounted_for(client: Client) -> None:
    use(client, Hook("sunday", on_request=refuse))
    records = listen(client)

    client.chat()

    assert [(each.operation, each.error) for each in records] == [("generate", "permission")]


def test_a_hook_changes_what_is_sent(client: Client, upstream: FakeUpstream) -> None:
    use(client, Hook("shout", on_request=lambda asked: asked.with_body(asked.body.replace(b'"hi"', b'"HI"'))))
    upstream.script(json_reply(chat_answer()))

    client.chat()

    assert upstream.seen[0].json()["messages"][0]["content"] == "HI"


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("fault", [break_down, lambda _asked: "something else"])
def test_a_hook_that_fails_is_counted_and_refuses_only_if_it_is_required(
    client: Client, upstream: FakeUpstream, required: bool, fault: object
) -> None:
    hooks = use(client, Hook("broken", on_request=fault, required=required))  # type: ignore[arg-type]
    upstream.script(json_reply(chat_answer()))

    statuses = [client.chat().status_code for _ in range(2)]

    assert statuses == ([500, 500] if required else [200, 200])
    assert hooks.failures == {"broken": 2}
    assert any("broken" in said for said in client.app.runtime.complaints())


def test_records_reach_every_hook_whatever_another_does() -> None:
    seen: list[str] = []
    hooks = Hooks(
        [Hook("broken", on_record=lambda each: 1 / 0), Hook("good", on_record=lambda each: seen.append(each.id))]
    )
    for number in range(3):
        hooks.take([record(number)])

    hooks.hand_out()

    assert len(seen) == 3
    assert hooks.failures == {"broken": 3, "good": 0}


def test_a_hook_that_never_ends_loses_its_time_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    gevent = pytest.importorskip("gevent")
    monkeypatch.setattr(module, "LIMIT", 0.05)
    hooks = Hooks([Hook("slow", on_record=lambda _each: gevent.sleep(60))])
    hooks.take([record(1)])

    hooks.hand_out()

    assert hooks.failures == {"slow": 1}


def test_what_hooks_cannot_keep_up_with_is_lost_and_counted() -> None:
    hooks = Hooks([Hook("slow", on_record=print)])

    for number in range(MAX_WAITING + 5):
        hooks.take([record(number)])

    assert hooks.lost == 5


class Entry:
    """An entry point."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name = name
        self._loaded = loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_a_hook_that_cannot_be_loaded_is_left_out_unless_it_is_required(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [Entry("bad", ImportError("no module")), Entry("empty", object()), Entry("good", type("G", (), {
        "on_record": lambda self, each: None}))]  # fmt: skip
    monkeypatch.setattr(module.metadata, "entry_points", lambda group: entries)

    with caplog.at_level(logging.ERROR, "dragoman"):
        assert load_hooks().names == ("good",)
    assert "cannot load the hook bad, so it does not run: ImportError: no module" in caplog.messages
    assert "Traceback" not in caplog.text
    for required in ("bad", "empty", "absent"):
        with pytest.raises(ConfigError) as refused:
            load_hooks(required=[required])
        assert refused.value.key == "hooks.required"
    assert load_hooks(off=["good"]).names == ()


def test_no_hooks_cost_nothing() -> None:
    hooks = Hooks()

    assert not hooks.look_at_requests
    assert not hooks.look_at_records
    assert issubclass(Forbidden, DragomanError)
