"""Specifies how the error bodies of upstreams are read, in whichever shape they come."""

from __future__ import annotations

import pytest

from app.dialects.error_bodies import read_error_body, read_error_value
from app.dialects.error_kinds import read_failure
from app.dialects.overflow import find_overflow

SHAPES = {
    "object": b'{"error":{"message":"odd trouble","type":"invalid_request_error","param":"x","code":"c"}}',
    "anthropic": b'{"type":"error","error":{"type":"invalid_request_error","message":"odd trouble"}}',
    "string": b'{"error":"odd trouble"}',
    "array": b'[{"error":{"code":400,"message":"odd trouble","status":"INVALID_ARGUMENT"}}]',
    "detail": b'{"detail":"odd trouble"}',
    "details": b'{"detail":[{"loc":["body","x"],"msg":"odd trouble","type":"value_error"}]}',
    "detail object": b'{"detail":{"code":"bad","message":"odd trouble"}}',
    "old vllm": b'{"object":"error","message":"odd trouble","type":"BadRequestError","param":null,"code":400}',
    "oci": b'{"code":"InvalidParameter","message":"odd trouble"}',
    "oauth": b'{"error":"invalid_grant","error_description":"odd trouble"}',
    "errors": b'{"errors":[{"message":"odd trouble"}]}',
    "wrapped provider": b'{"error":{"message":"Provider returned error","metadata":{"raw":"odd trouble"}}}',
    "message object": b'{"error":{"message":{"text":"odd trouble"}}}',
    "html": b"<html>\r\n<head><title>400\r\n odd trouble</title></head><body>nginx</body></html>",
    "plain text": b"odd trouble",
    "json string": b'"odd trouble"',
}

OVERFLOWS = {
    "prompt token count of 169011 exceeds the limit of 128000": (169011, None, 128000),
    "prompt is too long: 215000 tokens > 200000 maximum": (215000, None, 200000),
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000": (190000, 20000, 200000),
    "Your input exceeds the context window of this model.": (None, None, None),
    "the request exceeds the available context size. try increasing it": (None, None, None),
    "request (9,000 tokens) exceeds the available context size (4,096 tokens)": (9000, None, 4096),
    "The input token count (120) exceeds the maximum number of tokens allowed (100).": (120, None, 100),
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.": (
        9000,
        None,
        8192,
    ),
    "This model's maximum context length is 100 tokens. However, you requested 120 tokens (80 in the messages, "
    "40 in the completion).": (80, 40, 100),
    "Requested token count exceeds the model's maximum context length of 100 tokens. You requested a total of 120 "
    "tokens: 80 tokens from the input messages and 40 tokens for the completion.": (80, 40, 100),
    "This model's maximum context length is 100 tokens. However, you requested 40 output tokens and your prompt "
    "contains at least 80 input tokens, for a total of at least 120 tokens.": (80, 40, 100),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_message_is_found_in_every_shape(shape: str) -> None:
    error = read_error_body(400, {}, SHAPES[shape])

    assert "odd trouble" in error.message
    assert "<body" not in error.message


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"[]", b'{"error":{}}', b'{"error":null}', b"3"])
def test_an_empty_body_still_gives_a_message(body: bytes) -> None:
    error = read_error_body(418, {}, body)

    assert "418" in error.message or "null" in error.message


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 5000, b'{"error":{"message":"\\ud83d"}}', b'{"error":'])
def test_damaged_bodies_are_read_as_text(body: bytes) -> None:
    error = read_error_body(500, {}, body)

    assert error.message


def test_type_code_and_param_are_kept() -> None:
    error = read_error_body(400, {}, SHAPES["object"])

    assert error[:4] == ("odd trouble", "invalid_request_error", "c", "x")


def test_the_place_of_a_validation_error_is_the_param() -> None:
    error = read_error_body(422, {}, SHAPES["details"])

    assert error.param == "x"
    assert error.message == "x: odd trouble"


def test_the_request_id_of_oracle_is_shown() -> None:
    error = read_error_body(401, {"Opc-Request-Id": "abc"}, b'{"code":"NotAuthenticated","message":"no"}')

    assert error.message == "no (opc-request-id: abc)"


def test_a_very_long_message_is_cut() -> None:
    error = read_error_body(500, {}, b"x" * 1_000_000)

    assert len(error.message) == 4000


@pytest.mark.parametrize("message", OVERFLOWS)
def test_an_overflow_is_recognised_with_its_numbers(message: str) -> None:
    tokens = find_overflow(message)

    assert tokens == OVERFLOWS[message]


@pytest.mark.parametrize(
    "message", ["max_tokens is too large: this model supports at most 16384 completion tokens", "no such model", ""]
)
def test_other_messages_are_no_overflow(message: str) -> None:
    assert find_overflow(message) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (400, b'{"error":{"message":"m","code":"context_length_exceeded"}}', "context_overflow", 400),
        (500, b'{"error":{"message":"maximum context length is 10 tokens"}}', "context_overflow", 400),
        (429, b'{"error":{"message":"too many tokens","code":"429"}}', "rate_limit", 429),
        (429, b'{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}', "quota", 429),
        (400, b'{"error":{"message":"m","code":"content_filter"}}', "content_filter", 400),
        (401, b'{"error":{"message":"m","type":"invalid_request_error"}}', "upstream_auth", 502),
        (401, b'{"error":{"message":"m","type":"auth_error","code":"401"}}', "upstream_auth", 502),
        (402, b"", "billing", 402),
        (403, b"", "permission", 403),
        (404, b'{"error":{"message":"m","type":"invalid_request_error"}}', "not_found", 404),
        (422, b'{"detail":"m"}', "invalid_request", 422),
        (503, b'{"error":{"message":"m","type":"server_error"}}', "overloaded", 503),
        (529, b"", "overloaded", 529),
        (502, b"<html></html>", "internal", 502),
    ],
)
def test_status_and_code_tell_the_kind(status: int, body: bytes, kind: str, shown: int) -> None:
    failure = read_failure(status, {}, body)

    assert (failure.kind, failure.http_status) == (kind, shown)
    assert failure.origin == "upstream"


def test_retry_after_is_kept_and_never_invented() -> None:
    told = read_failure(429, {"Retry-After": "287441"}, b"")
    silent = read_failure(429, {}, b"")

    assert told.retry_after == "287441"
    assert silent.retry_after is None


def test_an_error_value_may_be_of_any_type() -> None:
    said = [read_error_value(value).message for value in ({"message": "m"}, "m", ["m"], {"code": 5}, 7, True, [])]

    assert said[:3] == ["m", "m", "m"]
    assert all(said)
