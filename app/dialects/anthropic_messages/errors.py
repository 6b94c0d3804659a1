"""Parses upstream errors and renders client errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.dialects.error_kinds import judge_reported, read_failure, replace_login_words
from app.dialects.json_bodies import encode_body
from app.errors import Failure, FailureKind
from app.json_values import decode_or_none, object_decoder

# Status and type that a client of this dialect expects. Credentials refused by an upstream are the operator's problem:
# a 401 would make the client tell its user to log in again.
ERRORS: dict[FailureKind, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "unsupported": (400, "invalid_request_error"),
    "authentication": (401, "authentication_error"),
    "billing": (402, "billing_error"),
    "permission": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "conflict": (409, "conflict_error"),
    "too_large": (413, "request_too_large"),
    "unsupported_media": (415, "invalid_request_error"),
    "context_overflow": (400, "invalid_request_error"),
    "content_filter": (400, "invalid_request_error"),
    "rate_limit": (429, "rate_limit_error"),
    "quota": (402, "billing_error"),
    "overloaded": (529, "overloaded_error"),
    "unreachable": (502, "api_error"),
    "timeout": (504, "timeout_error"),
    "upstream_auth": (502, "api_error"),
    "internal": (500, "api_error"),
}

# Refused fields after which the SDKs retry without them: without `thread` they send the whole history.
RESENT_WITHOUT = {"thread": "thread_unsupported_request"}


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure in an upstream's reply of `status` (400 or more)."""
    failure = read_failure(status, headers, body)
    code = _error_code((decode_or_none(body, object_decoder) or {}).get("error"))
    return msgspec.structs.replace(failure, code=code) if code else failure


def parse_stream_error(error: Any, body: bytes) -> Failure:
    """The failure in the `error` of an error event, or of an error body that came with status 200; `body` is the whole
    text."""
    failure = judge_reported(error, body)
    code = _error_code(error)
    return msgspec.structs.replace(failure, code=code) if code else failure


def render_error(failure: Failure, request_id: str) -> bytes:
    """The error envelope. `request_id` is the one in the headers, or empty."""
    error: dict[str, Any] = {"type": ERRORS[_kind(failure)][1], "message": _write_message(failure)}
    if details := _write_details(failure):
        error["details"] = details
    envelope: dict[str, Any] = {"type": "error", "error": error}
    if request_id:
        envelope["request_id"] = request_id
    return encode_body(envelope)


def error_status(failure: Failure) -> int:
    """The HTTP status for a client; an internal failure keeps its own status above 500, which clients retry."""
    if failure.kind == "internal" and failure.status > 500:
        return failure.status
    return ERRORS[_kind(failure)][0]


def _kind(failure: Failure) -> FailureKind:
    """The kind that clients of this dialect know: to them, an upstream's quota that resets at a known time is a rate
    limit, and only one that somebody must fill is about money."""
    resets = failure.kind == "quota" and failure.origin == "upstream" and failure.retry_after is not None
    return "rate_limit" if resets else failure.kind


def _error_code(error: Any) -> str | None:
    match error:
        case {"details": {"error_code": str(code)}}:
            return code
        case _:
            return None


def _write_message(failure: Failure) -> str:
    """The message; for a context overflow, in the words by which Claude Code knows that it must compact."""
    if failure.kind != "context_overflow":
        return _avoid_login(failure, failure.message)
    asked, output, limit = failure.tokens or (None, None, None)
    if asked is not None and output is not None and limit is not None and asked <= limit:
        words = f"input length and `max_tokens` exceed context limit: {asked} + {output} > {limit}"
    elif asked is not None and limit is not None:
        words = f"prompt is too long: {asked} tokens > {limit} maximum"
    else:
        words = "prompt is too long"
    return failure.message if words in failure.message else f"{words} ({failure.message})"


def _write_details(failure: Failure) -> dict[str, Any] | None:
    if failure.kind == "unsupported" and failure.param in RESENT_WITHOUT:
        return {"error_code": RESENT_WITHOUT[failure.param], "unsupported": [failure.param]}
    return {"error_code": _avoid_login(failure, failure.code)} if failure.code else None


def _avoid_login(failure: Failure, text: str) -> str:
    """The text without words that make the client offer a login, unless the upstream refused the client's own key."""
    is_clients_own = failure.kind == "authentication" and failure.origin == "upstream"
    return text if is_clients_own else replace_login_words(text)
