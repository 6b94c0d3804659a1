"""The reading of error bodies: whatever an upstream of any dialect says went wrong.

Servers that speak a dialect well still answer errors in a shape of their own: the object of OpenAI or Anthropic, a bare
string, a list (Gemini), `detail` (FastAPI), a front door's `code` and `message` (OCI), a page of HTML (nginx), nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from app.errors import Failure, FailureKind

Tokens = tuple[int | None, int | None, int | None]

MESSAGE_LIMIT = 4000  # characters; an error page or a dump of the prompt is cut there
_WORD_LIMIT = 256  # characters of a type, a code or the name of a field
_BODY_LIMIT = 1024 * 1024  # bytes that are decoded; of more only the beginning is read, as text
_MOST_DETAILS = 20
_TITLE_LIMIT = 500
_PAGE_LIMIT = 32 * 1024  # bytes of a page of HTML that are searched for its title

# What a `code` or `type` says, whatever the status. Numbers in `code` are a status (LiteLLM, OpenRouter) and stay out.
KINDS: dict[str, FailureKind] = {
    "authentication_error": "upstream_auth",
    "auth_error": "upstream_auth",
    "invalid_api_key": "upstream_auth",
    "expired_key": "upstream_auth",
    "token_not_found_in_db": "upstream_auth",
    "UNAUTHENTICATED": "upstream_auth",
    "NotAuthenticated": "upstream_auth",
    "billing_error": "billing",
    "credit_balance_exhausted": "quota",
    "insufficient_quota": "quota",
    "budget_exceeded": "quota",
    "usage_limit_reached": "quota",
    "permission_error": "permission",
    "permission_denied": "permission",
    "insufficient_permissions": "permission",
    "key_model_access_denied": "permission",
    "team_model_access_denied": "permission",
    "unsupported_country_region_territory": "permission",
    "PERMISSION_DENIED": "permission",
    "model_not_found": "not_found",
    "not_found_error": "not_found",
    "NOT_FOUND": "not_found",
    "request_too_large": "too_large",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "throttling_error": "rate_limit",
    "slow_down": "rate_limit",
    "RESOURCE_EXHAUSTED": "rate_limit",
    "TooManyRequests": "rate_limit",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_is_overloaded": "overloaded",
    "service_unavailable": "overloaded",
    "UNAVAILABLE": "overloaded",
    "timeout_error": "timeout",
    "timeout": "timeout",
    "DEADLINE_EXCEEDED": "timeout",
}

# Words too broad to overrule a status; they decide inside a stream, where there is none.
BROAD_KINDS: dict[str, FailureKind] = {
    "invalid_request_error": "invalid_request",
    "invalid_prompt": "invalid_request",
    "bad_request_error": "invalid_request",
    "BadRequestError": "invalid_request",
    "INVALID_ARGUMENT": "invalid_request",
    "api_error": "internal",
    "server_error": "internal",
    "internal_server_error": "internal",
    "InternalServerError": "internal",
    "INTERNAL": "internal",
}

STATUS_KINDS: dict[int, FailureKind] = {
    400: "invalid_request",
    401: "upstream_auth",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

OVERFLOW_CODES = {"context_length_exceeded", "model_max_prompt_tokens_exceeded", "exceed_context_size_error"}

_OVERFLOW = re.compile(
    r"maximum context length|max(?:imum)? context|context[ _]window|context[ _]length|context limit|context size"
    r"|prompt is too long|input is too long|too many (?:input )?tokens|prompt token count|input token count"
    r"|reduce the length of the (?:messages|prompt|input)",
    re.IGNORECASE,
)

# No count of tokens is longer, and no search may begin anew at each of a million digits.
_N = r"(?P<n>\d[\d,]{0,15})"


def _patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


_LIMITS = _patterns(
    rf"exceed context limit: [\d,]{{1,16}} \+ [\d,]{{1,16}} > {_N}",
    rf"available context size \({_N}",
    rf"context (?:length|window|size|limit)(?: of the model)?(?: is| of|:)?(?: only)? {_N}",
    rf"exceeds the limit of {_N}",
    rf"tokens allowed \({_N}",
    rf"> {_N} (?:tokens )?maximum",
)
_INPUTS = _patterns(
    rf"exceed context limit: {_N} \+",
    rf"prompt is too long: {_N} tokens",
    rf"token count (?:of |\(){_N}",
    rf"{_N}(?: tokens)? (?:from|in|of) (?:the |your )?(?:input messages|messages|prompt|text input|input)",
    rf"(?:prompt|request|input) (?:contains|has)(?: at least)? {_N} (?:input )?tokens",
    rf"messages resulted in {_N} tokens",
    rf"request \({_N} tokens\) exceeds",
)
_OUTPUTS = _patterns(
    rf"exceed context limit: [\d,]{{1,16}} \+ {_N} >",
    rf"{_N}(?: tokens)? (?:for|in) the (?:completion|output)",
    rf"requested {_N} output tokens",
)
_TOTALS = _patterns(rf"requested(?: a total of| about)? {_N} tokens", rf"total of(?: at least)? {_N} tokens")

_REQUEST_ID = "opc-request-id"


class ErrorBody(NamedTuple):
    """What an error body says. `message` is never empty; `code` is text even where the server sent a number."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


def read_error_body(status: int, headers: Mapping[str, str], body: bytes) -> ErrorBody:
    """What `body` says, in whichever shape it says it. Reads any bytes without raising."""
    try:
        if len(body) > _BODY_LIMIT:
            raise msgspec.DecodeError("larger than any error")
        found = _read_value(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = ErrorBody(_read_text(body[:_PAGE_LIMIT].decode("utf-8", "replace").strip()))
    found = _cut(found, f"the upstream answered HTTP {status} without a word")
    request_id = next((value for name, value in headers.items() if name.lower() == _REQUEST_ID), None)
    if request_id is not None:
        found = found._replace(message=f"{found.message} ({_REQUEST_ID}: {request_id[:_WORD_LIMIT]})")
    return found


def read_error_value(value: object) -> ErrorBody:
    """What the decoded value of an `error` key says; for errors inside a stream or inside a reply of status 200."""
    silent = "the upstream reported an error without a word"
    try:
        return _cut(_read_value({"error": value}), silent)
    except RecursionError:
        return ErrorBody(silent)


def _cut(found: ErrorBody, silent: str) -> ErrorBody:
    """What was found in bounded length, before anything searches in it."""
    words = (word and word[:_WORD_LIMIT] for word in found[1:])
    return ErrorBody(found.message[:MESSAGE_LIMIT] or silent, *words)


def read_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that a reply of `status` (400 or more) means; see `judge_error`."""
    retry_after = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    return judge_error(status, read_error_body(status, headers, body), retry_after)


def judge_error(status: int, error: ErrorBody, retry_after: str | None = None) -> Failure:
    """The failure of an error that came with `status`; 0 for one inside a stream, where its own code may be a status.

    A refused credential is the operator's trouble, so its 401 never reaches a client, who would log in anew in vain.
    """
    code = error.code
    if code is not None and code.isascii() and code.isdigit():
        if status == 0 and len(code) == 3 and 400 <= int(code) < 600:
            status = int(code)
        code = None
    named = KINDS.get(code or "") or KINDS.get(error.type or "")
    if named is None and status == 0:
        named = BROAD_KINDS.get(code or "") or BROAD_KINDS.get(error.type or "")
    kind = named or STATUS_KINDS.get(status) or ("invalid_request" if 400 <= status < 500 else "internal")
    tokens = None
    if code in OVERFLOW_CODES or kind in ("invalid_request", "too_large", "internal"):
        tokens = find_overflow(error.message) or ((None, None, None) if code in OVERFLOW_CODES else None)
    if tokens is not None:
        kind, status = "context_overflow", 400
    elif kind == "upstream_auth" or (status == 0 and named is None):
        status = 502
    return Failure(
        kind=kind,
        message=error.message,
        status=status,
        code=code,
        param=error.param,
        retry_after=retry_after,
        origin="upstream",
        tokens=tokens,
    )


def find_overflow(message: str) -> Tokens | None:
    """Input tokens, asked output tokens and limit of a context overflow, each where told; None if it is about
    something else."""
    if not _OVERFLOW.search(message):
        return None
    limit = _first_number(_LIMITS, message)
    asked = _first_number(_INPUTS, message)
    output = _first_number(_OUTPUTS, message)
    if asked is None and (total := _first_number(_TOTALS, message)) is not None:
        asked = total - output if output is not None and output < total else total
    return asked, output, limit


def _read_value(value: Any) -> ErrorBody:
    match value:
        case [first, *_]:
            return _read_value(first)
        case {"error": {} as error}:
            return _read_object(error)
        case {"error": [_, *_] as errors}:
            return _read_value(errors[0])
        case {"error": str(error), **rest} if error:
            told = rest.get("error_description") or rest.get("message")
            return ErrorBody(f"{error}: {told}" if isinstance(told, str) else error)
        case {"detail": {} as detail}:
            return _read_object(detail)
        case {"detail": [*details]} if details:
            return _read_details(details)
        case {"detail": str(detail)}:
            return ErrorBody(detail)
        case {"errors": [first, *_]}:
            return _read_value(first)
        case {}:
            return _read_object(value)
        case str():
            return ErrorBody(_read_text(value))
        case _:
            return ErrorBody("")


def _read_object(error: dict[str, Any]) -> ErrorBody:
    message = error.get("message") or error.get("error") or error.get("msg") or error.get("detail") or ""
    if not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    match error:
        case {"metadata": {"raw": str(raw)}} if raw and raw not in message:
            message = f"{message}: {raw}"  # OpenRouter keeps what the provider behind it said there
    kind = error.get("type") if error.get("type") not in (None, "error") else error.get("status")
    code, param = error.get("code"), error.get("param")
    return ErrorBody(
        message or (msgspec.json.encode(error).decode() if error else ""),
        kind if isinstance(kind, str) else None,
        _read_code(code),
        param if isinstance(param, str) else None,
    )


def _read_code(code: object) -> str | None:
    """A code as text; of a number only what can be a status."""
    match code:
        case bool() | "":
            return None
        case int() if 0 <= code < 1_000_000:
            return str(code)
        case str():
            return code
        case _:
            return None


def _read_details(details: list[Any]) -> ErrorBody:
    """FastAPI's list of what failed to validate; the first place is the `param`."""
    texts, places = [], []
    for detail in details[:_MOST_DETAILS]:
        match detail:
            case {"msg": str(text), "loc": [*steps]}:
                places.append(".".join(str(step) for step in steps if step != "body"))
                texts.append(f"{places[-1]}: {text}" if places[-1] else text)
            case str():
                texts.append(detail)
            case _:
                texts.append(msgspec.json.encode(detail).decode())
    return ErrorBody("; ".join(texts), param=places[0] or None if places else None)


def _read_text(text: str) -> str:
    """Plain text as it is; of a page of HTML only the title."""
    if not text.startswith("<"):
        return text
    words = " ".join(html.unescape(_find_title(text[:_PAGE_LIMIT])).split())
    return words or "the upstream answered with a page of HTML"


def _find_title(page: str) -> str:
    """What stands between the first `<title …>` and its end; searched without a pattern, which would be quadratic."""
    lower = page.lower()
    if len(lower) != len(page):  # a few letters change their length
        page = lower
    begin = lower.find("<title")
    begin = lower.find(">", begin) + 1 if begin >= 0 else 0
    end = lower.find("</title", begin)
    return page[begin:end][:_TITLE_LIMIT] if begin and end >= 0 else ""


def _first_number(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    for pattern in patterns:
        if found := pattern.search(text):
            return int(found["n"].replace(",", ""))
    return None
