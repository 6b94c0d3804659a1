"""Decides whether a request's bytes may pass unchanged.

Only the name of the model is changed here. What the upstream does not support is only detected, in an outline of the
request decoded in one fast pass; such a request is translated like one from a client of another dialect. Unknown fields
pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.envelope import PREFIX, is_sealed
from app.conversation.schemas import has_odd_properties
from app.dialects.anthropic_messages.content.tool_changes import CHANGES
from app.dialects.anthropic_messages.vocabulary import NAME, SERVER_CALLS, SERVER_RESULT_ENDING
from app.dialects.foreign.fields import FOREIGN_FIELDS
from app.dialects.foreign.marks import FOREIGN_BLOCKS
from app.dialects.foreign.requests import mend_request
from app.dialects.foreign.tools import OF_RESPONSES
from app.dialects.json_bodies import is_set, pass_fields, read_body, repair_surrogates
from app.dialects.passing_fields import PassRequest, Rule, if_able, up_to, with_shortcut
from app.dialects.readable import IMAGE_MAGIC
from app.dialects.refused_fields import BLOCK, NESTED, TOOL
from app.dialects.tool_schemas import SUBSETS, holds_null_keyword, is_above_limit
from app.json_values import any_decoder, decode_or_none

BILLING_PREFIX = "x-anthropic-billing-header"

# The mark for the prompt cache, and how many of them the vendor accepts.
MARK = b'"cache_control"'
MAX_MARKS = 4

_SEALED = b'"' + PREFIX.encode()
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]++")
# The vendor refuses blank texts.
_BLANK = re.compile(rb'"(?:[ ]|\\[nrt])*+"')
_BLANK_TEXT = re.compile(rb'"text"\s*:\s*' + _BLANK.pattern)
_SHORT = 64  # a schema of fewer bytes may be empty
# An image as clients write it, with the beginning of its data, and how that of each type begins.
_INLINE_IMAGE = re.compile(
    rb'"media_type"\s{0,4}:\s{0,4}"(image/[A-Za-z0-9.+-]{1,40})"\s{0,8},\s{0,8}"data"\s{0,4}:\s{0,4}"([^"]{4,12})'
)
_EMPTY_DATA = re.compile(rb'"data"\s{0,4}:\s{0,4}""')
_BASE64 = re.compile(rb'"type"\s{0,4}:\s{0,4}"base64"')
_LINKED = re.compile(rb'"type"\s{0,4}:\s{0,4}"url"')
_TYPED = re.compile(rb'"media_type"\s{0,4}:\s{0,4}"')
_PLACEHOLDERS = ("PCF", "PGh", "PD9", "PHN2", "eyJ", "data:")  # a page, an error or a data URL in its place
_MAGIC = (*IMAGE_MAGIC, *((start, "text") for start in _PLACEHOLDERS))
_CONTENT = re.compile(rb'$|null|"|\[\s{0,99}(?:\{|\])')
_REASONING = ("thinking", "redacted_thinking")
_MEDIA = frozenset(("image", "document"))
_ABSENT = msgspec.Raw()
_ROLES = ("user", "assistant", "system")
# The choices of this dialect; all others need translation.
_CHOICES = ("auto", "any", "none", "tool")
# With thinking on, Claude still accepts a top_p of at least this.
_LEAST_TOP_P = 0.95


# How a server that refuses the effort of a turn has it left out.
_EFFORT_OF_TURN = frozenset((f"{NESTED}output_config", "messages[].output_config"))


class _Head(msgspec.Struct):
    """The fields that decide whether a block may pass; its other fields are skipped, not decoded."""

    type: str = ""
    text: msgspec.Raw = _ABSENT
    signature: str | None = None
    data: str | msgspec.UnsetType | None = msgspec.UNSET
    id: Any = None
    name: Any = None
    input: msgspec.Raw = _ABSENT
    tool_use_id: Any = None
    cache_control: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    source: msgspec.Raw = _ABSENT
    citations: msgspec.Raw = _ABSENT


class _Turn(msgspec.Struct):
    """A turn, and what a library may have put beside its content."""

    role: str = ""
    content: str | list[_Head] | None = None
    images: Any = None
    attachments: Any = None
    experimental_attachments: Any = None


class _Thinking(msgspec.Struct):
    type: str = ""


class _Choice(msgspec.Struct):
    type: str = ""
    name: Any = None
    disable_parallel_tool_use: Any = None


class _Config(msgspec.Struct):
    effort: Any = None
    format: msgspec.Raw = _ABSENT


class _Tool(msgspec.Struct):
    type: Any = None
    name: Any = None
    strict: Any = False
    description: Any = ""
    input_schema: msgspec.Raw = _ABSENT
    parameters: msgspec.Raw = _ABSENT
    function: msgspec.Raw = _ABSENT


class _Outline(msgspec.Struct):
    """The parts of a request that may keep it from passing."""

    thread: msgspec.Raw = _ABSENT
    system: msgspec.Raw = _ABSENT
    thinking: _Thinking | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Any = None
    stop_sequences: Any = None
    tool_choice: _Choice | str | bool | None = None
    output_config: _Config | None = None
    output_format: msgspec.Raw = _ABSENT
    stream: Any = None
    max_completion_tokens: msgspec.Raw = _ABSENT
    max_output_tokens: msgspec.Raw = _ABSENT
    stop: msgspec.Raw = _ABSENT
    response_format: msgspec.Raw = _ABSENT
    reasoning_effort: msgspec.Raw = _ABSENT
    reasoning: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    functions: msgspec.Raw = _ABSENT
    function_call: msgspec.Raw = _ABSENT
    tools: list[_Tool] | None = None
    messages: list[_Turn] = []


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
        if value is not None and value is not _ABSENT and rule.refuses(value, asked, can):
            return True
    turns = asked.messages
    if not can.prefill and turns and turns[-1].role == "assistant":
        return True
    judge = _Judge(can)
    return any(map(judge.objects_to, turns)) or _lacks_lead(turns, asked.thinking) or not _are_paired(turns)


def _check_system(system: msgspec.Raw, asked: _Outline, can: Capabilities) -> bool:
    billed = not can.keep_billing and BILLING_PREFIX.encode() in bytes(system)
    return billed or not can.system_text or not _is_content(system) or _has_empty(system)


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


class _Judge:
    """Judges blocks by what the upstream does with reasoning and media.

    Claude accepts only what it signed itself. Servers that sign nothing accept any reasoning, but our envelopes mean
    nothing to them.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._required = capabilities.reasoning_required
        self._unsigned = self._required or capabilities.reasoning_replay != "none"
        self._image_types = capabilities.image_types
        self._image_urls = capabilities.image_urls
        self._only_words = not capabilities.tool_result_media
        self._signed = NAME in capabilities.proofs
        self._longest_name = capabilities.tool_name_limit
        # A system turn may be empty because all it does is set the effort.
        self._sets_effort = _EFFORT_OF_TURN.isdisjoint(capabilities.refused_fields)
        taken = (
            ("image", capabilities.images and capabilities.images_limit is None),
            ("document", capabilities.documents),
        )
        named = [name.removeprefix(BLOCK) for name in capabilities.refused_fields if name.startswith(BLOCK)]
        self._refused = frozenset([kind for kind, accepted in taken if not accepted] + named)
        self._refused_of_others = self._refused | _MEDIA  # they may stand in a user's turn only
        self._inside = re.compile("|".join(f'"{kind}"' for kind in named).encode()) if named else None

    def objects_to(self, turn: _Turn) -> bool:
        if turn.role not in _ROLES:
            return True
        blocks = turn.content
        if turn.images or turn.attachments or turn.experimental_attachments:
            return True
        if isinstance(blocks, str):
            return not blocks.strip()
        if not isinstance(blocks, list):
            return True
        if not blocks and not (turn.role == "system" and self._sets_effort):
            return True
        if turn.role == "assistant" and self._required and _lacks_reasoning(blocks):
            return True
        refused = self._refused if turn.role == "user" else self._refused_of_others
        return any(block.type in refused or not self._may_stay(block) for block in blocks)

    def _may_stay(self, block: _Head) -> bool:
        match block.type:
            case "text":
                return _BLANK.fullmatch(block.text) is None and _SEALED not in bytes(block.citations)
            case "thinking":
                sealed = is_sealed(block.signature or "")
                signed = self._signed and bool(block.signature)
                return not sealed and (self._unsigned or signed) and not is_set(block.cache_control)
            case "redacted_thinking":
                sealed = isinstance(block.data, str) and is_sealed(block.data)
                return not sealed and (self._required or self._signed) and not is_set(block.cache_control)
            case "tool_use":
                named = isinstance(block.name, str) and 0 < len(block.name) <= self._longest_name
                return named and bytes(memoryview(block.input)[:1]) == b"{"
            case "tool_result":
                return not self._holds_odd_result(block.content) and not _holds_empty(block)
            case "image" if not len(block.source) or self._holds_odd_image(block.source):
                return False
            case "document" if _BASE64.search(memoryview(block.source)) and b"application/pdf" not in bytes(
                block.source
            ):
                return False  # the vendor takes no other file this way
            case kind if kind in SERVER_CALLS or kind in CHANGES or kind.endswith(SERVER_RESULT_ENDING):
                return self._signed  # other servers do not know the vendor's own tools, nor changes of tools
            case kind:
                return bool(kind) and kind not in FOREIGN_BLOCKS

    def _holds_odd_result(self, content: msgspec.Raw) -> bool:
        if self._inside is not None and self._inside.search(memoryview(content)) is not None:
            return True
        if self._only_words and bytes(memoryview(content)[:1]) == b"[":
            return True
        return not _is_content(content) or self._holds_odd_image(content)

    def _holds_odd_image(self, raw: msgspec.Raw) -> bool:
        """Whether an image is of a type that is not taken, or its bytes are those of another: the vendor refuses the
        request for one, and every later one of the session."""
        source = memoryview(raw)
        if _EMPTY_DATA.search(source) is not None or (
            _BASE64.search(source) is not None and _TYPED.search(source) is None
        ):
            return True
        if not self._image_urls and _LINKED.search(source) is not None:
            return True
        for found in _INLINE_IMAGE.finditer(source):
            declared, start = found[1].decode(), found[2].decode()
            seen = next((kind for magic, kind in _MAGIC if start.startswith(magic)), declared)
            if seen != declared or (self._image_types and declared not in self._image_types):
                return True
        return False


def _are_paired(turns: Sequence[_Turn]) -> bool:
    """Whether every call has a valid unique id, and every result is where the vendor requires it: at the start of the
    turn after its call."""
    known: set[str] = set()
    awaited: list[Any] = []
    for turn in turns:
        if turn.role == "system":
            continue
        blocks = turn.content if isinstance(turn.content, list) else []
        answered = [block.tool_use_id for block in blocks if block.type == "tool_result"]
        if answered or awaited:
            leading = [block.tool_use_id for block in blocks[: len(answered)] if block.type == "tool_result"]
            if len(leading) != len(awaited) or sorted(map(str, leading)) != sorted(map(str, awaited)):
                return False
        awaited = [block.id for block in blocks if block.type == "tool_use"]
        if awaited and turn.role != "assistant":
            return False
        for call_id in awaited:
            if not isinstance(call_id, str) or call_id in known or _CALL_ID.fullmatch(call_id) is None:
                return False
            known.add(call_id)
    return not awaited


def _is_content(raw: msgspec.Raw) -> bool:
    """Whether a value is absent, null, a text or a list of objects."""
    return _CONTENT.match(memoryview(raw)) is not None


def _holds_empty(block: _Head) -> bool:
    """Whether a tool result is a list that contains blank texts; a result given as a string may be empty."""
    return bytes(memoryview(block.content)[:1]) == b"[" and _has_empty(block.content)


def _has_empty(texts: msgspec.Raw) -> bool:
    return _BLANK_TEXT.search(memoryview(texts)) is not None


def _lacks_reasoning(content: Sequence[_Head]) -> bool:
    types = {block.type for block in content}
    return "tool_use" in types and "thinking" not in types


def _lacks_lead(turns: Sequence[_Turn], thinking: _Thinking | None) -> bool:
    """Whether manual thinking is on, but the last turn of a tool loop does not begin with reasoning as required."""
    if thinking is None or thinking.type != "enabled":
        return False
    for turn in reversed(turns):
        if turn.role == "assistant" and isinstance(turn.content, list) and turn.content:
            called = any(block.type == "tool_use" for block in turn.content)
            return called and turn.content[0].type not in _REASONING
    return False


def _thinks(asked: _Outline) -> bool:
    return asked.thinking is not None and asked.thinking.type in ("enabled", "adaptive")
