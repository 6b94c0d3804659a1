"""What is tried when a server finds fault with the shape of a request, and no field is named that could be left out.

First the request is written anew. That mends what passed as its client wrote it: turns, ids, names, values of null.
Then all that only the vendor's own programs know becomes text and functions.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from app.conversation.capabilities import Capabilities
from app.errors import DragomanError, Failure
from app.gateway.attempt import Attempt
from app.gateway.choice import open_attempt
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.own_words import own_words
from app.gateway.failures.repairs.refusal import LONGEST_REFUSAL, LONGEST_REQUEST
from app.gateway.failures.repairs.refused_turns import PLAIN_TOOLS
from app.gateway.large_bodies.heavy_work import run_heavy
from app.json_values import decode_or_none, object_decoder

_ANEW = Repair("rendering", Change({"passes": False}))
_PLAIN = Repair("plain", Change({"passes": False, "proofs": (), **PLAIN_TOOLS}), learned=False)

_STATUSES = (400, 422)
# The fields whose shape a client determines, at the beginning of a path.
_PLACE = re.compile(r"(?:messages|input|tools|system|instructions|text)\b(?:[.\[:]|$)")
# The same in a message, and how parsers and validators speak of a shape.
_SHAPE = re.compile(
    r"(?<![\w.])(?:messages|input|tools|system)(?:\[\d|\.\d|: )"
    r"|untagged enum|did not match any|deseriali[sz]|unmarshal|invalid_union|validation error|'loc': |failed to convert"
    r"|tool (?:output|call) found|tool_(?:use|result)\b|duplicate item|message role|type of 'item'|compaction blob"
    r"|thinking\.budget_tokens"
    r"|#/(?:messages|tools)|参数有误|api parameter|requested operation is unsupported"
    r"|invalid (?:responses api )?(?:request|input|params|prompt)\b"
)
# Fields that change the reply only.
_ASIDE = ("include", "stream")


def find_last_resort(failure: Failure, attempt: Attempt, capabilities: Capabilities) -> Repair | None:
    """The first resort that makes another request of a refused one, if the refusal is about its shape."""
    target, sent = attempt.target, attempt.upstream_request.body
    if target.operation != "generate" or len(sent) > LONGEST_REQUEST:
        return None
    before = run_heavy(len(sent), _content, sent)
    if before is None or not (_is_about_shape(failure) or _is_null(failure, before)):
        return None
    for repair in (_ANEW, _PLAIN):
        changed = repair.change(capabilities)
        if changed == capabilities:
            continue
        try:
            other = open_attempt(target.client_request, target.upstream, changed, target.credential, target.stream)
        except DragomanError:
            continue
        body = other.rendered.body
        if run_heavy(len(body), _content, body) != before:
            return replace(repair, learned=repair.learned and _is_about_shape(_unquoted(failure, sent)))
    return None


def _is_about_shape(failure: Failure) -> bool:
    text = failure.message[:LONGEST_REFUSAL].lower()
    if failure.kind != "invalid_request" or failure.status not in _STATUSES:
        return "items are not persisted" in text
    return _PLACE.match(failure.param or "") is not None or _SHAPE.search(text) is not None


def _is_null(failure: Failure, sent: dict[str, Any]) -> bool:
    """Whether the refusal names a field that was sent without a value."""
    return failure.status in _STATUSES and sent.get(failure.param or "", "") is None


def _unquoted(failure: Failure, sent: bytes) -> Failure:
    """The failure without words that the upstream may have quoted from the client."""
    return replace(failure, message=own_words(failure.message, sent))


def _content(body: bytes) -> dict[str, Any] | None:
    fields = decode_or_none(body, object_decoder)
    return fields and {name: value for name, value in fields.items() if name not in _ASIDE}
