"""Decides whether a request's bytes may pass unchanged.

Only the name of the model is changed here. What the upstream does not support is only detected, in an outline of the
request decoded in one fast pass; such a request is translated like one from a client of another dialect. Unknown fields
pass.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.schemas import has_odd_properties
from app.dialects.anthropic_messages.content.odd_turns import (
    ABSENT,
    Judge,
    TurnOutline,
    are_paired,
    has_empty,
    is_content,
    lacks_lead,
)
from app.dialects.foreign.fields import FOREIGN_FIELDS
from app.dialects.foreign.requests import mend_request
from app.dialects.foreign.tools import OF_RESPONSES
from app.dialects.json_bodies import is_set, pass_fields, read_body, repair_surrogates
from app.dialects.passing_fields import PassRequest, Rule, if_able, up_to, with_shortcut
from app.dialects.refused_fields import TOOL
from app.dialects.tool_schemas import SUBSETS, holds_null_keyword, is_above_limit
from app.json_values import any_decoder, decode_or_none

BILLING_PREFIX = "x-anthropic-billing-header"

# The mark for the prompt cache, and how many of them the vendor accepts.
MARK = b'"cache_control"'
MAX_MARKS = 4
_SHORT = 64  # a schema of fewer bytes may be empty
# The choices of this dialect; all others need translation.
_CHOICES = ("auto", "any", "none", "tool")
# With thinking on, Claude still accepts a top_p of at least this.
_LEAST_TOP_P = 0.95


class _Thinking(msgspec.Struct):
    type: str = ""


class _Choice(msgspec.Struct):
    type: str = ""
    name: Any = None
    disable_parallel_tool_use: Any = None


class _Config(msgspec.Struct):
    effort: Any = None
    format: msgspec.Raw = ABSENT


class _Tool(msgspec.Struct):
    type: Any = None
    name: Any = None
    strict: Any = False
    description: Any = ""
    input_schema: msgspec.Raw = ABSENT
    parameters: msgspec.Raw = ABSENT
    function: msgspec.Raw = ABSENT


class _Outline(msgspec.Struct):
    """The parts of a request that may keep it from passing."""

    thread: msgspec.Raw = ABSENT
    system: msgspec.Raw = ABSENT
    thinking: _Thinking | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Any = None
    stop_sequences: Any = None
    tool_choice: _Choice | str | bool | None = None
    output_config: _Config | None = None
    output_format: msgspec.Raw = ABSENT
    stream: Any = None
    max_completion_tokens: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT
    stop: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    reasoning_effort: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    function_call: msgspec.Raw = ABSENT
    tools: list[_Tool] | None = None
    messages: list[TurnOutline] = []


_outline_decoder = msgspec.json.Decoder(_Outline)
_foreign_fields = attrgetter(*sorted(FOREIGN_FIELDS["messages"]))


def pass_request(body: bytes, capabilities: Capabilities) -> bytes | None:
    """The body for an upstream that accepts it unchanged except for the model's name; None if it does not.

    Raises InvalidRequest for anything but a JSON object.
    """
    outline = decode_or_none(msgspec.Raw(body), _outline_decoder)
    if outline is None and (repair_surrogates(body) != body or mend_request(body, "messages") is not None):
        return None  # the vendor refuses half a surrogate pair, and another dialect's shape
    fields = read_body(body) if outline is None or capabilities.refused_fields or capabilities.extra_body else {}
    if outline is not None and _is_odd(outline, capabilities):
        return None
    if body.count(MARK) > MAX_MARKS or any(name in fields for name in capabilities.refused_fields):
        return None
    return pass_fields(body, fields or None, capabilities)  # the upstream judges a body of an unexpected shape


def prepare_passing(capabilities: Capabilities) -> PassRequest:
    """`pass_request` for one upstream."""
    history = "messages", list[_PlainTurn]
    return with_shortcut(pass_request, capabilities, history, RULES, FOREIGN_FIELDS["messages"], _is_odd_plain)


class _PlainTurn(msgspec.Struct, gc=False):
    """A turn that is one text."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[str, msgspec.Meta(pattern=r"\S")]
    images: None = None
    attachments: None = None
    experimental_attachments: None = None


def _is_odd_plain(plain: Any, body: bytes, can: Capabilities) -> bool:
    if not can.keep_billing and body.find(BILLING_PREFIX.encode()) >= 0:
        return True
    turns = plain.messages
    return body.count(MARK) > MAX_MARKS or bool(not can.prefill and turns and turns[-1].role == "assistant")


def _is_odd(asked: _Outline, can: Capabilities) -> bool:
    """Whether something keeps the bytes of a request from passing."""
    if any(map(len, _foreign_fields(asked))) or (can.whole_only if asked.stream is True else can.stream_only):
        return True
    for name, rule in RULES.items():
        value = getattr(asked, name)
        if value is not None and value is not ABSENT and rule.refuses(value, asked, can):
            return True
    turns = asked.messages
    if not can.prefill and turns and turns[-1].role == "assistant":
        return True
    judge = Judge(can)
    if any(map(judge.objects_to, turns)) or not are_paired(turns):
        return True
    return asked.thinking is not None and asked.thinking.type == "enabled" and lacks_lead(turns)


def _check_system(system: msgspec.Raw, asked: _Outline, can: Capabilities) -> bool:
    billed = not can.keep_billing and BILLING_PREFIX.encode() in bytes(system)
    return billed or not can.system_text or not is_content(system) or has_empty(system)


def _check_temperature(value: float, asked: _Outline, can: Capabilities) -> bool:
    if value == 1:  # the default, which Claude Code sends and the vendor always accepts
        return not (can.temperature or can.first_party)
    return not can.temperature or value > can.temperature_max or (can.reasoning_excludes_sampling and _thinks(asked))


def _plain_temperature(can: Capabilities) -> Any:
    return up_to(float, can.temperature_max) if can.temperature else None


def _check_top_p(value: float, asked: _Outline, can: Capabilities) -> bool:
    if not can.top_p or (asked.temperature is not None and not can.top_p_with_temperature):
        return True
    return can.reasoning_excludes_sampling and _thinks(asked) and value < _LEAST_TOP_P


def _plain_top_p(can: Capabilities) -> Any:
    return float if can.top_p and can.top_p_with_temperature else None


def _check_top_k(value: Any, asked: _Outline, can: Capabilities) -> bool:
    return not can.top_k or (can.reasoning_excludes_sampling and _thinks(asked))


def _check_stop(stop: Any, asked: _Outline, can: Capabilities) -> bool:
    if not isinstance(stop, list) or not stop:
        return False
    if can.stop_limit is not None and len(stop) > can.stop_limit:
        return True
    return not can.stop_blank and any(isinstance(word, str) and not word.strip() for word in stop)


def _plain_stop(can: Capabilities) -> Any:
    if can.stop_limit is None:
        return Any if can.stop_blank else None
    return Annotated[list[Any], msgspec.Meta(max_length=can.stop_limit)] if can.stop_blank else None


def _check_thinking(thinking: _Thinking, asked: _Outline, can: Capabilities) -> bool:
    match thinking.type:
        case "enabled":
            return can.reasoning_style != "budget"
        case "adaptive":
            return can.reasoning_style != "adaptive"
        case "disabled":
            return can.reasoning_off == "never"
    return False


def _check_config(config: _Config, asked: _Outline, can: Capabilities) -> bool:
    unknown = config.effort is not None and config.effort not in can.efforts
    return unknown or _check_format(config.format, asked, can)


def _check_format(raw: msgspec.Raw, asked: _Outline, can: Capabilities) -> bool:
    return is_set(raw) and (can.structured != "schema" or holds_null_keyword(raw))


def _check_choice(choice: _Choice | str | bool, asked: _Outline, can: Capabilities) -> bool:
    if isinstance(choice, str | bool) or choice.type not in _CHOICES:
        return True
    if choice.type == "tool" and not isinstance(choice.name, str):
        return True
    if not can.tool_choice or (choice.disable_parallel_tool_use and not can.parallel_switch):
        return True
    forced = choice.type in ("any", "tool")
    return forced and (not can.forced_tool or (can.reasoning_excludes_forced_tool and _thinks(asked)))


def _check_tools(tools: list[_Tool], asked: _Outline, can: Capabilities) -> bool:
    odd = can.schema in SUBSETS or is_above_limit(tools, can)
    return bool(tools) and (odd or any(_is_odd_tool(tool, can) for tool in tools))


def _is_odd_tool(tool: _Tool, can: Capabilities) -> bool:
    native = tool.type not in (None, "custom")
    odd = not isinstance(tool.type, str) or tool.type == "function" or tool.type in OF_RESPONSES
    if native and (odd or f"{TOOL}{tool.type}" in can.refused_fields):
        return True
    if not can.tools or (native and not can.native_tools) or is_set(tool.parameters) or is_set(tool.function):
        return True
    if can.plain_properties and has_odd_properties(decode_or_none(tool.input_schema, any_decoder)):
        return True
    if not native and len(tool.input_schema) < _SHORT and b'"type"' not in bytes(tool.input_schema):
        return True  # the vendor requires a type
    if can.description_limit is not None or tool.description is None or tool.strict is None:
        return True
    long = isinstance(tool.name, str) and len(tool.name) > can.tool_name_limit
    return long or (bool(tool.strict) and not can.strict_tools) or holds_null_keyword(tool.input_schema)


RULES: dict[str, Rule] = {
    "thread": Rule(lambda value, asked, can: not can.first_party and is_set(value), if_able("first_party").plain),
    "system": Rule(_check_system, if_able("system_text", str).plain),
    "max_tokens": Rule(
        lambda value, asked, can: can.max_output is not None and value > can.max_output,
        lambda can: int if can.max_output is None else up_to(int, can.max_output),
    ),
    "temperature": Rule(_check_temperature, _plain_temperature),
    "top_p": Rule(_check_top_p, _plain_top_p),
    "top_k": Rule(_check_top_k, if_able("top_k").plain),
    "stop_sequences": Rule(_check_stop, _plain_stop),
    "thinking": Rule(_check_thinking),
    "output_config": Rule(_check_config),
    "output_format": Rule(_check_format),
    "tool_choice": Rule(_check_choice),
    "tools": Rule(_check_tools),
}


def _thinks(asked: _Outline) -> bool:
    return asked.thinking is not None and asked.thinking.type in ("enabled", "adaptive")
