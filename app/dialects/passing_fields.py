"""Judges field by field whether a request may pass, for OpenAI's dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.dialects.json_bodies import Fields, decode_or_none, is_set, pass_fields, read_body

# Whether the upstream refuses a value, given the other fields of its request.
Check = Callable[[msgspec.Raw, Fields, Capabilities], bool]

any_decoder = msgspec.json.Decoder(Any)


def pass_unless_odd(
    body: bytes,
    capabilities: Capabilities,
    checks: Mapping[str, Check],
    is_odd: Callable[[Fields, bytes, Capabilities], bool],
) -> bytes | None:
    """The body with the upstream's model name, if the upstream accepts it otherwise unchanged; None if one of its
    fields is refused or the request as a whole `is_odd`.

    Raises InvalidRequest for anything but a JSON object.
    """
    fields = read_body(body)
    if capabilities.refused_fields and not fields.keys().isdisjoint(capabilities.refused_fields):
        return None
    for name in checks.keys() & fields.keys():
        if is_set(fields[name]) and checks[name](fields[name], fields, capabilities):
            return None
    if capabilities.whole_only or capabilities.stream_only:
        streams = bytes(fields.get("stream", b"")) == b"true"
        if capabilities.whole_only if streams else capabilities.stream_only:
            return None
    return None if is_odd(fields, body, capabilities) else pass_fields(body, fields, capabilities)


def is_above(value: msgspec.Raw, limit: float | None) -> bool:
    if limit is None:
        return False
    number: Any = decode_or_none(value, any_decoder)
    return isinstance(number, int | float) and not isinstance(number, bool) and number > limit
