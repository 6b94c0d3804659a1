from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest

from app.dialects.anthropic_messages import error_status, parse_error, render_error
from app.dialects.anthropic_messages.errors import ERRORS
from app.errors import Failure, FailureKind, InvalidRequest, Unsupported, UpstreamMalformed, UpstreamTimeout
from tests.dialects.anthropic_messages.sdk import read_message


def envelope(kind: str, message: str, **error: Any) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **error}}).encode()


@pytest.mark.parametrize(
    ("status", "type_", "kind"),
    [
        (400, "invalid_request_error", "invalid_request"),
        (401, "authentication_error", "upstream_auth"),
        (402, "billing_error", "billing"),
        (403, "permission_error", "permission"),
        (404, "not_found_error", "not_found"),
        (409, "conflict_error", "conflict"),
        (413, "request_too_large", "too_large"),
        (429, "rate_limit_error", "rate_limit"),
        (500, "api_error", "internal"),
        (504, "timeout_error", "timeout"),
        (529, "overloaded_error", "overloaded"),
    ],
)
def test_errors_of_the_vendor_are_read(status: int, type_: str, kind: FailureKind) -> None:
    failure = parse_error(status, {"retry-after": "7"}, envelope(type_, "odd trouble"))

    assert (failure.kind, failure.message, failure.retry_after) == (kind, "odd trouble", "7")
    assert failure.origin == "upstream"


def test_the_vendors_error_code_is_kept() -> None:
    failure = parse_error(404, {}, envelope("not_found_error", "gone", details={"error_code": "thread_not_found"}))

    assert failure.code == "thread_not_found"
    assert json.loads(render_error(failure, ""))["error"]["details"] == {"error_code": "thread_not_found"}


def test_an_overflow_is_recognised_with_its_numbers() -> None:
    failure = parse_error(
        400, {}, envelope("invalid_request_error", "prompt is too long: 215000 tokens > 200000 maximum")
    )

    assert failure.kind == "context_overflow"
    assert failure.tokens == (215000, None, 200000)


@pytest.mark.parametrize(
    "body", [b"", b"<html><title>Bad</title></html>", b'{"detail":"no"}', b'["x"]', b"[" * 100_000]
)
def test_any_body_becomes_a_failure(body: bytes) -> None:
    failure = parse_error(500, {}, body)

    assert failure.kind == "internal"
    assert failure.message


@pytest.mark.parametrize("kind", list(ERRORS))
def test_every_kind_has_an_envelope_that_the_sdk_raises(kind: FailureKind) -> None:
    failure = Failure(kind=kind, message="odd trouble")

    with pytest.raises(anthropic.APIStatusError) as caught:
        read_message(render_error(failure, "req_1"), error_status(failure))

    assert "odd trouble" in str(caught.value)


def test_the_envelope_names_the_request() -> None:
    assert json.loads(render_error(Failure(kind="internal", message="m"), "req_1")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "m"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(kind="overloaded", message="", status=503), 529),
        (Failure(kind="invalid_request", message="", status=422), 400),
        (Failure(kind="upstream_auth", message="", status=401), 502),
        (Failure(kind="authentication", message=""), 401),
        (Failure(kind="internal", message="", status=502), 502),
        (Failure(kind="internal", message="", status=400), 500),
        (UpstreamMalformed("x").failure, 502),
        (UpstreamTimeout("idle", 5).failure, 504),
        (InvalidRequest("x").failure, 400),
    ],
)
def test_the_status_is_one_that_clients_know(failure: Failure, status: int) -> None:
    assert error_status(failure) == status


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (
            (230462, 32000, 262144),
            "input length and `max_tokens` exceed context limit: 230462 + 32000 > 262144 (too much)",
        ),
        ((9000, None, 8192), "prompt is too long: 9000 tokens > 8192 maximum (too much)"),
        ((9000, 100, 8192), "prompt is too long: 9000 tokens > 8192 maximum (too much)"),
        ((None, None, 8192), "prompt is too long (too much)"),
        (None, "prompt is too long (too much)"),
    ],
)
def test_an_overflow_is_told_in_the_words_that_make_clients_compact(tokens: Any, words: str) -> None:
    failure = Failure(kind="context_overflow", message="too much", tokens=tokens)

    assert json.loads(render_error(failure, ""))["error"] == {"type": "invalid_request_error", "message": words}


def test_an_overflow_in_the_vendors_words_is_not_told_twice() -> None:
    message = "prompt is too long: 215000 tokens > 200000 maximum"

    rendered = render_error(parse_error(400, {}, envelope("invalid_request_error", message)), "")

    assert json.loads(rendered)["error"]["message"] == message


def test_a_refused_thread_makes_the_sdks_send_the_whole_history() -> None:
    failure = Unsupported("thread: no", param="thread").failure

    assert json.loads(render_error(failure, ""))["error"]["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
