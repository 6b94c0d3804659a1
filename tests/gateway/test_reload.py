"""A change of the configuration: what runs ends as it began, what comes next is new, what is broken changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import msgspec
import pytest

from app.errors import ConfigError
from app.logs import request_log
from app.settings import ModelsSettings, RouteSettings, ServerSettings, Settings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.fake_upstream import FakeUpstream, json_reply


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    yield
    request_log.close()
    logging.getLogger("dragoman").handlers.clear()
    logging.getLogger("dragoman").setLevel(logging.NOTSET)


def reload(client: Client, **changes: object) -> None:
    """Puts a configuration in force that differs from the one before in `changes`."""
    settings = msgspec.structs.replace(client.app.runtime.services.settings, **changes)
    client.app.runtime.reload(lambda: settings)


def route(name: str, target: str) -> ModelsSettings:
    return ModelsSettings(routes={name: RouteSettings(targets=(target,))})


def test_a_running_stream_ends_by_the_configuration_it_began_with(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(models={"routes": {"old": RouteSettings(targets=("chat/m",))}})
    upstream.script(chat_stream("one", tail=(0.3, chunk({"content": "two"}), chunk({}, "stop"), b"data: [DONE]\n\n")))
    body = {"model": "old", "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    response = client.http.post("/v1/messages", data=json.dumps(body), buffered=False)
    parts = iter(response.response)
    began = next(parts)

    reload(client, models=route("new", "chat/m"))

    whole = b"".join((began, *parts))
    assert b'"two"' in whole
    assert b"message_stop" in whole
    upstream.script(json_reply(chat_answer()))
    assert [client.message(name).status_code for name in ("new", "old")] == [200, 404]


def test_a_broken_configuration_changes_nothing_and_health_says_so(client: Client, upstream: FakeUpstream) -> None:
    def broken() -> Settings:
        raise ConfigError("there is no such setting", key="server.prot")

    client.app.runtime.reload(broken)

    upstream.script(json_reply(chat_answer()))
    assert client.message().status_code == 200
    health = client.http.get("/health").get_json()
    assert health["config"] == {"ok": False, "error": "server.prot: there is no such setting"}
    reload(client)
    assert client.http.get("/health").get_json()["config"] == {"ok": True, "error": None}


def test_a_new_client_key_is_asked_for_at_once(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))
    reload(client, server=ServerSettings(api_keys=("k",)))

    assert client.message().status_code == 401
    assert client.http.get("/v1/models", headers={"x-api-key": "k"}).status_code == 200


def test_another_log_level_is_in_force_at_once(client: Client) -> None:
    reload(client, server=ServerSettings(log_level="debug"))
    assert (logging.getLogger("dragoman").level, request_log.enabled) == (logging.DEBUG, True)

    reload(client, server=ServerSettings(log_level="error"))
    assert (logging.getLogger("dragoman").level, request_log.enabled) == (logging.ERROR, False)
