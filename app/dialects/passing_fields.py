"""Judges whether a request may pass: field by field, or by one type if nothing in it is unusual."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec

from app.conversation.capabilities import Capabilities
from app.dialects.json_bodies import check_text, is_set, pass_fields, read_body, replace_model
from app.dialects.tool_schemas import SUBSETS, holds_null_keyword
from app.json_values import UNREADABLE, Fields, any_decoder, decode_or_none

# `pass_request` for one upstream.
PassRequest = Callable[[bytes], bytes | None]

# Maximum bytes of a body that is first read as a plain one. Larger ones hold tools and their results.
_MAX_PLAIN = 16 * 1024


class Rule(NamedTuple):
    """How a field is judged: by its value, unless it is absent or null, or in a plain request by its type alone."""

    # Whether an upstream refuses a value, given the other fields of its request.
    refuses: Callable[[Any, Any, Capabilities], bool]
    # The type of the values that it takes whatever else a plain request holds: `Any` for all, `None` for none but null.
    plain: Callable[[Capabilities], Any] = lambda can: None


def pass_unless_odd(
    body: bytes,
    capabilities: Capabilities,
    rules: Mapping[str, Rule],
    is_odd: Callable[[Fields, bytes, Capabilities], bool],
) -> bytes | None:
    """The body with the upstream's model name, if the upstream accepts it otherwise unchanged; None if one of its
    fields is refused or the request as a whole `is_odd`.

    Raises InvalidRequest for anything but a JSON object.
    """
    fields = read_body(body)
    if capabilities.refused_fields and not fields.keys().isdisjoint(capabilities.refused_fields):
        return None
    for name in rules.keys() & fields.keys():
        if is_set(fields[name]) and rules[name].refuses(fields[name], fields, capabilities):
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
    can: Capabilities,
    history: tuple[str, Any] | None,
    rules: Mapping[str, Rule],
    foreign: Iterable[str],
    is_odd: Callable[[Any, bytes, Capabilities], bool],
) -> PassRequest:
    """`pass_request` for one upstream, with a shortcut for plain requests: those with a `history` of this name and
    type, values that are plain by the `rules`, and no `foreign` fields, unless one `is_odd` nevertheless. Without the
    type of a history, nothing passes unseen."""

    def judge(body: bytes) -> bytes | None:
        return pass_request(body, can)

    model = can.model
    if history is None or not model or can.extra_body or can.refused_fields or can.whole_only or can.stream_only:
        return judge
    values = {name: rule.plain(can) for name, rule in rules.items() if name != history[0]}
    limited = {name: None if kind is None else kind | None for name, kind in values.items() if kind is not Any}
    limited |= dict.fromkeys(sorted(foreign), msgspec.UnsetType)
    decode = _plain_decoder(history, *limited.items())

    def pass_plain(body: bytes) -> bytes | None:
        if len(body) > _MAX_PLAIN:
            return judge(body)
        try:
            if not body.isascii():
                check_text(body)
            plain = decode(body)
        except UNREADABLE:
            return judge(body)
        return judge(body) if is_odd(plain, body, can) else replace_model(body, model, old=plain.model)

    return pass_plain


def if_able(capability: str, values: Any = Any) -> Rule:
    """The rule for a field that an upstream with this capability takes, and of which no type but `values` is odd."""
    return Rule(
        lambda value, fields, can: not getattr(can, capability),
        lambda can: values if getattr(can, capability) else None,
    )


def unless_thinking(
    capability: str, thinks: Callable[[Fields, Capabilities], bool], maximum: str | None = None
) -> Rule:
    """The rule for a setting of sampling, which a model may accept only while it does not think."""

    def refuses(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
        if not getattr(can, capability) and (can.reasoning_off != "none" or thinks(fields, can)):
            return True
        if can.reasoning_excludes_sampling and thinks(fields, can):
            return True
        return maximum is not None and is_above(value, getattr(can, maximum))

    def plain(can: Capabilities) -> Any:
        if not getattr(can, capability) or can.reasoning_excludes_sampling:
            return None
        return Any if maximum is None else up_to(float, getattr(can, maximum))

    return Rule(refuses, plain)


def known_efforts(can: Capabilities) -> list[str]:
    """The efforts that an upstream takes."""
    return [effort for effort in can.efforts if effort != "none"] + ["none"] * (can.reasoning_off == "none")


def refuses_format(kind: object, value: msgspec.Raw, can: Capabilities) -> bool:
    """Whether an upstream refuses an answer's format of this kind, given the field that asks for it."""
    if kind == "json_schema":
        return can.structured != "schema" or can.schema in SUBSETS or can.closed_formats or holds_null_keyword(value)
    return kind == "json_object" and (not can.json_object or can.structured == "none")


def up_to(kind: Any, limit: float | None) -> Any:
    """The type of numbers up to a limit, if there is one."""
    return Any if limit is None else Annotated[kind, msgspec.Meta(le=limit)]


# Few upstreams differ in what they take.
@lru_cache(maxsize=128)
def _plain_decoder(history: tuple[str, Any], *settings: tuple[str, Any]) -> Callable[[bytes], Any]:
    fields: list[Any] = [history, *((name, kind, None) for name, kind in settings)]
    kind = msgspec.defstruct("Plain", fields, bases=(PlainRequest,), kw_only=True, gc=False)
    return msgspec.json.Decoder(kind).decode
