"""What the log tells of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.settings import RouteSettings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import CUT, FakeUpstream, Reply, json_reply


def test_every_answer_carries_an_id_and_its_log_line_names_it(
    client: Client, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(json_reply(chat_answer("a secret word")))

    response = client.message()

    (line,) = log_lines()
    assert response.headers["x-request-id"] == response.headers["request-id"] == line["id"]
    assert (line["in"], line["out"]) == ("anthropic_messages", "openai_chat")
    assert (line["upstream"], line["status"], line["terminal"], line["attempts"]) == ("chat/m", 200, "completed", 1)
    assert (line["tokens_in"], line["tokens_out"]) == (11, 7)
    assert "secret word" not in str(line)


def test_the_log_tells_a_broken_stream_from_a_good_one(
    client: Client, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(chat_stream("one"), chat_stream("one", tail=(0.05, CUT)))

    for _ in range(2):
        assert client.message(stream=True).text

    assert [line["terminal"] for line in log_lines()] == ["completed", "upstream_cut"]


def test_the_log_tells_what_the_upstream_refused_and_nothing_where_it_was_good_in_the_end(
    client: Client, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(json_reply({"error": {"message": "no"}}, 400), json_reply({}, 503), json_reply(chat_answer()))

    client.message(), client.message()

    refused, saved = log_lines()
    assert (refused["upstream_status"], refused["origin"]) == (400, "upstream")
    assert (saved["status"], saved["attempts"], saved.get("upstream_status")) == (200, 2, None)


def test_at_the_debug_level_the_log_tells_of_each_attempt_but_no_secret(
    client: Client, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script(json_reply({"error": {"message": "sk-upstream is busy"}}, 503), json_reply(chat_answer("a secret")))

    with caplog.at_level("DEBUG", "dragoman"):
        client.ask(
            "/v1/messages",
            {"model": "chat/m", "max_tokens": 5, "messages": [{"role": "user", "content": "a prompt"}]},
            x_api_key="sk-client",
        )

    assert caplog.text.count("goes to chat/m as openai_chat") == 2
    assert "answers HTTP 503" in caplog.text
    for secret in ("sk-upstream", "sk-client", "a prompt", "a secret"):
        assert secret not in caplog.text


def test_a_credential_never_reaches_the_log(client: Client, log_lines: Callable[[], list[Any]]) -> None:
    client.message("sk-this-is-a-key-in-the-wrong-field")

    assert log_lines()[0]["model"] == "[masked]"


def test_the_log_says_who_asked_what_and_why_it_went_there(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    client = make_client(server={"api_keys": ("k-one", "k-two")})
    upstream.script(json_reply(chat_answer("hello")))

    client.ask(
        "/chat/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        authorization="Bearer k-two",
        user_agent="OpenAI/Python 2.0",
    )

    (line,) = log_lines()
    assert (line["method"], line["path"]) == ("POST", "/chat/v1/chat/completions")
    assert (line["key"], line["agent"], line["peer"]) == ("api_keys[1]", "OpenAI-Python/2.0", "127.0.0.1")
    assert (line["matched"], line["level"]) == ("the path", "INFO")
    assert "k-two" not in str(line)


FAILURES = {
    "the client's": (json_reply({"error": {"message": "bad temperature"}}, 400), "INFO", "bad temperature"),
    "an upstream's": (json_reply({"error": {"message": "the server caught fire"}}, 500), "WARNING", "caught fire"),
    "of the credential": (json_reply({"error": {"message": "wrong key"}}, 401), "WARNING", "wrong key"),
    "with a secret": (json_reply({"error": {"message": "no Bearer abcdefghijkl"}}, 400), "INFO", "[masked]"),
}


@pytest.mark.parametrize(("reply", "level", "said"), FAILURES.values(), ids=FAILURES)
def test_the_log_has_the_sentence_of_an_error(
    make_client: MakeClient,
    upstream: FakeUpstream,
    log_lines: Callable[[], list[Any]],
    reply: Reply,
    level: str,
    said: str,
) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(reply)

    client.chat()

    (line,) = log_lines()
    assert line["level"] == level
    assert said in line["message"]
    assert len(line["message"]) <= 300


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/tags", 404), ("POST", "/v1/nothing", 404), ("GET", "/v1/messages", 405)],
)
def test_a_wrong_path_leaves_a_line(
    client: Client, log_lines: Callable[[], list[Any]], method: str, path: str, status: int
) -> None:
    client.http.open(path, method=method)

    (line,) = log_lines()
    assert (line["method"], line["path"], line["status"]) == (method, path, status)


def test_a_limit_that_is_lowered_is_not_called_dropped(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    route = RouteSettings(targets=("chat/m",), max_output=16384)
    client = make_client(models={"routes": {"t": route}})
    upstream.script(json_reply(chat_answer("hello")))

    answer = client.message("t", max_tokens=64000)

    assert answer.headers["x-dragoman-lowered"] == "max_tokens 64000->16384"
    assert "x-dragoman-dropped" not in answer.headers
    (line,) = log_lines()
    assert line["lowered"] == ["max_tokens 64000->16384"]
    assert "dropped" not in line


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_error_tells_the_id_that_the_log_has(client: Client, log_lines: Callable[[], list[Any]], path: str) -> None:
    answer = client.ask(path, {"model": "nobody/m", "input": "x", "messages": []})

    (line,) = log_lines()
    assert answer.get_json()["request_id"] == line["id"] == answer.headers["x-request-id"]
