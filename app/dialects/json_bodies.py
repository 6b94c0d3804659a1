"""Reads JSON bodies and makes minimal edits to them, for every dialect.

Bodies are read lazily: an object becomes its fields, each still raw, and a field is decoded when it is needed. Any
error in a body becomes an InvalidRequest that names the field.
"""

from __future__ import annotations

import io
import re
from codecs import getincrementaldecoder
from collections.abc import Container, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.literals import HALVES
from app.errors import InvalidRequest
from app.json_values import UNREADABLE, Fields, decode_or_none, fields_decoder

T = TypeVar("T")

_PIECE = 1024 * 1024
# Up to this size two copies are cheaper than views.
_SHORT = 16 * 1024

_NULL, _ABSENT = msgspec.Raw(b"null"), msgspec.Raw()

# Characters that stand nowhere in JSON, unlike tabs and line ends.
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
_CONTROL = re.compile(b"[" + re.escape(_CONTROLS) + b"]")
_FOREIGN_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(')|.)", re.DOTALL)

# In every key for a model that is spelled with escapes: they are those of its letters.
_ESCAPED_LETTER = b"\\u006"
# Maximum characters of a model's name that is remembered.
_MAX_KNOWN = 256
_MODEL_FIRST = re.compile(rb'\s*\{\s*"model"\s*:\s*("[^"\\]*")')

_KEY = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_END = re.compile(rb"\s*\}\s*")


_TYPES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_EXPECTED = re.compile(r"Expected `([a-z |]{1,60})`(?:, got `([a-z]{1,20})`| (>=|<=|>|<) (-?[0-9.]{1,24}))?")
_MISSING = re.compile(r"Object missing required field `([^`]{1,80})`")
_BOUNDS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}


class _Model(msgspec.Struct):
    model: msgspec.Raw


_model_decoder = msgspec.json.Decoder(_Model)


def read_body(body: bytes) -> Fields:
    """The fields of a request body. Raises InvalidRequest unless it is one JSON object in UTF-8."""
    try:
        if not body.isascii():
            check_text(body)  # raw fields are never decoded but go upstream
        return fields_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest("Request body must be a JSON object") from error
    except UNREADABLE as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from error


def check_text(body: bytes) -> None:
    """Raises UnicodeDecodeError unless `body` is UTF-8. A large body is checked in pieces, because as one text it may
    take four times its size."""
    if body.isascii():
        return
    if len(body) <= _PIECE:
        body.decode()
        return
    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE):
        decoder.decode(body[start : start + _PIECE])
    decoder.decode(b"", final=True)


def is_set(raw: msgspec.Raw) -> bool:
    """Whether a field is present and not null."""
    return raw != _NULL and raw != _ABSENT


def set_raw(fields: Fields, name: str) -> msgspec.Raw | None:
    """A field as received; None if absent or null."""
    raw = fields.get(name)
    return raw if raw is not None and is_set(raw) else None


def pass_fields(body: bytes, fields: Fields | None, capabilities: Capabilities) -> bytes:
    """A body that passes, with the upstream's model name and the fields that every request to this upstream carries."""
    if capabilities.extra_body:
        model = {"model": capabilities.model} if capabilities.model else {}
        return encode_body({**(fields or read_body(body)), **model, **capabilities.extra_body})
    return replace_model(body, capabilities.model, fields) if capabilities.model else body


def read_value(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T], path: str) -> T:
    """The value of the field at `path`, decoded by `decoder`. Raises InvalidRequest."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        what, inner = describe_fault(error)
        where = (path + inner).removeprefix(".")  # of a whole body there is no path
        raise InvalidRequest(f"{where}: {what}" if where else what, param=where or None) from error
    except UNREADABLE as error:
        if not len(raw):
            raise InvalidRequest(f"{path}: field required", param=path) from error
        raise InvalidRequest(f"{path}: {error}", param=path) from error


def describe_fault(error: msgspec.ValidationError) -> tuple[str, str]:
    """A decoder's complaint in words for a client, and the path of the value below the decoded one: empty for the value
    itself."""
    what, _, inner = str(error).partition(" - at `$")
    return _reword(what), inner.rstrip("`")


def _reword(what: str) -> str:
    if found := _EXPECTED.fullmatch(what):
        names, got, sign, bound = found.groups()
        types = [name for name in names.split(" | ") if name != "null"] or ["null"]
        expected = " or ".join(_TYPES.get(name, name) for name in types)
        if sign:
            return f"expected {expected} {_BOUNDS[sign]} {float(bound):g}"
        if got is None:
            return f"expected {expected}"
        came = "a decimal number" if got == "float" and "int" in types else _TYPES.get(got, got)
        return f"expected {expected}, but got {came}"
    if found := _MISSING.fullmatch(what):
        return f"the field '{found[1]}' is required"
    return what[:1].lower() + what[1:]


def holds_null(raw: msgspec.Raw) -> bool:
    """Whether some field in a JSON value is null; texts that look like one also count, because this check must cost
    next to nothing."""
    value = bytes(raw)
    return b":null" in value or b": null" in value


def repair_text(data: bytes) -> bytes:
    """JSON with invalid UTF-8 replaced. Decoders do not check what they leave raw, so it would fail later."""
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


def repair_texts(payloads: list[bytes]) -> list[bytes]:
    """`repair_text` for the payloads of one read, which are checked together."""
    whole = b"\n".join(payloads)
    return payloads if repair_text(whole) is whole else [repair_text(payload) for payload in payloads]


def repair_escapes(data: bytes) -> bytes:
    """JSON, or a part of a stream of it, with the characters escaped that servers leave raw in texts, and with the
    escapes of other languages (`\\x41`, `\\'`) replaced; the same object if there are none."""
    if len(data.translate(None, _CONTROLS)) != len(data):
        data = _CONTROL.sub(lambda found: b"\\u%04x" % found[0][0], data)
    # A search for one byte takes a tenth of the time of one for two, and `in` first tries the operand as a number.
    if data.find(b"\\") >= 0 and (b"\\x" in data or b"\\'" in data):
        data = _FOREIGN_ESCAPE.sub(_escape_as_json, data)
    return data


def _escape_as_json(found: re.Match[bytes]) -> bytes:
    return b"\\u00" + found[1] if found[1] else b"'" if found[2] else found[0]


def repair_surrogates(text: bytes) -> bytes:
    """JSON text with U+FFFD for every escaped half of a surrogate pair. Clients that cut strings by UTF-16 units send
    halves, and one half makes a strict decoder reject the whole body."""
    repaired = io.BytesIO(text)  # the replacement has the length of a half, so only replaced bytes are written
    for found in HALVES.finditer(text):
        if found.start(1) >= 0:
            repaired.seek(found.start(1))
            repaired.write(b"\\ufffd")
    return repaired.getvalue()


def encode_body(value: Any) -> bytes:
    """JSON text of anything that dialects build: dicts, lists, structs, raw pieces. Halves of surrogate pairs, which
    UTF-8 cannot hold, are joined if the other half follows and become U+FFFD otherwise."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_join_halves(value))


def put_back(body: dict[str, Any], fields: Iterable[tuple[str, Any]], objects: Container[str]) -> None:
    """Puts fields that only their own dialect knows at their places: `reasoning.mode` into `reasoning`, which is one of
    the dialect's `objects`. Any other name with a dot was invented by a client and is kept as it is."""
    inside: dict[str, dict[str, Any]] = {}
    for name, value in fields:
        outer, dot, inner = name.partition(".")
        if dot and outer in objects:
            inside.setdefault(outer, {})[inner] = value
        else:
            body[name] = value
    for outer, added in inside.items():
        holder = body.get(outer)
        body[outer] = {**(holder if isinstance(holder, dict) else {}), **added}


def change_fields(raw: msgspec.Raw, **values: Any) -> msgspec.Raw:
    """A JSON object with some fields changed, or removed if the value is None."""
    fields: dict[str, Any] = {**fields_decoder.decode(raw), **values}
    return msgspec.Raw(msgspec.json.encode({name: value for name, value in fields.items() if value is not None}))


def name_model(body: bytes, model: str) -> bytes:
    """A JSON object with this model if it names none; anything else unchanged."""
    fields = decode_or_none(body, fields_decoder)
    if fields is None or bytes(fields.get("model", b"null")) not in (b"null", b'""'):
        return body
    return encode_body({"model": model, **{name: value for name, value in fields.items() if name != "model"}})


def replace_model(body: bytes, model: str, fields: Fields | None = None, old: Any = None) -> bytes:
    """A JSON object with another top-level `model`, and no other byte changed unless the key occurs twice or contains
    escapes: readers differ in whether the first or the last of two models counts, so neither may be the client's.

    Most clients put the model first. `body` must be a valid object; one without a model is returned unchanged. `fields`
    are those of the body and `old` is the current model, if known.
    """
    if isinstance(old, str) and (renamed := _rename_only_model(body, old, model)) is not None:
        return renamed
    new = _encode_name(model)
    if first := _MODEL_FIRST.match(body):
        changed = body if first[1] == new else _splice(body, first.start(1), first.end(1), new)
        # Before anything nested it is the key of the top level, but the same key may come again.
        if _has_one_model(changed) or _names_model(changed, new):
            return changed
    return _replace_outer_model(body, new, fields)


def _rename_only_model(body: bytes, old: str, model: str) -> bytes | None:
    """The body with another model, if it certainly has the key only once, which then is that of the top level."""
    if len(old) <= _MAX_KNOWN and _has_one_model(body):
        for old_member, new_member in _rename(old, model):
            renamed = body.replace(old_member, new_member, 1)
            if renamed is not body:
                return renamed
    return None


def _has_one_model(body: bytes) -> bool:
    """Whether the key occurs only once, at whatever level. Saves decoding."""
    return body.count(b'"model"') == 1 and body.find(_ESCAPED_LETTER) < 0


def _names_model(body: bytes, model: bytes) -> bool:
    try:
        return bytes(_model_decoder.decode(body).model) == model
    except UNREADABLE:
        return False


def _replace_outer_model(body: bytes, new: bytes, fields: Fields | None) -> bytes:
    """As `replace_model`, wherever the key is."""
    if fields is None:
        body = repair_text(body)
        try:
            fields = fields_decoder.decode(body)
        except UNREADABLE:
            return body
    if "model" not in fields:
        return body
    start = _find_value(body, fields, "model")
    if start is None:
        return msgspec.json.encode({**fields, "model": msgspec.Raw(new)})
    end = start + len(fields["model"])
    return body if body[start:end] == new else _splice(body, start, end, new)


# Cached, since the same few models are asked for again and again.
@lru_cache(maxsize=1024)
def _encode_name(model: str) -> bytes:
    return msgspec.json.encode(model)


@lru_cache(maxsize=1024)
def _rename(old: str, new: str) -> tuple[tuple[bytes, bytes], ...]:
    """The member with a model as most write it, and with another one."""
    return tuple((key + _encode_name(old), key + _encode_name(new)) for key in (b'"model":', b'"model": '))


def _splice(body: bytes, start: int, end: int, new: bytes) -> bytes:
    if len(body) < _SHORT:
        return body[:start] + new + body[end:]
    view = memoryview(body)
    return b"".join((view[:start], new, view[end:]))


def _find_value(body: bytes, fields: Fields, name: str) -> int | None:
    """Where the value of a top-level field begins; None if any key occurs twice or contains escapes."""
    position, start = 0, None
    for key, raw in fields.items():
        found = _KEY.match(body, position)
        if found is None or found[1] != key.encode() or not body.startswith(bytes(raw), found.end()):
            return None
        if key == name:
            start = found.end()
        position = found.end() + len(raw)
    return start if _END.fullmatch(body, position) else None


def _join_halves(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_join_halves(key): _join_halves(item) for key, item in value.items()}
        case list() | tuple():
            return [_join_halves(item) for item in value]
        case _:
            return value
