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
from app.conversation.literals import EMPTY, is_blank
from app.dialects.foreign.choices import mend_choice
from app.dialects.foreign.fields import FOREIGN_FIELDS
from app.dialects.foreign.requests import is_mixed
from app.dialects.foreign.tools import OtherSchemas
from app.dialects.json_bodies import is_set, set_raw
from app.dialects.openai_chat.messages.foreign_parts import FOREIGN_TYPES
from app.dialects.openai_chat.vocabulary import REASONING_KEYS, ROLES
from app.dialects.passing_fields import (
    PassRequest,
    Rule,
    if_able,
    is_above,
    known_efforts,
    pass_unless_odd,
    refuses_format,
    unless_thinking,
    up_to,
    with_shortcut,
)
from app.dialects.tool_schemas import SUBSETS, holds_null_keyword, is_above_limit
from app.json_values import Fields, any_decoder, decode_or_none

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")
# The ids of calls that some servers accept; the others accept any.
_CALL_IDS = {"mistral": re.compile(r"[a-zA-Z0-9]{9}"), "openai": re.compile(r".{1,40}", re.DOTALL)}
# Types of parts that have another name or shape in this dialect.
_FOREIGN = FOREIGN_TYPES | {"input_text", "output_text", "summary_text", "input_image", "input_file", "tool-call"}
# Fields that only a body of another dialect has.
_OTHERS_FIELDS = frozenset(("system", "stop_sequences", "instructions"))
# Roles whose texts need no check, and the first byte of a text.
_SAID = ("user", "system")
_QUOTE = ord('"')
# How content begins that is a text, null or missing.
_PLAIN = (b'"', b"n", b"")
# How an image's URL begins, by whether images of the web are taken.
_IMAGE_URLS = {True: ("http", "data:"), False: ("data:",)}
_ENDS_OF_OBJECTS = (b"}", b"}\\n")
_FREE = (b'"auto"', b'"none"')
_SEALED = b'"' + PREFIX.encode()


class _Function(OtherSchemas):
    name: Any = None
    strict: Any = False


class _Tool(msgspec.Struct):
    type: Any = None
    function: _Function | None = None


class _CalledFunction(msgspec.Struct):
    name: Any = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    id: Any = None
    type: Any = None
    name: Any = None
    function: _CalledFunction | None = None
    extra_content: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    type: Any = None
    text: Any = ""
    image_url: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    """The fields that decide whether a message may pass; its other fields are skipped, not decoded."""

    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: list[_Call] | None = None
    tool_call_id: Any = None
    name: Any = None
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_details: msgspec.Raw = msgspec.Raw()
    thinking_blocks: msgspec.Raw = msgspec.Raw()


_tools_decoder = msgspec.json.Decoder(list[_Tool])
_messages_decoder = msgspec.json.Decoder(list[_Message])
_parts_decoder = msgspec.json.Decoder(list[_Part])


def pass_request(body: bytes, capabilities: Capabilities) -> bytes | None:
    """As `pass_unless_odd`."""
    return pass_unless_odd(body, capabilities, RULES, _is_odd)


def prepare_passing(capabilities: Capabilities) -> PassRequest:
    """`pass_request` for one upstream."""
    history = _plain_messages(capabilities)
    foreign = _OTHERS_FIELDS | FOREIGN_FIELDS["chat"]
    return with_shortcut(pass_request, capabilities, history, RULES, foreign, _is_odd_plain)


def _plain_messages(can: Capabilities) -> tuple[str, Any] | None:
    """The type of messages of one text each; None if more than types decides about them."""
    if can.think_tags or can.text_tool_calls or can.past_tools or can.user_required or not can.empty_content:
        return None
    if can.merge_system or can.alternate or can.late_system == "reminder":
        return None
    roles = ["user"]
    if can.system_text:
        roles += ["system", "developer"] if can.system_role == "developer" else ["system"]
    if not can.reasoning_always:
        roles.append("assistant")
    message: Any = _text_of(*roles)
    return "messages", Annotated[list[message], msgspec.Meta(min_length=1)]


@lru_cache(maxsize=16)
def _text_of(*roles: str) -> type[msgspec.Struct]:
    """The type of a message of these roles that is one text."""
    never = [(name, None, None) for name in ("tool_calls", *REASONING_KEYS)]
    return msgspec.defstruct("Text", [("role", Literal[roles]), ("content", str), *never], gc=False)


def _is_odd_plain(plain: Any, body: bytes, can: Capabilities) -> bool:
    return body.find(_SEALED) >= 0 or not (can.prefill or plain.messages[-1].role != "assistant")


def _is_odd(fields: Fields, body: bytes, can: Capabilities) -> bool:
    if set_raw(fields, "messages") is None:
        return "input" in fields
    if not _OTHERS_FIELDS.isdisjoint(fields) or is_mixed(fields, "chat"):
        return True
    if can.think_tags or (can.text_tool_calls and "tools" in fields):
        return True  # the answer has to be parsed
    if can.past_tools and b'"tool_calls"' in body and bytes(set_raw(fields, "tools") or b"[]") == b"[]":
        return True
    return _has_odd_messages(fields["messages"], body, can)


def _thinks(fields: Fields, can: Capabilities) -> bool:
    """Whether the model thinks at this request, because it is asked to or by default."""
    asked = set_raw(fields, "reasoning_effort")
    return can.reasoning_by_default if asked is None else bytes(asked) != b'"none"'


_TOP_P = unless_thinking("top_p", _thinks)


def _check_top_p(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    both = not can.top_p_with_temperature and set_raw(fields, "temperature") is not None
    return both or _TOP_P.refuses(value, fields, can)


def _plain_top_p(can: Capabilities) -> Any:
    return _TOP_P.plain(can) if can.top_p_with_temperature else None


def _check_stop(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    if can.stop_limit is None:
        return False
    stop: Any = decode_or_none(value, any_decoder)
    return (len(stop) if isinstance(stop, list) else 1) > can.stop_limit


def _plain_stop(can: Capabilities) -> Any:
    if can.stop_limit is None:
        return Any
    return str | Annotated[list[Any], msgspec.Meta(max_length=can.stop_limit)] if can.stop_limit else None


def _limit(name: str) -> Rule:
    return Rule(
        lambda value, fields, can: name != can.max_tokens_field or is_above(value, can.max_output),
        lambda can: up_to(int, can.max_output) if name == can.max_tokens_field else None,
    )


def _check_effort(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    return decode_or_none(value, any_decoder) not in _efforts_of(can)


def _plain_effort(can: Capabilities) -> Any:
    efforts = _efforts_of(can)
    return Literal[tuple(efforts)] if efforts else None


def _efforts_of(can: Capabilities) -> list[str]:
    """The efforts that pass: some upstreams want them in other fields."""
    others = can.reasoning_style != "effort" or can.reasoning_on_fields or can.reasoning_off_fields
    return [] if others else known_efforts(can)


def _check_tools(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    if can.description_limit is not None or bytes(value) == b"[]":  # the vendor refuses an empty list
        return True
    if not can.tools or can.schema in SUBSETS:
        return True
    if can.reasoning_excludes_tools and _thinks(fields, can):
        return True
    tools = decode_or_none(value, _tools_decoder)
    if tools is not None and (is_above_limit(tools, can) or any(_is_odd_tool(tool, can) for tool in tools)):
        return True
    return holds_null_keyword(value)


def _is_odd_tool(tool: _Tool, can: Capabilities) -> bool:
    if tool.type == "custom":
        return not can.custom_tools
    if tool.type not in (None, "function"):
        return False
    if tool.function is None:
        return True  # the flat form that Cursor sends
    name = tool.function.name
    if not isinstance(name, str) or len(name) > can.tool_name_limit or _TOOL_NAME.fullmatch(name) is None:
        return True
    if tool.function.other_schema is not None:
        return True
    return tool.function.strict is None or (bool(tool.function.strict) and not can.strict_tools)


def _check_choice(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    raw = bytes(value)
    if not can.tool_choice or ("tools" not in fields and "functions" not in fields):
        return True
    if b'"allowed_tools"' in raw:
        return not can.first_party
    if raw in _FREE:
        return False
    if raw != b'"required"' and not raw.startswith(b"{"):
        return True  # the spelling of another dialect or of a library
    if not can.forced_tool or (can.reasoning_excludes_forced_tool and _thinks(fields, can)):
        return True
    choice: Any = decode_or_none(value, any_decoder)
    match choice:
        case {"type": "function", "function": {"name": str(name)}} if "tools" in fields:
            if not can.named_tool:
                return True
            declared = decode_or_none(fields["tools"], _tools_decoder) or ()
            return all(tool.function is None or tool.function.name != name for tool in declared)
    return bool(mend_choice(choice, "chat", ()) != choice)


def _check_format(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    match decode_or_none(value, any_decoder):
        case {"type": "json_schema" as kind, "json_schema": _} | {"type": "json_object" | "text" as kind}:
            return refuses_format(kind, value, can)
    return True  # the form of another dialect, or none


RULES: dict[str, Rule] = {
    "temperature": unless_thinking("temperature", _thinks, "temperature_max"),
    "top_p": Rule(_check_top_p, _plain_top_p),
    "top_k": if_able("top_k"),
    "frequency_penalty": if_able("penalties"),
    "presence_penalty": if_able("penalties"),
    "seed": if_able("seed"),
    "logit_bias": if_able("logit_bias"),
    "logprobs": unless_thinking("logprobs", _thinks),
    "top_logprobs": unless_thinking("logprobs", _thinks),
    "n": Rule(lambda value, fields, can: not can.n and is_above(value, 1), lambda can: Any if can.n else up_to(int, 1)),
    "stop": Rule(_check_stop, _plain_stop),
    "max_tokens": _limit("max_tokens"),
    "max_completion_tokens": _limit("max_completion_tokens"),
    "max_output_tokens": _limit("max_output_tokens"),
    "reasoning_effort": Rule(_check_effort, _plain_effort),
    # Other servers' spellings of an effort, which the vendor refuses.
    "reasoning": Rule(lambda value, fields, can: can.first_party),
    "thinking": Rule(lambda value, fields, can: can.first_party),
    "enable_thinking": Rule(lambda value, fields, can: can.first_party),
    "thinking_budget": Rule(lambda value, fields, can: can.first_party),
    "tools": Rule(_check_tools),
    "tool_choice": Rule(_check_choice),
    "parallel_tool_calls": Rule(lambda value, fields, can: not can.parallel_switch or "tools" not in fields),
    "response_format": Rule(_check_format),
    "stream_options": if_able("stream_usage"),
}


def _has_odd_messages(messages: msgspec.Raw, body: bytes, can: Capabilities) -> bool:
    if body.find(_SEALED) >= 0:  # which this dialect does not know
        return True
    outline = decode_or_none(messages, _messages_decoder)
    if not outline:
        return False  # the upstream will report what is wrong with them
    if not can.prefill and outline[-1].role == "assistant":
        return True
    if not can.system_text and outline[0].role in ("system", "developer"):
        return True
    if can.user_required and all(message.role != "user" for message in outline):
        return True
    if not can.empty_content and any(map(_lacks_content, outline)):
        return True
    calls = False
    for message in outline:
        if message.tool_calls or message.role == "tool":
            calls = True
        elif message.role in _SAID and len(message.content) and memoryview(message.content)[0] == _QUOTE:
            continue  # a text needs no check
        if _is_odd_message(message, can):
            return True
    if calls and _has_loose_calls(outline):
        return True
    looks_at_order = can.merge_system or can.alternate or not can.user_after_results or can.late_system == "reminder"
    return looks_at_order and _is_odd_order(outline, can)


def _lacks_content(message: _Message) -> bool:
    """Whether a message may have empty content; parts are not checked, and only a user's are assumed to be filled."""
    first = bytes(memoryview(message.content)[:1])
    if first == b'"':
        return is_blank(bytes(message.content))
    return message.role != "user" if first == b"[" else not message.tool_calls


def _is_odd_message(message: _Message, can: Capabilities) -> bool:
    role, content = message.role, message.content
    if role not in ROLES or (role == "developer" and can.system_role == "system"):
        return True
    first = bytes(memoryview(content)[:1])
    if first == b"[":
        if (can.string_content and (role != "user" or b'"image' not in bytes(content))) or _has_odd_parts(
            content, role, can
        ):
            return True
    elif first not in _PLAIN:
        return True
    if role == "tool" and can.result_names and not message.name:
        return True
    return role == "assistant" and _is_odd_answer(message, can)


def _has_odd_parts(content: msgspec.Raw, role: str, can: Capabilities) -> bool:
    parts = decode_or_none(content, _parts_decoder)
    return parts is None or any(_is_odd_part(part, role, can) for part in parts)


def _is_odd_part(part: _Part, role: str, can: Capabilities) -> bool:
    match part.type:
        case "text" | None:
            return part.type is None or not isinstance(part.text, str)
        case "image_url":
            if not can.images or can.images_limit is not None or (role == "tool" and not can.tool_result_media):
                return True
            match decode_or_none(part.image_url, any_decoder):
                case {"url": str(url)}:
                    return not url[:5].lower().startswith(_IMAGE_URLS[can.image_urls])
            return True
        case "file":
            return not can.documents
        case kind:
            return not isinstance(kind, str) or kind in _FOREIGN


def _is_odd_answer(message: _Message, can: Capabilities) -> bool:
    """Whether the upstream would refuse a past answer, or a call in it."""
    thoughts = [name for name in REASONING_KEYS if is_set(getattr(message, name, msgspec.Raw()))]
    if any(name != can.reasoning_replay for name in thoughts):
        return True
    calls = message.tool_calls
    if not calls:
        return can.reasoning_always and not thoughts
    if not can.null_content and bytes(message.content) in (b"", b"null"):
        return True
    if can.reasoning_required and not can.empty_content:
        thoughts = [name for name in thoughts if getattr(message, name) != b'""']
    if (can.reasoning_required and not thoughts) or (can.unsigned_call and not is_set(calls[0].extra_content)):
        return True
    return any(_is_odd_call(call, can) for call in calls)


def _is_odd_call(call: _Call, can: Capabilities) -> bool:
    """Whether a past call lacks a name, a type or readable arguments; even the vendor accepts empty text as
    arguments."""
    legal = _CALL_IDS.get(can.tool_id)
    if legal is not None and (not isinstance(call.id, str) or legal.fullmatch(call.id) is None):
        return True
    function = call.function
    if function is None:
        return call.name is not None  # the flat form of other libraries
    raw = bytes(function.arguments)
    if not call.id:
        return True
    if not function.name or call.type is None or not raw.startswith(b'"'):
        return True
    # Arguments that were cut short have no brace at their end.
    return raw != EMPTY and not raw.rstrip(b' "\t').endswith(_ENDS_OF_OBJECTS)


def _has_loose_calls(messages: list[_Message]) -> bool:
    """Whether a call has no result directly after it, a result no call, or two calls of an answer the same id."""
    waiting: set[Any] = set()
    for message in messages:
        if message.role == "tool":
            answered = message.tool_call_id
            if not isinstance(answered, str) or answered not in waiting:
                return True
            waiting.discard(answered)
        elif waiting:
            return True
        elif message.tool_calls:
            waiting = {str(call.id) for call in message.tool_calls}
            if len(waiting) < len(message.tool_calls):
                return True
    return bool(waiting)


def _is_odd_order(messages: list[_Message], can: Capabilities) -> bool:
    roles = [message.role for message in messages]
    first = next((index for index, role in enumerate(roles) if role != "system"), len(roles))
    if can.merge_system and first > 1:
        return True
    if (can.merge_system or can.late_system == "reminder") and "system" in roles[first:]:
        return True
    pairs = list(zip(roles[first:], roles[first + 1 :], strict=False))
    if can.alternate and (roles[first : first + 1] == ["assistant"] or ("user", "user") in pairs):
        return True
    if can.alternate and any(
        pair == ("assistant", "assistant") and not messages[first + index].tool_calls
        for index, pair in enumerate(pairs)
    ):
        return True
    return not can.user_after_results and ("tool", "user") in pairs
