"""Writes one log line per request."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import UNSET, UnsetType

from app.accounts.record import RequestRecord
from app.errors import STATUS
from app.known_secrets import known_secrets
from app.logs import clean_json, is_clean, request_log

# Maximum remembered texts that similar requests share: clients choose the names in them.
MAX_REMEMBERED = 512

_encode = msgspec.json.Encoder().encode


class _Figures(msgspec.Struct, gc=False):
    """A request's own numbers, as far as it has them."""

    ttfb_ms: int | None
    ms: int
    tokens_in: int | UnsetType = UNSET
    tokens_cached: int | UnsetType = UNSET
    tokens_out: int | UnsetType = UNSET
    tokens_estimated: bool | UnsetType = UNSET
    upstream_status: int | UnsetType = UNSET


class RecordLog:
    """A sink of records. No field of a line contains bodies or credentials.

    Searching a line for secrets costs more than all else that is done with a record. So what similar requests share is
    searched once, and remembered until the secrets change.
    """

    def __init__(self) -> None:
        self._remembered: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        self._sessions: dict[str, bytes] = {}
        self._version = known_secrets.version

    def take(self, records: Iterable[RequestRecord]) -> None:
        if not request_log.enabled:
            return
        shown = ((record, level) for record in records if (level := _level(record)) >= request_log.level)
        if not request_log.for_people:
            request_log.write((self._render(record), level) for record, level in shown)
            return
        for record, level in shown:
            request_log.tell(_describe(record), level)

    def _render(self, record: RequestRecord) -> bytes:
        """The line as clean JSON."""
        if known_secrets.version != self._version:
            self._version = known_secrets.version
            self._remembered.clear()
            self._sessions.clear()
        first, last = self._find_shared(record)
        own = _encode(_figures(record))[1:-1]
        if record.message or record.trace or record.skipped:
            own += _members(_told(record))
        elif record.upstream_request_id:
            own += _name_id(record.upstream_request_id)
        session = self._find_session(record.session) if record.session else b""
        return b'{"id":"%s"%s,%s%s%s}' % (record.id.encode(), first, own, session, last)

    def _find_shared(self, record: RequestRecord) -> tuple[bytes, bytes]:
        """What comes before and after the request's own values, each member with a comma before it."""
        attempts = record.attempts
        alike = (
            record.method, record.path, record.dialect_in, record.dialect_out, record.model, record.target,
            record.status, record.terminal, record.stream, len(attempts), record.key, record.agent, record.peer,
            record.error, record.origin, attempts[-1].credential if attempts else "", record.rule, record.losses,
            record.lowered,
        )  # fmt: skip
        shared = self._remembered.get(alike)
        if shared is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            shared = self._remembered[alike] = _members(_what(record)), _members(_whose(record))
        return shared

    def _find_session(self, session: str) -> bytes:
        found = self._sessions.get(session)
        if found is None:
            if len(self._sessions) >= MAX_REMEMBERED:
                self._sessions.clear()
            found = self._sessions[session] = _members({"session": session})
        return found


def _describe(record: RequestRecord) -> dict[str, object]:
    figures, told = msgspec.to_builtins(_figures(record)), _told(record)
    return {"id": record.id, **_what(record), **figures, **told, "session": record.session, **_whose(record)}


def _what(record: RequestRecord) -> dict[str, object]:
    """What was asked of whom, and how it ended."""
    return {
        "method": record.method,
        "path": record.path,
        "in": record.dialect_in,
        "out": record.dialect_out,
        "model": record.model,
        "upstream": record.target,
        "status": record.status,
        "terminal": record.terminal,
        "stream": record.stream,
        "attempts": len(record.attempts),
    }


def _figures(record: RequestRecord) -> _Figures:
    times, usage, status = record.times, record.usage, record.upstream_status
    told = UNSET if status is None else status
    if usage is None:
        return _Figures(times.first_byte, times.end, upstream_status=told)
    cached = usage.cache_read
    return _Figures(
        times.first_byte, times.end, usage.fresh + cached + usage.cache_written, cached, usage.output,
        usage.estimated or UNSET, told,
    )  # fmt: skip


def _told(record: RequestRecord) -> dict[str, object]:
    """What others said of this request alone, as far as it is there."""
    line = {
        "trace": record.trace[3:35],
        "upstream_request_id": record.upstream_request_id,
        "skipped": record.skipped,
        "message": record.message,
    }
    return {name: value for name, value in line.items() if value}


def _name_id(request_id: str) -> bytes:
    """The member with the id that the upstream gave its answer."""
    if is_clean(request_id):
        return b',"upstream_request_id":' + _encode(request_id)
    return _members({"upstream_request_id": request_id})


def _whose(record: RequestRecord) -> dict[str, object]:
    """Who asked, and what else similar requests share, as far as it is there."""
    line = {
        "key": record.key,
        "agent": record.agent,
        "peer": record.peer,
        "error": record.error,
        "origin": record.origin,
        "credential": record.attempts[-1].credential if record.attempts else "",
        "matched": record.rule,
        "dropped": record.losses,
        "lowered": record.lowered,
    }
    return {name: value for name, value in line.items() if value}


def _members(line: Mapping[str, object]) -> bytes:
    """The members of an object as clean JSON, each with a comma before it."""
    inner = clean_json(_encode(line))[1:-1]
    return b"," + inner if inner else b""


def _level(record: RequestRecord) -> int:
    """The level of a line. What an operator must notice is a warning: faults of upstreams or the gateway, and refused
    credentials."""
    error = record.error
    if error:
        lasting = error == "upstream_auth" or STATUS.get(error, 0) >= 500  # type: ignore[call-overload]
        return logging.WARNING if lasting or record.status >= 500 else logging.INFO
    return logging.DEBUG if record.quiet else logging.INFO
