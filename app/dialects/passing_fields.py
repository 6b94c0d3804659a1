"""Judges whether a request may pass: field by field, or by one type if nothing in it is unusual."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.dialects.json_bodies import check_text, is_set, pass_fields, read_body, replace_model
from app.dialects.tool_schemas import SUBSETS, holds_null_keyword
from app.json_values import UNREADABLE, Fields, any_decoder, decode_or_none

# Whether the upstream refuses a value, given the other fields of its request.
Check = Callable[[msgspec.Raw, Fields, Capabilities], bool]
# The values of a field that an upstream takes whatever else a plain request holds, as a type: `Any` for all values,
# `None` for none but null.
PlainValues = Callable[[Capabilities], Any]
# `pass_request` for one upstream.
PassRequest = Callable[[bytes], bytes | None]

# Maximum bytes of a body that is first read as a plain one. Larger ones hold tools and their results.
_MAX_PLAIN = 16 * 1024


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


class PlainRequest(msgspec.Struct, gc=False):
    """What every type of plain requests begins with."""

    model: str


def with_shortcut(
    pass_request: Callable[[bytes, Capabilities], bytes | None],
    capabilities: Capabilities,
    types: Mapping[str, Any] | None,
    is_odd: Callable[[Any, bytes, Capabilities], bool],
) -> PassRequest:
    """`pass_request` for one upstream, with a shortcut for plain requests: those whose fields have these `types`,
    unless one `is_odd` nevertheless. The first field is required. Without types, nothing passes unseen."""

    def judge(body: bytes) -> bytes | None:
        return pass_request(body, capabilities)

    model = capabilities.model
    if types is None or not model or capabilities.extra_body or capabilities.refused_fields:
        return judge
    decode = _plain_decoder(*types.items())

    def pass_plain(body: bytes) -> bytes | None:
        if len(body) > _MAX_PLAIN:
            return judge(body)
        try:
            if not body.isascii():
                check_text(body)
            plain = decode(body)
        except UNREADABLE:
            return judge(body)
        return judge(body) if is_odd(plain, body, capabilities) else replace_model(body, model, old=plain.model)

    return pass_plain


def unless(capability: str) -> Check:
    return lambda value, fields, can: not getattr(can, capability)


def if_able(capability: str, values: Any = Any) -> PlainValues:
    return lambda can: values if getattr(can, capability) else None


def known_efforts(can: Capabilities) -> list[str]:
    """The efforts that an upstream takes."""
    return [effort for effort in can.efforts if effort != "none"] + ["none"] * (can.reasoning_off == "none")


def refuses_format(kind: object, value: msgspec.Raw, can: Capabilities) -> bool:
    """Whether an upstream refuses an answer's format of this kind, given the field that asks for it."""
    if kind == "json_schema":
        return can.structured != "schema" or can.schema in SUBSETS or can.closed_formats or holds_null_keyword(value)
    return kind == "json_object" and (not can.json_object or can.structured == "none")


def list_types(
    capabilities: Capabilities, checked: Iterable[str], plain: Mapping[str, PlainValues], foreign: Iterable[str]
) -> dict[str, Any]:
    """The types of the fields that a plain request may hold, as far as they matter: of those that are `checked`
    otherwise, and of `foreign` ones, which it must not hold at all."""
    values = {name: plain[name](capabilities) if name in plain else None for name in checked}
    limited = {name: None if kind is None else kind | None for name, kind in values.items() if kind is not Any}
    return limited | dict.fromkeys(sorted(foreign), msgspec.UnsetType)


def up_to(kind: Any, limit: float | None) -> Any:
    """The type of numbers up to a limit, if there is one."""
    return Any if limit is None else Annotated[kind, msgspec.Meta(le=limit)]


# Few upstreams differ in what they take.
@lru_cache(maxsize=128)
def _plain_decoder(history: tuple[str, Any], *settings: tuple[str, Any]) -> Callable[[bytes], Any]:
    fields: list[Any] = [history, *((name, kind, None) for name, kind in settings)]
    kind = msgspec.defstruct("Plain", fields, bases=(PlainRequest,), kw_only=True, gc=False)
    return msgspec.json.Decoder(kind).decode
