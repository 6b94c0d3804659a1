"""Whether the bytes of a request may pass to an upstream of this dialect, and those bytes.

Nothing is changed here but the name of the model. What the upstream cannot take is only detected; then the request goes
through the conversation, like one from a client of another dialect. A field that is not known here passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.dialects.json_bodies import Fields, decode_or_none, is_set, pass_fields, read_body, set_raw
from app.dialects.openai_chat.messages.foreign_parts import FOREIGN
from app.dialects.openai_chat.vocabulary import REASONING_KEYS
from app.dialects.tool_schemas import holds_null_keyword

# Whether a value, among the other fields of its request, is one that the upstream refuses.
_Check = Callable[[msgspec.Raw, Fields, Capabilities], bool]

_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
_THOUGHT = re.compile(rb'"(?:' + "|".join(_REASONING).encode() + rb')"\s*:')
_DEVELOPER = re.compile(rb'"role"\s*:\s*"developer"')
_ROLE = re.compile(rb'"role"\s*:\s*"(\w{1,16})"')
_IMAGE_URL = re.compile(rb'"url"\s*:\s*"https?:')
_FILE = re.compile(rb'"type"\s*:\s*"file"')
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")
# Arguments of a past call that no server can parse; the vendor itself takes an empty text.
_NO_ARGUMENTS = re.compile(rb'"arguments"\s*+:\s*+(?:null|"(?: |\\[ntr])++")')
_ALWAYS_FORCED = (b'"required"', b'"any"')


class _Function(msgspec.Struct):
    name: Any = None
    strict: Any = None


class _Tool(msgspec.Struct):
    type: Any = None
    function: _Function | None = None


class _Call(msgspec.Struct):
    id: Any = None
    extra_content: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    """What of a message decides whether it may stay as it is; the rest is skipped, not decoded."""

    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: list[_Call] | None = None
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_details: msgspec.Raw = msgspec.Raw()
    thinking_blocks: msgspec.Raw = msgspec.Raw()


_tools_decoder = msgspec.json.Decoder(list[_Tool])
_messages_decoder = msgspec.json.Decoder(list[_Message])
_any_decoder = msgspec.json.Decoder(Any)


def pass_request(body: bytes, capabilities: Capabilities) -> bytes | None:
    """The body for an upstream that takes it as it is, but for the name of the model; None if it does not.

    Raises InvalidRequest for what is no JSON object.
    """
    fields = read_body(body)
    if find_obstacle(fields, body, capabilities) is not None:
        return None
    return pass_fields(body, fields, capabilities)


def find_obstacle(fields: Fields, body: bytes, capabilities: Capabilities) -> str | None:
    """The first field that keeps the bytes from passing."""
    for name, value in fields.items():
        if name in capabilities.refused_fields:
            return name
        check = CHECKS.get(name)
        if check is not None and is_set(value) and check(value, fields, capabilities):
            return name
    if "messages" not in fields:
        return "messages" if "input" in fields else None
    if capabilities.stream_only and bytes(fields.get("stream", b"")) != b"true":
        return "stream"
    if capabilities.think_tags or (capabilities.text_tool_calls and "tools" in fields):
        return "messages"  # the answer has to be read
    return "messages" if _has_odd_messages(fields["messages"], body, capabilities) else None


def _unless(capability: str) -> _Check:
    return lambda value, fields, can: not getattr(can, capability)


def _unless_calm(capability: str, most: str | None = None) -> _Check:
    """For settings that a model takes only while it does not think."""

    def check(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
        if not getattr(can, capability) and not _is_free(fields, can):
            return True
        if can.reasoning_excludes_sampling and _thinks(fields, can):
            return True
        return most is not None and _is_above(value, getattr(can, most))

    return check


def _check_top_p(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    both = not can.top_p_with_temperature and set_raw(fields, "temperature") is not None
    return both or _unless_calm("top_p")(value, fields, can)


def _check_stop(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    if can.stop_limit is None:
        return False
    stop: Any = decode_or_none(value, _any_decoder)
    return (len(stop) if isinstance(stop, list) else 1) > can.stop_limit


def _check_limit(name: str) -> _Check:
    def check(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
        return name != can.max_tokens_field or (can.max_output is not None and _is_above(value, can.max_output))

    return check


def _check_effort(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    effort: Any = decode_or_none(value, _any_decoder)
    if can.reasoning_style != "effort" or can.reasoning_on_fields or can.reasoning_off_fields:
        return True
    return can.reasoning_off != "none" if effort == "none" else effort not in can.efforts


def _check_tools(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    if not can.tools or can.schema == "gemini":
        return True
    if can.reasoning_excludes_tools and _thinks(fields, can):
        return True
    tools = decode_or_none(value, _tools_decoder)
    return (tools is not None and any(_is_odd_tool(tool, can) for tool in tools)) or holds_null_keyword(value)


def _is_odd_tool(tool: _Tool, can: Capabilities) -> bool:
    if tool.type == "custom":
        return not can.custom_tools
    if tool.type not in (None, "function"):
        return False
    if tool.function is None:
        return True  # flat, as Cursor sends them
    name = tool.function.name
    if not isinstance(name, str) or len(name) > can.tool_name_limit or _TOOL_NAME.fullmatch(name) is None:
        return True
    return bool(tool.function.strict) and not can.strict_tools


def _check_choice(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    said = bytes(value)
    if not can.tool_choice or ("tools" not in fields and "functions" not in fields):
        return True
    if b'"allowed_tools"' in said:
        return not can.first_party
    if not (said in _ALWAYS_FORCED or said.startswith(b"{")):
        return False
    if not can.forced_tool or (can.reasoning_excludes_forced_tool and _thinks(fields, can)):
        return True
    match decode_or_none(value, _any_decoder):
        case {"type": "function", "function": {"name": str(name)}} if "tools" in fields:
            if not can.named_tool:
                return True
            declared = decode_or_none(fields["tools"], _tools_decoder) or ()
            return all(tool.function is None or tool.function.name != name for tool in declared)
    return False


def _check_parallel(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    return not can.parallel_switch or "tools" not in fields


def _check_format(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    match decode_or_none(value, _any_decoder):
        case {"type": "json_schema"}:
            return can.structured != "schema" or can.schema == "gemini"
        case {"type": "json_object"}:
            return not can.json_object or can.structured == "none"
    return False


def _check_choices(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    return not can.n and _is_above(value, 1)


def _of_others(value: msgspec.Raw, fields: Fields, can: Capabilities) -> bool:
    """How other servers spell an effort, which the vendor refuses."""
    return can.first_party


CHECKS: dict[str, _Check] = {
    "temperature": _unless_calm("temperature", "temperature_max"),
    "top_p": _check_top_p,
    "top_k": _unless("top_k"),
    "frequency_penalty": _unless("penalties"),
    "presence_penalty": _unless("penalties"),
    "seed": _unless("seed"),
    "logit_bias": _unless("logit_bias"),
    "logprobs": _unless_calm("logprobs"),
    "top_logprobs": _unless_calm("logprobs"),
    "n": _check_choices,
    "stop": _check_stop,
    "max_tokens": _check_limit("max_tokens"),
    "max_completion_tokens": _check_limit("max_completion_tokens"),
    "max_output_tokens": _check_limit("max_output_tokens"),
    "reasoning_effort": _check_effort,
    "reasoning": _of_others,
    "thinking": _of_others,
    "enable_thinking": _of_others,
    "thinking_budget": _of_others,
    "tools": _check_tools,
    "tool_choice": _check_choice,
    "parallel_tool_calls": _check_parallel,
    "response_format": _check_format,
    "stream_options": _unless("stream_usage"),
}


def _thinks(fields: Fields, can: Capabilities) -> bool:
    """Whether the model thinks at this request, because it is asked to or by itself."""
    asked = set_raw(fields, "reasoning_effort")
    return can.reasoning_by_default if asked is None else bytes(asked) != b'"none"'


def _is_free(fields: Fields, can: Capabilities) -> bool:
    """Whether a model that can be kept from thinking is, by the request or by itself."""
    return can.reasoning_off == "none" and not _thinks(fields, can)


def _has_odd_messages(messages: msgspec.Raw, body: bytes, can: Capabilities) -> bool:
    if b'"gw1.' in body or FOREIGN.search(messages) is not None:  # what only other dialects know
        return True
    if can.system_role == "system" and b'"developer"' in body and _DEVELOPER.search(body) is not None:
        return True
    if not can.images and b'"image_url"' in body:
        return True
    if not can.image_urls and b'"image_url"' in body and _IMAGE_URL.search(body) is not None:
        return True
    if not can.documents and b'"file"' in body and _FILE.search(body) is not None:
        return True
    if not can.prefill and _last_role(messages) == b"assistant":
        return True
    called = b'"tool_calls"' in body
    if called and _NO_ARGUMENTS.search(body) is not None:
        return True
    looks_at_calls = called and (can.reasoning_required or bool(can.unsigned_call) or can.tool_id != "any")
    looks_at_order = can.merge_system or can.alternate or can.string_content or not can.user_after_results
    looks_at_thoughts = _THOUGHT.search(body) is not None
    if not (looks_at_calls or looks_at_order or looks_at_thoughts or can.late_system == "reminder"):
        return False
    outline = decode_or_none(messages, _messages_decoder)
    if outline is None:
        return False  # the upstream will say what is wrong with them
    return any(_is_odd_message(message, can) for message in outline) or _is_odd_order(outline, can)


def _is_odd_message(message: _Message, can: Capabilities) -> bool:
    if can.string_content and bytes(memoryview(message.content)[:1]) == b"[" and message.role != "user":
        return True
    thoughts = [name for name in REASONING_KEYS if is_set(getattr(message, name, msgspec.Raw()))]
    if message.role != "assistant":
        return False
    if any(name != can.reasoning_replay for name in thoughts):
        return True
    calls = message.tool_calls or ()
    if calls and can.reasoning_required and not thoughts:
        return True
    if calls and can.unsigned_call and not is_set(calls[0].extra_content):
        return True
    return can.tool_id == "mistral" and any(
        not isinstance(call.id, str) or _MISTRAL_ID.fullmatch(call.id) is None for call in calls
    )


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


def _last_role(messages: msgspec.Raw) -> bytes:
    """The role of the last message. A key of that name stands nowhere below the messages themselves."""
    raw = bytes(messages)
    found = _ROLE.match(raw, raw.rfind(b'"role"'))
    return found[1] if found is not None else b""


def _is_above(value: msgspec.Raw, limit: float) -> bool:
    number: Any = decode_or_none(value, _any_decoder)
    return isinstance(number, int | float) and not isinstance(number, bool) and number > limit
