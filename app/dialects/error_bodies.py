"""Parses error bodies of any dialect.

Servers that speak a dialect well still report errors in a shape of their own: the object of OpenAI or Anthropic, a bare
string, a list (Gemini), `detail` (FastAPI), a front door's `code` and `message` (OCI), `base_resp` (MiniMax),
`error_code` (Databricks, Baidu), `success: false` (ModelScope), an HTML page (nginx), XML (S3), nothing. Some send them
with status 200.
"""

from __future__ import annotations

import contextlib
import html
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from app.json_values import UNREADABLE, any_decoder, decode_or_none

MESSAGE_LIMIT = 4000  # characters; cuts error pages and dumps of the prompt
QUOTE_LIMIT = 300  # characters quoted of a reply that is no answer
_WORD_LIMIT = 256  # characters of a type, a code or a field name
BODY_LIMIT = 1024 * 1024  # maximum bytes to decode; of a larger body only the beginning is read, as text
_MAX_DETAILS = 20
# Characters of a page that are searched for its title.
_PAGE_LIMIT = 20_000
_GZIP = b"\x1f\x8b"
_lenient = json.JSONDecoder(strict=False)
_REQUEST_ID = "opc-request-id"

# Field names are compared in lower case and without underscores, because vendors spell them differently.
_MESSAGES = ("message", "errormessage", "errormsg", "errmsg", "msg", "statusmsg", "statusmessage", "retmsg",
             "respmsg", "faultstring", "detail", "details", "errordescription", "description", "reason", "title",
             "error", "err", "text")  # fmt: skip
_CODES = ("code", "errorcode", "errcode", "errno", "statuscode", "retcode", "respcode", "resultcode", "type")
_ERROR_CODES = (*(name for name in _CODES if name.startswith("err")), "errortype")
_ERROR_MESSAGES = ("errormessage", "errormsg", "errmsg")
# Where a body may hold an error, the likeliest first. A bare code counts as an error only there.
_PLACES = ("error", "errors", "upstreamerror", "baseresp", "err", "fault", "exception", "failure", "detail", "details",
           "header", "responsemetadata", "response", "data", "result")  # fmt: skip
_SUCCESS = ("", "0", "00", "000", "0000", "00000", "200", "20000", "ok", "success", "succeed", "succeeded", "none",
            "null", "false", "true", "completed", "stop")  # fmt: skip
# A body without any of these reports no error. A shortcut: one read may bring thousands of odd events, and each is
# checked.
_INFORMATIVE = frozenset({*_MESSAGES, *_CODES, *_ERROR_CODES, *_PLACES, "success", "ok", "object", "status"})
_FAILED = ("error", "errors", "fail", "failed", "failure", "exception")
_DEEPEST = 4
# Where a body says how long to wait, and how many seconds its unit is.
_DELAYS = {"resetsinseconds": 1, "resetinseconds": 1, "retryafter": 1, "retryafterseconds": 1, "retryafterms": 0.001,
           "retryinseconds": 1, "waitseconds": 1, "retrydelayms": 0.001}  # fmt: skip


class ErrorBody(NamedTuple):
    """What an error body says. `message` is never empty; `code` is text even if the server sent a number.

    `place` is the vendor-specific field that held the error, if any. `tokens` are an overflow's numbers if given as
    fields: input, output, limit. `retry_after` is in seconds, `resets_at` a date as the server wrote it.
    """

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    place: str | None = None
    tokens: tuple[int | None, int | None, int | None] = (None, None, None)
    retry_after: str | None = None
    resets_at: str | None = None


def read_error_body(status: int, headers: Mapping[str, str], body: bytes) -> ErrorBody:
    """The error in `body`, whatever its shape. Reads any bytes without raising."""
    found = _read_body(body)
    found = _cut(found, f"the upstream answered HTTP {status} without a message")
    request_id = next((value for name, value in headers.items() if name.lower() == _REQUEST_ID), None)
    if request_id is not None:
        found = found._replace(message=f"{found.message} ({_REQUEST_ID}: {request_id[:_WORD_LIMIT]})")
    return found


def _read_body(body: bytes) -> ErrorBody:
    """An error of any encoding, for proxies forget to say that they compressed it, or send it as an event."""
    if body.startswith(_GZIP):
        with contextlib.suppress(zlib.error):
            body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, BODY_LIMIT)
    text = ""
    if len(body) <= BODY_LIMIT:
        try:
            return _read_value(msgspec.json.decode(body))
        except UNREADABLE:
            text = body.decode("utf-8", "replace").strip()
            text = text.partition("data:")[2].strip() if text.startswith(("event:", "data:")) else text
    if text.startswith(("{", "[{")):
        try:
            return _read_value(_lenient.raw_decode(text)[0])
        except (ValueError, RecursionError):
            pass
    return ErrorBody(_read_text(body[:_PAGE_LIMIT].decode("utf-8", "replace").strip()))


def read_error_value(value: object) -> ErrorBody:
    """The error in the decoded value of an `error` key, for errors inside a stream or inside a reply of status 200."""
    return _cut(_read_value({"error": value}), "the upstream reported an error without a message")


def find_error(value: object, *, answered: bool = False) -> ErrorBody | None:
    """The error in a decoded body that came with status 200, or in an event; None if it reports none.

    `answered`: the body also holds part of an answer, so only an unmistakable error counts.
    """
    match value:
        case [{} as first, *_] if not answered:
            return find_error(first)
        case {}:
            fields = _fold(value)
        case _:
            return None
    if _INFORMATIVE.isdisjoint(fields):
        return None
    if not any(map(_is_error, filter(None, _error_values(fields, answered=answered)))):
        return None
    return _cut(_read_value(value), "the upstream reported an error without a message")


def _cut(found: ErrorBody, otherwise: str) -> ErrorBody:
    """The error with all texts cut to their limits; `otherwise` is the message if it has none."""
    return found._replace(
        message=found.message[:MESSAGE_LIMIT] or otherwise,
        type=found.type and found.type[:_WORD_LIMIT],
        code=found.code and found.code[:_WORD_LIMIT],
        param=found.param and found.param[:_WORD_LIMIT],
    )


def replace_message(body: bytes, message: str, new_message: str) -> bytes | None:
    """The same error with its message replaced by `new_message` and all other fields kept; None if `message` is not at
    the usual place."""
    match decode_or_none(body, any_decoder):
        case {"error": {"message": str(said)} as error, **rest} if said == message:
            return msgspec.json.encode({"error": {**error, "message": new_message}, **rest})
        case _:
            return None


def quote(came: bytes) -> str:
    """A short description of a reply that is no answer: the title of a page, or the beginning of the text."""
    text = came[:_PAGE_LIMIT].decode("utf-8", "replace").strip()
    if not text:
        return "nothing"
    if (page := _name_page(text)) is not None:
        return page
    return f"{text[:QUOTE_LIMIT]}…" if len(text) > QUOTE_LIMIT else text


def _error_values(fields: dict[str, Any], *, answered: bool) -> Iterator[object]:
    """The values in a body that would mean an error unless they are empty or report success."""
    yield fields.get("error")
    for name in ("err", "fault", "exception"):
        if name in fields and not isinstance(fields[name], str):
            yield fields[name]
    if isinstance(base := fields.get("baseresp"), dict):
        yield _code_of(_fold(base))
    match fields.get("responsemetadata"):
        case {"Error": problem}:
            yield problem
    if answered:
        return
    yield fields.get("errors")
    yield fields.get("success") is False or fields.get("ok") is False
    yield str(fields.get("object")) == "error" or str(fields.get("type")) in ("error", "exception")
    yield str(fields.get("status")).lower() in _FAILED
    yield from (fields[name] for name in (*_ERROR_CODES, *_ERROR_MESSAGES) if name in fields)
    if isinstance(header := fields.get("header"), dict):
        yield _code_of(_fold(header))
    for name in ("response", "data", "result"):
        match fields.get(name):
            case {"error": problem} | {"Error": problem}:
                yield problem
    yield fields.get("detail")
    if any(isinstance(fields[name], str) for name in _MESSAGES if name in fields):
        yield fields.get("message")
        yield _code_of(fields)
        status = fields.get("status")
        yield status if isinstance(status, int) or (isinstance(status, str) and status.isdigit()) else None


def _is_error(accusation: object) -> bool:
    if isinstance(accusation, str | int | float) and not isinstance(accusation, bool):
        return str(accusation).strip().lower() not in _SUCCESS
    return bool(accusation)


def _read_value(value: Any, place: str | None = None, depth: int = 0) -> ErrorBody:
    match value:
        case [*details] if len(details) and all(
            isinstance(detail, dict) and "msg" in detail for detail in details[:_MAX_DETAILS]
        ):
            return _read_details(details)
        case [str() as first, *_] if depth:
            return ErrorBody("; ".join(text for text in value if isinstance(text, str)) or first)
        case [first, *_]:
            return _read_value(first, place, depth)
        case {"choices": [{"finish_reason": str(reason)} as choice, *_]} if not depth and reason != "stop":
            # Azure answers a reply that its filter blocked with status 400 and that reply.
            told = _read_value(choice.get("content_filter_results") or "", place, depth + 1)
            return told._replace(message=told.message or f"the upstream ended its reply with {reason}", code=reason)
        case {}:
            return _read_object(value, place, depth)
        case str():
            return _read_string(value, depth)
        case _:
            return ErrorBody("")


def _read_object(error: dict[str, Any], place: str | None, depth: int) -> ErrorBody:
    fields = _fold(error)
    message = _message_of(fields)
    inner = None if depth and isinstance(message, str) and message else _read_inner(fields, depth)
    if inner is not None:
        description = next(
            (text for name in ("errordescription", "message") if isinstance(text := fields.get(name), str)), ""
        )
        if isinstance(fields.get("error"), str) and description and description not in inner.message:
            return inner._replace(message=f"{inner.message}: {description}")
        return _with_codes(inner, fields)._replace(
            message=inner.message or message,
            retry_after=inner.retry_after or _find_delay(fields, error),
            resets_at=inner.resets_at or _find_reset(fields, error),
        )
    if not isinstance(message, str):
        within = _read_value(message, None, depth + 1) if depth < _DEEPEST else ErrorBody("")
        if within.message:  # Mistral puts FastAPI's details there
            return _with_codes(within, fields)
        message = _encode(message)
    elif message.startswith("{") and depth < _DEEPEST:  # Databricks wraps an error as the text of another
        return _with_codes(_read_string(message, depth), fields)
    match error:
        # OpenRouter puts the underlying provider's message there, and Groq what the model wrote instead of a call.
        case {"metadata": {"raw": str(raw)}} | {"failed_generation": str(raw)} if raw and raw not in message:
            message = f"{message}: {raw}"
    kind, code, param = _read_codes(fields)
    return ErrorBody(
        message or (_encode(error) if any(error.values()) else ""),
        kind,
        code,
        param,
        place,
        (_count(fields.get("nprompttokens")), None, _count(fields.get("nctx"))),
        _find_delay(fields, error),
        _find_reset(fields, error),
    )


def _read_inner(fields: dict[str, Any], depth: int) -> ErrorBody | None:
    """The error that a body holds in a nested field."""
    if depth >= _DEEPEST:
        return None
    for name in _PLACES:
        value = fields.get(name)
        if isinstance(value, dict | list) and value:
            if name == "baseresp" and not (isinstance(value, dict) and _is_error(_code_of(_fold(value)))):
                continue
            if name in ("response", "data", "result", "header", "responsemetadata") and not (
                isinstance(value, dict) and find_error(value)
            ):
                continue
            found = _read_value(value, "base_resp" if name == "baseresp" else None, depth + 1)
            if found.message:
                return found
        elif isinstance(value, str) and value and name in ("error", "err", "exception", "fault", "failure"):
            kind, code, param = _read_codes(fields)
            return _read_string(value, depth)._replace(type=kind, code=code, param=param)
    return None


def _with_codes(found: ErrorBody, fields: dict[str, Any]) -> ErrorBody:
    """A nested error with what it does not say itself, from the fields around it."""
    kind, code, param = _read_codes(fields)
    return found._replace(type=found.type or kind, code=found.code or code, param=found.param or param)


def _read_codes(fields: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Type, code and param, each None if absent."""
    kind = fields.get("errortype") or fields.get("type")
    kind = fields.get("status") if kind in (None, "error") else kind
    code, param = _code_of(fields), fields.get("param")
    return (
        kind if isinstance(kind, str) else None,
        str(code) if code is not None else None,
        param if isinstance(param, str) else None,
    )


def _is_said(code: object) -> bool:
    return isinstance(code, str | int) and code != "" and not isinstance(code, bool)


def _code_of(fields: dict[str, Any]) -> object:
    return next((fields[name] for name in _CODES[:-1] if _is_said(fields.get(name))), None)


def _message_of(fields: dict[str, Any]) -> Any:
    texts = (text for name in _MESSAGES if isinstance(text := fields.get(name), str) and text)
    return next(texts, None) or next((fields[name] for name in _MESSAGES if fields.get(name)), "")


def _read_details(details: list[Any]) -> ErrorBody:
    """FastAPI's list of validation errors; the first location is the `param`."""
    texts, places = [], []
    for detail in details[:_MAX_DETAILS]:
        match detail:
            case {"msg": str(text), "loc": [*steps]}:
                places.append(".".join(str(step) for step in steps if step != "body"))
                texts.append(f"{places[-1]}: {text}" if places[-1] else text)
            case {"msg": str(text)}:
                texts.append(text)
            case _:
                texts.append(_encode(detail))
    return ErrorBody("; ".join(texts), param=places[0] or None if places else None)


def _read_string(text: str, depth: int) -> ErrorBody:
    """The error in a text, which may be JSON itself."""
    value = decode_or_none(text, any_decoder) if depth < _DEEPEST and text.startswith("{") else None
    return ErrorBody(_read_text(text)) if value is None else _read_value(value, None, depth + 1)


def _read_text(text: str) -> str:
    """Plain text unchanged; the title of a page."""
    return _name_page(text) or text


def _name_page(text: str) -> str | None:
    """The title of an HTML page or an XML document; None for anything else."""
    if not text.startswith("<"):
        return None
    head = text[:_PAGE_LIMIT]
    lower = head.lower()
    for kind, name in (("title", "HTML"), ("h1", "HTML"), ("message", "XML"), ("faultstring", "XML")):
        if words := _element(head, lower, kind):
            return f"an HTML page: {words}" if name == "HTML" else f"an XML document: {words}"
    return "the upstream answered with an HTML page" if "<html" in lower or "<body" in lower else None


def _element(text: str, lower: str, name: str) -> str:
    """The text of the first element with this name; empty if there is none."""
    start = lower.find(f"<{name}")
    begin = lower.find(">", start) + 1 if start >= 0 else 0
    end = lower.find(f"</{name}", begin) if begin else -1
    return " ".join(html.unescape(text[begin : min(end, begin + QUOTE_LIMIT)]).split()) if end >= 0 else ""


def _find_delay(fields: dict[str, Any], error: dict[str, Any]) -> str | None:
    """Seconds to wait as given in the body, as text."""
    for name, unit in _DELAYS.items():
        value = fields.get(name)
        if isinstance(value, str) and value.replace(".", "", 1).isdigit() and len(value) <= 12:
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return f"{value * unit:.10g}"
    match error:
        case {"details": [*details]}:  # Google's RetryInfo
            for detail in details[:_MAX_DETAILS]:
                match detail:
                    case {"retryDelay": {"seconds": int(seconds)}} if seconds >= 0:
                        return str(seconds)
                    case {"retryDelay": str(delay)} | {"metadata": {"quotaResetDelay": str(delay)}} if (
                        delay.endswith("s") and delay[:-1].replace(".", "", 1).isdigit()
                    ):
                        return delay[:-1]
    return None


def _find_reset(fields: dict[str, Any], error: dict[str, Any]) -> str | None:
    """When a limit ends: epoch seconds or milliseconds, or a date."""
    for name in ("resetsat", "resetat", "resettime"):
        if isinstance(value := fields.get(name), str | int | float) and not isinstance(value, bool):
            return str(value)
    match error:
        case {"metadata": {"headers": {"X-RateLimit-Reset": str() | int() as value}}}:  # OpenRouter
            return str(value)
    return None


def _fold(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Fields by name in lower case without underscores and hyphens; the first of duplicates wins."""
    fields: dict[str, Any] = {}
    for name, inner in value.items():
        fields.setdefault(str(name).lower().replace("_", "").replace("-", ""), inner)
    return fields


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")
