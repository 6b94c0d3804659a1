"""Specifies the errors of the Responses dialect."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from app.dialects.error_kinds import judge_reported
from app.dialects.openai_responses import error_status, parse_error, render_error
from app.dialects.openai_responses.errors import response_error
from app.errors import Failure, FailureKind


def rendered(failure: Failure) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render_error(failure, "req_1"))
    return body


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_every_kind_is_an_error_with_all_its_fields(kind: FailureKind) -> None:
    failure = Failure(kind=kind, message="m")

    error = rendered(failure)["error"]

    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["type"], str)
    assert 400 <= error_status(failure) < 600
    assert response_error(failure)["code"]


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Failure(kind="context_overflow", message="m", status=413, code="other"), 400, "context_length_exceeded"),
        (Failure(kind="rate_limit", message="m"), 429, "rate_limit_exceeded"),
        (Failure(kind="quota", message="m"), 429, "insufficient_quota"),
        (Failure(kind="billing", message="m", status=402), 429, "insufficient_quota"),
        (Failure(kind="overloaded", message="m", status=529, code="server_is_overloaded"), 503, "overloaded"),
        (Failure(kind="upstream_auth", message="m", status=401), 502, "upstream_authentication"),
        (Failure(kind="not_found", message="m", code="model_not_found"), 404, "model_not_found"),
        (Failure(kind="not_found", message="m", status=404, origin="upstream"), 404, "model_not_found"),
        (Failure(kind="timeout", message="m", status=408), 504, "timeout"),
        (Failure(kind="unsupported", message="m", param="logprobs"), 400, "unsupported_parameter"),
        (Failure(kind="internal", message="m", status=502), 502, None),
    ],
)
def test_kinds_have_the_status_and_code_that_clients_know(failure: Failure, status: int, code: str | None) -> None:
    error = rendered(failure)["error"]

    assert (error_status(failure), error["code"]) == (status, code)
    assert error["message"] == "m"


def test_a_limit_that_ends_much_later_is_one_at_which_codex_stops() -> None:
    error = rendered(Failure(kind="rate_limit", message="m", until=1_800_000_000))["error"]

    assert (error["type"], error["resets_at"]) == ("usage_limit_reached", 1_800_000_000)


def test_an_overflow_names_the_input() -> None:
    assert rendered(Failure(kind="context_overflow", message="m"))["error"]["param"] == "input"


def test_an_error_reply_is_read() -> None:
    body = (
        b'{"error":{"message":"no such model","type":"invalid_request_error","param":"model","code":"model_not_found"}}'
    )

    failure = parse_error(404, {"Retry-After": "3"}, body)

    assert (failure.kind, failure.message, failure.status) == ("not_found", "no such model", 404)
    assert (failure.code, failure.param, failure.retry_after) == ("model_not_found", "model", "3")


def test_the_detail_of_the_chatgpt_backend_is_read() -> None:
    failure = parse_error(400, {}, b'{"detail":"Unsupported parameter: max_output_tokens"}')

    assert (failure.kind, failure.message) == ("invalid_request", "Unsupported parameter: max_output_tokens")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "context_length_exceeded", "message": "m"}, "context_overflow"),
        ({"code": "rate_limit_exceeded", "message": "m"}, "rate_limit"),
        ({"code": "server_is_overloaded", "message": "m"}, "overloaded"),
        ({"code": "insufficient_quota", "message": "m"}, "quota"),
        ({"code": "invalid_prompt", "message": "m"}, "invalid_request"),
        ({"code": "server_error", "message": "m"}, "internal"),
        ("only words", "internal"),
        ({}, "internal"),
    ],
)
def test_errors_inside_streams_have_kinds(error: Any, kind: str) -> None:
    failure = judge_reported(error)

    assert failure.kind == kind
    assert failure.message


def test_a_rate_limit_that_says_when_is_left_alone() -> None:
    failure = Failure(kind="rate_limit", message="Please try again in 1.5s.", retry_after="2")

    assert response_error(failure)["message"] == "Please try again in 1.5s."
