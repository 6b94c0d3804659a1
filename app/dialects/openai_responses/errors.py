"""Parses upstream errors and renders client errors."""

from __future__ import annotations

from typing import Any

import msgspec

from app.dialects.error_kinds import judge_reported, own_name, read_failure
from app.errors import Failure, FailureKind

# Status, type and code of each kind. A status or code from the upstream takes precedence.
_ERRORS: dict[FailureKind, tuple[int, str, str | None]] = {
    "invalid_request": (400, "invalid_request_error", None),
    "unsupported": (400, "invalid_request_error", "unsupported_parameter"),
    "authentication": (401, "invalid_request_error", "invalid_api_key"),
    "billing": (429, "insufficient_quota", "insufficient_quota"),
    "permission": (403, "permission_error", None),
    "not_found": (404, "invalid_request_error", None),
    "conflict": (409, "invalid_request_error", None),
    "too_large": (413, "invalid_request_error", None),
    "unsupported_media": (415, "invalid_request_error", None),
    "context_overflow": (400, "invalid_request_error", "context_length_exceeded"),
    "content_filter": (400, "invalid_request_error", "content_policy_violation"),
    "rate_limit": (429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    # Codex gives up at `server_is_overloaded`, the vendor's own code, but retries on an unknown one.
    "overloaded": (503, "server_error", "overloaded"),
    "unreachable": (502, "server_error", "upstream_unreachable"),
    "timeout": (504, "server_error", "timeout"),
    "upstream_auth": (502, "server_error", "upstream_authentication"),
    "internal": (500, "server_error", None),
}
# Kinds that clients recognise by their code, which must not be replaced.
_FIXED_CODES = ("context_overflow", "rate_limit", "overloaded", "quota", "billing", "upstream_auth")
# Kinds that clients recognise by a fixed status, whatever the upstream's was.
_FIXED_STATUSES = ("billing", "context_overflow", "upstream_auth", "overloaded", "timeout")


# Names of other dialects' fields in this dialect.
_OWN_NAMES = {
    "messages": "input",
    "contents": "input",
    "system": "instructions",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "output_config": "reasoning.effort",
    "thinking": "reasoning",
    "verbosity": "text.verbosity",
}


parse_error = read_failure


def render_error(failure: Failure, request_id: str) -> bytes:
    """The error body. The vendor sends the request id only in a header, but users quote the body."""
    error = error_object(failure)
    return msgspec.json.encode({"error": error} | ({"request_id": request_id} if request_id else {}))


def error_status(failure: Failure) -> int:
    """The HTTP status that clients of this dialect expect."""
    status = _ERRORS[failure.kind][0]
    if failure.kind in _FIXED_STATUSES:
        return status
    return failure.status if 400 <= failure.status < 600 else status


def error_object(failure: Failure) -> dict[str, Any]:
    """`message`, `type`, `param` and `code`: all four are always present.

    Codex sleeps through any `retry-after`. At its own backend's type of a limit that ends later it stops, and shows the
    time in `resets_at`.
    """
    _, kind, code = _ERRORS[failure.kind]
    if failure.code and failure.kind not in _FIXED_CODES:
        code = failure.code
    elif failure.kind == "not_found" and (failure.param == "model" or failure.origin == "upstream"):
        code = "model_not_found"
    param = own_name(failure.param, _OWN_NAMES) or ("input" if failure.kind == "context_overflow" else None)
    error: dict[str, Any] = {"message": failure.message, "type": kind, "param": param, "code": code}
    if failure.until is not None:
        error |= {"type": "usage_limit_reached", "resets_at": failure.until}
    return error


def response_error(failure: Failure) -> dict[str, Any]:
    """The `error` of a failed response, whose code is required.

    Codex waits as long as the message of a rate limit says, because a stream has no header for it.
    """
    error = error_object(failure)
    message = failure.message
    if failure.kind == "rate_limit" and (failure.retry_after or "").isdigit() and "try again in" not in message:
        message = f"{message} Please try again in {failure.retry_after}s."
    return {"code": error["code"] or "server_error", "message": message}


def told_error(error: Any) -> Any:
    """The error of a failed response with a code that clients act on: Codex compacts at the vendor's own only."""
    failure = judge_reported(error)
    if isinstance(error, dict) and isinstance(error.get("code"), str) and failure.kind != "context_overflow":
        return error
    told = response_error(failure)
    return error if isinstance(error, dict) and error.get("code") == told["code"] else told
