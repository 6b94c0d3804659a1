"""Decides whether a request's bytes may pass unchanged.

Only the name of the model is changed here. What the upstream does not support is only detected; such a request is
translated like one from a client of another dialect. Unknown fields pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.envelope import PREFIX
from app.dialects.foreign.choices import mend_choice
from app.dialects.foreign.fields import FOREIGN_FIELDS
from app.dialects.foreign.requests import is_mixed
from app.dialects.foreign.tools import OtherSchemas
from app.dialects.json_bodies import set_raw
from app.dialects.openai_chat.messages.odd_messages import TOOL_NAME, has_odd_messages
from app.dialects.openai_chat.vocabulary import REASONING_KEYS
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

# Fields that only a body of another dialect has.
_OTHERS_FIELDS = frozenset(("system", "stop_sequences", "instructions"))
_FREE = (b'"auto"', b'"none"')
_SEALED = b'"' + PREFIX.encode()


class _Function(OtherSchemas):
    name: Any = None
    strict: Any = False


class _Tool(msgspec.Struct):
    type: Any = None
    function: _Function | None = None


_tools_decoder = msgspec.json.Decoder(list[_Tool])


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
    return body.find(_SEALED) >= 0 or has_odd_messages(fields["messages"], can)  # this dialect knows no envelopes


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
    if not isinstance(name, str) or len(name) > can.tool_name_limit or TOOL_NAME.fullmatch(name) is None:
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
