"""Types, enum tables and losses of Chat Completions.

The shapes are tolerant: every field may be missing, and fields that servers or clients spell in several ways stay raw
or have several types. Source: OpenAI API reference, "Chat Completions", and what compatible servers really send.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from app.conversation.literals import text_of
from app.conversation.request import UNKNOWN_EFFORT, FieldLoss
from app.conversation.response import FinishReason
from app.dialects.finish_words import judge_word
from app.dialects.foreign.marks import UNTOLD, WHY_UNTOLD
from app.dialects.openai_shared.counts import Number, WireUsage
from app.json_values import Index

NAME: Final[Literal["openai_chat"]] = "openai_chat"

# Wire spelling, in lower case, to ours. Other words are judged by their parts (finish_words.py).
FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "": "stop",
}

# Not the inverse of FINISH_REASONS: this dialect has no word for a stop sequence, a pause or a compaction.
FINISH_NAMES: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "compaction": "stop",
    "length": "length",
    "pause": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}

# The vendor's fastest tier exists only in Responses.
SERVICE_TIERS = {"ultrafast": "fast"}

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

# Fields of past assistant messages that carry reasoning.
REASONING_KEYS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "thinking")

# The format of the entry in `reasoning_details` that carries a sealed proof.
SEALED_FORMAT = "dragoman-v1"

# Reply fields beside the answer that are passed on to clients of this dialect.
REPLY_EXTENSIONS = ("system_fingerprint", "moderation")


# Top-level request fields that the neutral model lacks. Any other unknown field is a hint of class D.
FIELD_LOSSES: dict[str, FieldLoss] = {
    "modalities": FieldLoss("wrong", "no other dialect has audio answers", (["text"], [])),
    "audio": FieldLoss("wrong", "no other dialect has audio answers"),
    "moderation": FieldLoss("degrading", "only this vendor moderates the answer", grave=b'"block"'),
    "reasoning_effort": FieldLoss("degrading", UNKNOWN_EFFORT),
    "web_search_options": FieldLoss("degrading", "the answer is generated without a web search"),
    "prediction": FieldLoss("ignorable", "a predicted output only saves time"),
    "prompt_cache_options": FieldLoss("ignorable", "a cache hint"),
    "prompt_cache_retention": FieldLoss("ignorable", "a cache hint"),
    "user": FieldLoss("ignorable", "the end user is already named in another field"),
    "functions": FieldLoss("ignorable", "the answer is rendered in the legacy form"),
    "min_p": FieldLoss("degrading", "a sampling parameter of some servers", (0,)),
    "top_a": FieldLoss("degrading", "a sampling parameter of some servers", (0,)),
    "typical_p": FieldLoss("degrading", "a sampling parameter of some servers", (1,)),
    "repetition_penalty": FieldLoss("degrading", "a sampling parameter of some servers", (1,)),
    "ignore_eos": FieldLoss("degrading", "a sampling parameter of some servers", (False,)),
    "guided_json": FieldLoss("degrading", "constrained decoding of one server"),
    "guided_regex": FieldLoss("degrading", "constrained decoding of one server"),
    "guided_choice": FieldLoss("degrading", "constrained decoding of one server"),
    "guided_grammar": FieldLoss("degrading", "constrained decoding of one server"),
}

# The same for fields of messages that say something.
MESSAGE_LOSSES = {f".{name}": FieldLoss("degrading", WHY_UNTOLD, ([],)) for name in UNTOLD}


# --- shapes of requests ---


class WireCache(msgspec.Struct):
    """Anthropic's `cache_control` and OpenAI's `prompt_cache_breakpoint`."""

    type: str | None = None
    mode: str | None = None
    ttl: str | None = None


class WireFile(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    file_url: str | None = None


class WireImage(msgspec.Struct):
    url: str = ""
    detail: str | None = None


class WirePart(msgspec.Struct):
    """One part of a content list, of any type. The flat `file_…` fields are those of the Responses dialect."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: WireImage | str | None = None
    detail: str | None = None
    file: WireFile | None = None
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    file_url: str | None = None
    thinking: Raw = Raw()
    input_audio: Raw = Raw()
    annotations: Raw = Raw()
    logprobs: Raw = Raw()
    cache_control: WireCache | None = None
    prompt_cache_breakpoint: WireCache | None = None


class KnownPart(WirePart, forbid_unknown_fields=True):
    pass


class WireFunction(msgspec.Struct):
    name: str | None = None
    arguments: Raw = Raw()


class WireCustom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class WireCall(msgspec.Struct):
    """A whole tool call of a past assistant message."""

    id: str | int | None = None
    type: str | None = None
    index: Raw = Raw()
    function: WireFunction | None = None
    custom: WireCustom | None = None
    extra_content: Raw = Raw()


class WireMessage(msgspec.Struct):
    role: str | None = None
    content: Raw = Raw()
    name: str | None = None
    tool_call_id: str | int | None = None
    tool_calls: list[WireCall] | None = None
    function_call: WireFunction | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: Raw = Raw()
    reasoning_details: list[Raw] | None = None
    thinking_blocks: list[Raw] | None = None
    annotations: Raw = Raw()
    cache_control: WireCache | None = None


class KnownMessage(WireMessage, forbid_unknown_fields=True):
    pass


class PlainPart(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str
    cache_control: WireCache | None = None


class PlainMessage(KnownMessage, forbid_unknown_fields=True, kw_only=True):
    """A message of words and calls, decoded with its content."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[PlainPart] | None = None  # type: ignore[assignment]


class PlainStreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool = False


# Whole numbers stay whole.
_Heat = Annotated[int, Meta(ge=0, le=2)] | Annotated[float, Meta(ge=0, le=2)] | None
_Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)] | None
_Penalty = Annotated[int, Meta(ge=-2, le=2)] | Annotated[float, Meta(ge=-2, le=2)] | None
_Limit = Annotated[int, Meta(ge=1)] | None
MAX_CHOICES = 128


class PlainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request of plain messages with valid settings, decoded in one pass."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[PlainMessage], Meta(min_length=1)]
    tools: Raw = Raw()
    tool_choice: Raw = Raw()
    response_format: Raw = Raw()
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: PlainStreamOptions | None = None
    max_completion_tokens: _Limit = None
    max_tokens: _Limit = None
    temperature: _Heat = None
    top_p: _Share = None
    top_k: int | None = None
    frequency_penalty: _Penalty = None
    presence_penalty: _Penalty = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None


class WireDetail(msgspec.Struct):
    """One entry of `reasoning_details` or `thinking_blocks`."""

    type: str | None = None
    text: str | None = None
    summary: str | None = None
    thinking: str | None = None
    data: str | None = None
    signature: str | None = None
    index: Raw = Raw()


# --- shapes of replies ---

_SAYS_NOTHING = frozenset((b"", b"null", b'""', b"[]"))


class CallPiece(msgspec.Struct, gc=False):
    """The function or the custom tool of a fragment."""

    name: str | None = None
    arguments: Raw = Raw()
    input: Raw = Raw()
    parameters: Raw = Raw()


class CallFragment(msgspec.Struct, gc=False):
    """A fragment of a tool call, or a whole call if the server does not split it. Flat ones have name and arguments
    without a function around them."""

    index: Index | float | str | None = None
    id: Number = None
    type: str | None = None
    function: CallPiece | None = None
    custom: CallPiece | None = None
    extra_content: Raw = Raw()
    name: str | None = None
    arguments: Raw = Raw()
    input: Raw = Raw()
    parameters: Raw = Raw()

    @property
    def is_flat(self) -> bool:
        return self.name is not None or any(map(len, (self.arguments, self.input, self.parameters)))


class WireDelta(msgspec.Struct, gc=False):
    """A `delta` of a stream or the `message` of a whole reply. TGI sends a single call without a list."""

    content: Raw = Raw()
    tool_calls: list[CallFragment] | CallFragment | None = None
    reasoning_content: Raw = Raw()
    reasoning: Raw = Raw()
    thinking: Raw = Raw()
    reasoning_text: Raw = Raw()
    cot_summary: Raw = Raw()
    refusal: Raw = Raw()
    reasoning_details: Raw = Raw()
    thinking_blocks: Raw = Raw()
    annotations: Raw = Raw()
    images: Raw = Raw()
    audio: Raw = Raw()
    function_call: CallPiece | None = None


class WireChoice(msgspec.Struct, gc=False):
    """`text` belongs to legacy completions. vLLM and SGLang report the stop sequence that ended the answer, OpenRouter
    the error that did. Gemini's endpoint spelled `finishReason`."""

    index: Index | None = None
    delta: WireDelta | None = None
    message: WireDelta | None = None
    finish_reason: str | None = None
    other_reason: str | None = msgspec.field(default=None, name="finishReason")
    native_finish_reason: str | None = None
    logprobs: Raw = Raw()
    usage: WireUsage | None = None
    text: Raw = Raw()
    stop_reason: Raw = Raw()
    matched_stop: Raw = Raw()
    error: Raw = Raw()


class GroqExtension(msgspec.Struct, gc=False):
    usage: WireUsage | None = None


class WireChunk(msgspec.Struct, gc=False):
    """The fields of a chunk that are needed once the stream has begun."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Raw = Raw()
    base_resp: Raw = Raw()
    x_groq: GroqExtension | None = None
    citations: Raw = Raw()
    search_results: Raw = Raw()


def calls_of(delta: WireDelta) -> list[CallFragment]:
    """The calls of a delta, each with its function."""
    calls = delta.tool_calls
    if calls is None:
        return []
    fragments = [calls] if isinstance(calls, CallFragment) else calls
    for fragment in fragments:
        if fragment.function is None and fragment.custom is None and fragment.is_flat:
            fragment.function = CallPiece(fragment.name, fragment.arguments or fragment.input or fragment.parameters)
    return fragments


def read_reason(choice: WireChoice) -> str | None:
    """The word for why a choice ended. OpenRouter reports some failures only in the word of the server behind it."""
    native = choice.native_finish_reason
    if native and read_finish(native) == "broken":
        return native
    return choice.finish_reason or choice.other_reason


def read_stop(choice: WireChoice) -> str | None:
    """The stop sequence that the server reports; a number there is the end token."""
    for raw in (choice.stop_reason, choice.matched_stop):
        if len(raw) > 2 and bytes(raw).startswith(b'"'):
            return text_of(bytes(raw))
    return None


def seconds_of(created: Number) -> int | None:
    try:
        return int(float(created)) or None if created is not None else None
    except (ValueError, OverflowError):
        return None


def adds_content(choice: WireChoice) -> bool:
    """Whether a choice adds to the answer, apart from its finish reason."""
    delta = choice.delta or choice.message
    contents = [choice.text]
    if delta is not None:
        contents += (
            delta.content,
            delta.reasoning_content,
            delta.reasoning,
            delta.thinking,
            delta.reasoning_text,
            delta.cot_summary,
            delta.reasoning_details,
            delta.thinking_blocks,
            delta.refusal,
            delta.images,
            delta.audio,
        )
    called = delta is not None and (bool(delta.tool_calls) or delta.function_call is not None)
    return called or not _SAYS_NOTHING.issuperset(map(bytes, contents))


def thinks_unread(delta: WireDelta) -> bool:
    """Whether it thinks only under a name that few clients read, as Oracle Code Assist and GitHub Copilot do."""
    if not (len(delta.thinking) or len(delta.reasoning_text) or len(delta.cot_summary)):
        return False
    unread, read = (delta.thinking, delta.reasoning_text, delta.cot_summary), (delta.reasoning_content, delta.reasoning)
    return not _SAYS_NOTHING.issuperset(map(bytes, unread)) and _SAYS_NOTHING.issuperset(map(bytes, read))


def read_finish(word: str) -> FinishReason | Literal["broken"]:
    """The finish reason that a word means, in any server's spelling; "broken" if it is a failure."""
    plain = word.lower()
    return FINISH_REASONS.get(plain) or judge_word(plain)


class FirstChunk(WireChunk, gc=False):
    """The first chunk, or a whole reply, with the fields that do not change."""

    id: str | None = None
    model: str | None = None
    created: Number = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    moderation: Raw = Raw()
