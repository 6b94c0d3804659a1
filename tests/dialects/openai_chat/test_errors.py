"""Specifies errors of Chat Completions: in which words clients are told."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest

from app.dialects.openai_chat import error_status, parse_error, render_error
from app.dialects.openai_chat.errors import ERRORS
from app.errors import STATUS, Failure, FailureKind


def error(failure: Failure) -> dict[str, str | None]:
    value: dict[str, str | None] = json.loads(render_error(failure, "req_1"))["error"]
    return value


@pytest.mark.parametrize("kind", STATUS)
def test_every_kind_of_failure_has_all_four_keys(kind: FailureKind) -> None:
    told = error(Failure(kind=kind, message="m"))

    assert set(told) == {"message", "type", "param", "code"}
    assert told["message"] == "m"
    assert told["type"] == ERRORS[kind][0]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("invalid_request", 400, None),
        ("authentication", 401, "invalid_api_key"),
        ("billing", 429, "insufficient_quota"),
        ("context_overflow", 400, "context_length_exceeded"),
        ("rate_limit", 429, "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota"),
        ("overloaded", 503, "overloaded"),
        ("timeout", 504, "timeout"),
        ("upstream_auth", 502, "upstream_auth"),
        ("unsupported", 400, "unsupported_parameter"),
    ],
)
def test_status_and_code_are_those_that_clients_know(kind: FailureKind, status: int, code: str | None) -> None:
    failure = Failure(kind=kind, message="m")

    assert (error_status(failure), error(failure)["code"]) == (status, code)


def test_statuses_that_clients_do_not_know_become_ones_that_they_do() -> None:
    assert error_status(Failure(kind="overloaded", message="m", status=529)) == 503
    assert [error_status(Failure(kind="timeout", message="m", status=status)) for status in (408, 524)] == [504, 504]


def test_an_upstreams_own_code_and_param_are_kept() -> None:
    failure = Failure(kind="invalid_request", message="m", code="invalid_value", param="tools[0]")

    told = error(failure)

    assert (told["code"], told["param"]) == ("invalid_value", "tools[0]")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure(kind="not_found", message="m", origin="upstream"), "model_not_found"),
        (Failure(kind="not_found", message="m", param="model"), "model_not_found"),
        (Failure(kind="not_found", message="m", code="unknown_url"), "unknown_url"),
    ],
)
def test_a_missing_model_is_told_from_a_missing_page(failure: Failure, code: str) -> None:
    assert error(failure)["code"] == code


def test_an_overflow_of_another_vendor_has_the_code_that_clients_look_for() -> None:
    body = b'{"error":{"type":"invalid_request_error","message":"prompt is too long: 215000 tokens > 200000 maximum"}}'

    told = error(parse_error(400, {}, body))

    assert (told["code"], told["param"]) == ("context_length_exceeded", "messages")
    assert "215000" in str(told["message"])


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(kind="rate_limit", message="m"), openai.RateLimitError),
        (Failure(kind="authentication", message="m"), openai.AuthenticationError),
        (Failure(kind="invalid_request", message="m"), openai.BadRequestError),
        (Failure(kind="overloaded", message="m", status=529), openai.InternalServerError),
    ],
)
def test_the_vendors_client_raises_its_own_errors(failure: Failure, expected: type[openai.APIStatusError]) -> None:
    client = openai.OpenAI(api_key="k", base_url="http://g.test", http_client=_answering(failure), max_retries=0)

    with client, pytest.raises(expected) as raised:
        client.chat.completions.create(model="m", messages=[])

    assert raised.value.type == ERRORS[failure.kind][0]


def _answering(failure: Failure) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        body = render_error(failure, "r")
        return httpx2.Response(error_status(failure), content=body, headers={"content-type": "application/json"})

    return httpx2.Client(transport=httpx2.MockTransport(answer))
