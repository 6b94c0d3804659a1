"""Converts a request that mixes dialects into the shape of its path's dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from app.dialects.foreign.choices import Shape
from app.dialects.foreign.fields import FOREIGN_FIELDS, mend_fields
from app.dialects.foreign.histories import mend_turns
from app.dialects.foreign.marks import SIGNS
from app.dialects.json_bodies import encode_body, repair_surrogates
from app.errors import InvalidRequest
from app.json_values import Fields, any_decoder

T = TypeVar("T")

_HISTORIES: dict[Shape, str] = {
    "messages": "messages",
    "chat": "messages",
    "items": "input",
}


def read_mended(body: bytes, shape: Shape, read: Callable[[bytes], T]) -> T:
    """The result of `read` for a body, or for the mended body if it is refused or shows another dialect. Raises
    InvalidRequest for what no dialect has."""
    mended = mend_request(body, shape) if SIGNS[shape].search(body) else None
    if mended is None:
        try:
            return read(body)
        except InvalidRequest:
            mended = mend_request(body, shape)
            if mended is None:
                raise
    return read(mended)


def is_mixed(fields: Fields, shape: Shape) -> bool:
    """Whether a body has settings with names of another dialect."""
    return not FOREIGN_FIELDS[shape].isdisjoint(fields)


def check_fields(fields: Fields, shape: Shape) -> None:
    """Raises InvalidRequest for a field of another dialect that has no form in this one."""
    if is_mixed(fields, shape):
        name = next(name for name in fields if name in FOREIGN_FIELDS[shape])
        raise InvalidRequest(
            f"{name}: this field belongs to another API and is not supported here; remove it", param=name
        )


def mend_request(body: bytes, shape: Shape) -> bytes | None:
    """The body in the shape of its path's dialect; None if it needs no change or is unreadable. Raises InvalidRequest
    for a call that no dialect has."""
    try:
        given = any_decoder.decode(repair_surrogates(body))
        if not isinstance(given, dict):
            return None
        mended = mend_fields(given, shape)
        history = _HISTORIES[shape]
        if history in mended:
            mended[history] = mend_turns(mended[history], shape, history)
        mended = {name: value for name, value in mended.items() if value is not None or name in given}
        data = encode_body(mended)
        return data if data != encode_body(given) else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
