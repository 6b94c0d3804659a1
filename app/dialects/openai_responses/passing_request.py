"""Decides whether a request's bytes may pass unchanged.

Only the name of the model is changed here. What the upstream does not support is only detected; such a request is
translated like one from a client of another dialect. Unknown fields pass.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.envelope import PREFIX
from app.dialects.foreign.choices import mend_choice
from app.dialects.foreign.fields import FOREIGN_FIELDS
from app.dialects.foreign.marks import SIGNS
from app.dialects.foreign.requests import is_mixed
from app.dialects.foreign.tools import OtherSchemas, is_dated
from app.dialects.json_bodies import is_set, set_raw
from app.dialects.openai_responses.items.odd_items import FILE, IMAGE, TEXT, TEXT_OR_PARTS, ItemOutline, has_odd_items
from app.dialects.openai_responses.request_parser import ENCRYPTED_CONTENT
from app.dialects.openai_responses.vocabulary import NAME
from app.dialects.passing_fields import (
    PassRequest,
    Rule,
    if_able,
    is_above,
    known_efforts,
    pass_unless_odd,
    refuses_format,
    unless_thinking,
    with_shortcut,
)
from app.dialects.refused_fields import TOOL
from app.dialects.tool_schemas import SUBSETS, holds_null_keyword, is_above_limit
from app.json_values import Fields, any_decoder, decode_or_none

_SEALED = b'"' + PREFIX.encode()
# The beginnings of images without a data URL around their bytes.
_BARE_IMAGES = (b'"iVBORw0KGgo', b'"/9j/')
_LINKED_IMAGE = re.compile(rb'"image_url"\s{0,4}:\s{0,4}"http', re.IGNORECASE)
# Marks of Messages blocks among the items.
_BLOCKS = (b'"tool_use"', b'"tool_result"', b'"toolCallId"', b'"source"')


class _Reasoning(msgspec.Struct):
    effort: Any = None


class _Tool(OtherSchemas):
    type: Any = None
    name: Any = None


class _Format(msgspec.Struct):
    type: Any = None
    json_schema: msgspec.Raw = msgspec.Raw()


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: Any = None


_reasoning_decoder = msgspec.json.Decoder(_Reasoning)
_tools_decoder = msgspec.json.Decoder(list[_Tool])
_text_decoder = msgspec.json.Decoder(_Text)
_heads_decoder = msgspec.json.Decoder(list[ItemOutline])

_LISTED_OUTPUT = re.compile(rb'"output"\s*:\s*\[')


def pass_request(body: bytes, capabilities: Capabilities) -> bytes | None:
    """As `pass_unless_odd`."""
    return pass_unless_odd(body, capabilities, RULES, _is_odd)


def prepare_passing(capabilities: Capabilities) -> PassRequest:
    """`pass_request` for one upstream."""
    strict = capabilities.instructions_required or not capabilities.empty_content
    history = None if strict else ("input", str | list[_PlainItem])
    return with_shortcut(pass_request, capabilities, history, RULES, FOREIGN_FIELDS["items"], _is_odd_plain)


class _PlainItem(msgspec.Struct, gc=False):
    """A message that is one text."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str
    type: Literal["message"] | None = None
    id: None = None
    call_id: None = None
    images: None = None
    attachments: None = None
    experimental_attachments: None = None


def _is_odd_plain(plain: Any, body: bytes, can: Capabilities) -> bool:
    return _holds_odd(body, can)


def _is_odd(fields: Fields, body: bytes, can: Capabilities) -> bool:
    if is_mixed(fields, "items"):
        return True
    heads = decode_or_none(fields.get("input", msgspec.Raw(b"null")), _heads_decoder)
    if can.instructions_required and _lacks_state(fields, heads):
        return True
    # Both login backends refuse to store, and refuse what does not say so.
    if can.stream_only and not can.store and bytes(fields.get("store", b"")) != b"false":
        return True
    return (heads is not None and has_odd_items(heads, fields, can)) or _holds_odd(body, can)


def _holds_odd(body: bytes, can: Capabilities) -> bool:
    """Whether a body contains, at any depth, what the upstream does not take."""
    if any(mark in body for mark in _BLOCKS) and SIGNS["items"].search(body):
        return True
    if _SEALED in body or (NAME not in can.proofs and b"encrypted_content" in body):
        return True
    if IMAGE in body and any(mark in body for mark in _BARE_IMAGES):
        return True
    if not can.image_urls and _LINKED_IMAGE.search(body):
        return True
    if not can.tool_result_media and _LISTED_OUTPUT.search(body):
        return True
    return ((not can.images or can.images_limit is not None) and IMAGE in body) or (not can.documents and FILE in body)


def _lacks_state(fields: Fields, heads: list[ItemOutline] | None) -> bool:
    """Whether the backend of ChatGPT logins would refuse a request: it requires instructions, returns all reasoning
    encrypted, and accepts only a list of items."""
    if bytes(fields.get("instructions", b"null")) in (b"null", b'""'):
        return True
    include: Any = decode_or_none(fields.get("include", msgspec.Raw(b"null")), any_decoder)
    if not isinstance(include, list) or ENCRYPTED_CONTENT not in include:
        return True
    if heads is None:
        return bytes(fields.get("input", b""))[:1] != b"["
    return any(map(_needs_store, heads))


def _needs_store(head: ItemOutline) -> bool:
    """Whether an item is unreadable for a server that stores nothing and has no system role."""
    unread = head.type == "reasoning" and not is_set(head.encrypted_content)
    return unread or head.type == "item_reference" or head.role == "system"


def _thinks(fields: Fields, can: Capabilities) -> bool:
    """Whether the model thinks at this request, because it is asked to or by default."""
    raw = set_raw(fields, "reasoning")
    asked = decode_or_none(raw, _reasoning_decoder) if raw is not None else None
    return can.reasoning_by_default if asked is None or asked.effort is None else asked.effort != "none"


def _check_limit(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    return bytes(value) == b"-1" or is_above(value, can.max_output)


def _check_reasoning(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    asked = decode_or_none(value, _reasoning_decoder)
    if asked is None or asked.effort is None:
        return False
    if can.reasoning_style != "effort":
        return True
    return asked.effort not in known_efforts(can)


def _plain_reasoning(can: Capabilities) -> Any:
    efforts = known_efforts(can)
    return _reasoning_with(*efforts) if can.reasoning_style == "effort" and efforts else None


@lru_cache(maxsize=32)
def _reasoning_with(*efforts: str) -> type[msgspec.Struct]:
    return msgspec.defstruct("Reasoning", [("effort", Literal[efforts] | None, None)], gc=False)


def _check_tools(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    if can.description_limit is not None:
        return True
    tools = decode_or_none(value, _tools_decoder)
    if can.schema in SUBSETS or (tools is not None and is_above_limit(tools, can)):
        return True
    return (tools is not None and any(_is_odd_tool(tool, can) for tool in tools)) or holds_null_keyword(value)


def _is_odd_tool(tool: _Tool, can: Capabilities) -> bool:
    match tool.type:
        case "function":
            renamed = tool.other_schema is not None
            return not isinstance(tool.name, str) or len(tool.name) > can.tool_name_limit or renamed
        case "custom":
            return not can.custom_tools or not isinstance(tool.name, str) or tool.input_schema is not None
        case "namespace":
            return not can.namespaces
        case kind:
            return kind is None or not can.native_tools or is_dated(kind) or TOOL + str(kind) in can.refused_fields


def _check_choice(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    if not can.tool_choice or "tools" not in fields:
        return True
    choice: Any = decode_or_none(value, any_decoder)
    match choice:
        case "auto" | "none":
            return False
        case "required" | {"type": "function", "name": str()}:
            return not can.forced_tool
        case {"type": "allowed_tools"}:
            return not can.first_party
        case {**named}:
            return bool(mend_choice(named, "items", ()) != named)
    return True  # the spelling of another dialect or of a library


def _check_text(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    text = decode_or_none(value, _text_decoder)
    wanted = text.format.type if text is not None and text.format is not None else None
    if text is not None and text.format is not None and len(text.format.json_schema):
        return True  # the form of Chat
    return refuses_format(wanted, value, can)


RULES: dict[str, Rule] = {
    "previous_response_id": Rule(
        lambda value, fields, can: bytes(value) == b'""', lambda can: Annotated[str, msgspec.Meta(min_length=1)]
    ),
    "instructions": Rule(lambda value, fields, can: TEXT.match(value) is None, lambda can: str),
    "input": Rule(lambda value, fields, can: TEXT_OR_PARTS.match(value) is None),
    "temperature": unless_thinking("temperature", _thinks, "temperature_max"),
    "top_p": unless_thinking("top_p", _thinks),
    "top_logprobs": unless_thinking("logprobs", _thinks),
    "max_output_tokens": Rule(_check_limit, lambda can: Annotated[int, msgspec.Meta(ge=0, le=can.max_output)]),
    "reasoning": Rule(_check_reasoning, _plain_reasoning),
    "tools": Rule(_check_tools),
    "tool_choice": Rule(_check_choice),
    "parallel_tool_calls": if_able("parallel_switch"),
    "text": Rule(_check_text),
}
