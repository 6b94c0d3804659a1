"""Parses upstream errors and renders client errors."""

from __future__ import annotations

from app.dialects.error_kinds import own_name, read_failure
from app.dialects.json_bodies import encode_body
from app.errors import Failure, FailureKind

# Type and code of each kind, as documented by OpenAI; a code of None keeps the upstream's own.
ERRORS: dict[FailureKind, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "unsupported": ("invalid_request_error", "unsupported_parameter"),
    "authentication": ("invalid_request_error", "invalid_api_key"),
    "billing": ("insufficient_quota", "insufficient_quota"),
    "permission": ("permission_error", None),
    "not_found": ("invalid_request_error", None),
    "conflict": ("invalid_request_error", "conflict"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "unsupported_media": ("invalid_request_error", "unsupported_media_type"),
    "context_overflow": ("invalid_request_error", "context_length_exceeded"),
    "content_filter": ("invalid_request_error", "content_filter"),
    "rate_limit": ("rate_limit_error", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "overloaded": ("server_error", "overloaded"),
    "unreachable": ("server_error", "upstream_unreachable"),
    "timeout": ("server_error", "timeout"),
    "upstream_auth": ("server_error", "upstream_auth"),
    "internal": ("server_error", None),
}

# Statuses that OpenAI's clients do not know, and their replacements.
_STATUSES = {402: 429, 408: 504, 524: 504, 529: 503}


# Names of other dialects' fields in this dialect.
_OWN_NAMES = {
    "input": "messages",
    "contents": "messages",
    "instructions": "messages",
    "system": "messages",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
    "text": "response_format",
    "output_format": "response_format",
    "reasoning": "reasoning_effort",
    "output_config": "reasoning_effort",
    "thinking": "reasoning_effort",
}


parse_error = read_failure


def render_error(failure: Failure, request_id: str) -> bytes:
    """The body of an error reply, with the field name that clients of this dialect know."""
    # Errors in the client's own request already use the client's field names, even for legacy completions.
    param = failure.param if failure.origin == "client" else own_name(failure.param, _OWN_NAMES)
    return write_error(failure, param, "messages", request_id)


def write_error(failure: Failure, param: str | None, whole: str, request_id: str) -> bytes:
    """An error about `param`, or, if the input is too long, about `whole`, the field that holds all of it. The vendor
    sends the request id only in a header, but users quote the body."""
    kind, code = ERRORS[failure.kind]
    if failure.kind == "not_found" and (failure.param == "model" or failure.origin == "upstream"):
        code = "model_not_found"
    if failure.kind == "context_overflow" and param is None:
        param = whole
    error = {"message": failure.message, "type": kind, "param": param, "code": code or failure.code}
    return encode_body({"error": error} | ({"request_id": request_id} if request_id else {}))


def error_status(failure: Failure) -> int:
    """The HTTP status for clients of this dialect."""
    return _STATUSES.get(failure.http_status, failure.http_status)


def error_event(failure: Failure) -> bytes:
    """The SSE event for a failure inside a stream; the vendor's SDKs raise an APIError for it."""
    return b"data: %b\n\n" % render_error(failure, "")
