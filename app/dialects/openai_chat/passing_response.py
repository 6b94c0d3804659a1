"""Repairs whole replies for clients of the same dialect.

A correct reply keeps its bytes. One at which clients would crash or stop is parsed and rendered anew.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import begins_object, one_object, text_of
from app.conversation.response import Usage
from app.dialects.error_bodies import find_error
from app.dialects.error_kinds import decode_error, judge_error, judge_reported
from app.dialects.json_bodies import encode_body, repair_surrogates, repair_text, replace_model
from app.dialects.malformed import decode_tolerantly, malformed, no_answer, split_documents
from app.dialects.openai_chat.replies.reply_parts import is_odd_content, open_envelope
from app.dialects.openai_chat.replies.spelling import MAX_IDENTITY
from app.dialects.openai_chat.replies.tool_calls import cut_off
from app.dialects.openai_chat.response_parser import parse_response
from app.dialects.openai_chat.response_renderer import join_responses, render_response
from app.dialects.openai_chat.usage import find_usage, is_sound, sound_usage
from app.dialects.openai_chat.vocabulary import (
    FINISH_NAMES,
    CallFragment,
    WireChoice,
    adds_content,
    read_finish,
    read_reason,
    thinks_unread,
)
from app.dialects.openai_shared.counts import WireUsage, read_usage
from app.errors import MALFORMED, SAID_NOTHING, UpstreamMalformed, UpstreamRefused
from app.json_values import UNREADABLE, any_decoder

_HALVES = re.compile(rb"\\u[dD]")


_Said = Annotated[str, msgspec.Meta(min_length=1)]


class _Whole(msgspec.Struct):
    """The fields of a whole reply that are examined."""

    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[WireChoice] | None = None
    error: msgspec.Raw = msgspec.Raw()
    base_resp: msgspec.Raw = msgspec.Raw()
    usage: WireUsage | None = None


class _CleanFunction(msgspec.Struct, gc=False):
    arguments: msgspec.Raw
    name: _Said


class _CleanCall(msgspec.Struct, gc=False):
    id: _Said
    type: Literal["function"]
    function: _CleanFunction
    index: int | None = None
    custom: None = None
    name: None = None


class _CleanMessage(msgspec.Struct, gc=False):
    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: None = None
    reasoning_text: None = None
    cot_summary: None = None
    tool_calls: list[_CleanCall] | None = None
    function_call: None = None


class _CleanChoice(msgspec.Struct, gc=False):
    index: Literal[0]
    message: _CleanMessage
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"]
    native_finish_reason: str | None = None
    other_reason: None = msgspec.field(default=None, name="finishReason")
    error: None = None
    delta: None = None
    usage: None = None


class _CleanUsage(WireUsage, kw_only=True, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Clean(msgspec.Struct, gc=False):
    """A reply with one answer that every client can read; what decodes as one needs no further check."""

    id: _Said
    object: _Said
    created: Annotated[int, msgspec.Meta(gt=0)]
    model: _Said
    choices: Annotated[list[_CleanChoice], msgspec.Meta(min_length=1, max_length=1)]
    error: None = None
    base_resp: msgspec.UnsetType = msgspec.UNSET
    usage: _CleanUsage | None = None
    service_tier: Any = None


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_clean = msgspec.json.Decoder(_Clean).decode


def pass_clean(body: bytes, model: str) -> tuple[bytes, Usage | None] | None:
    """A whole reply with another model's name, and its usage; None unless it is clean."""
    if _mend_halves(body) is not body:
        return None
    try:
        clean = _decode_clean(body)
    except UNREADABLE:
        return None
    if not _is_clean(clean.choices[0]):
        return None
    usage = None if clean.usage is None else read_usage(clean.usage, clean.service_tier)
    return replace_model(body, model, old=clean.model), usage


def pass_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> tuple[bytes, Usage | None]:
    """A whole reply for the client, and its usage: with the client's name of the model, and repaired to match the
    contract.

    Raises UpstreamRefused for an error inside a reply of status 200, UpstreamMalformed for anything that is no reply.
    """
    body = _mend_halves(repair_text(body))
    clean = pass_clean(body, context.model)
    if clean is not None:
        return clean
    body = open_envelope(body) or body
    try:
        return _mend(body, context, capabilities), find_usage(body)
    except UpstreamMalformed as broken:
        if broken.failure.code == MALFORMED:
            documents = split_documents(body) or []
            if len(documents) == 1:
                return pass_response(documents[0], context, capabilities)
            raise
        raise UpstreamRefused(broken.failure) from broken  # it may answer another time, as a broken stream
    except UNREADABLE as error:  # for example a number out of range, in an unknown field
        raise malformed("a chat reply", body) from error


def _mend_halves(body: bytes) -> bytes:
    """A reply without halves of surrogate pairs; the same object if it has none."""
    # The first search is for a single byte and by far the fastest.
    if body.find(b"\\") < 0 or _HALVES.search(body) is None:
        return body
    mended = repair_surrogates(body)
    return body if mended == body else mended


def _is_clean(choice: _CleanChoice) -> bool:
    """Whether a choice also meets the expectations of clients that its types do not express."""
    calls = choice.message.tool_calls
    if choice.native_finish_reason and read_finish(choice.native_finish_reason) == "broken":
        return False
    if (choice.finish_reason == "tool_calls") is not bool(calls):
        return False
    if not calls:
        return bool(choice.message.content) or choice.finish_reason != "stop"
    ids = {call.id for call in calls}
    return len(ids) == len(calls) and all(_is_one_object(bytes(call.function.arguments)) for call in calls)


def _is_one_object(arguments: bytes) -> bool:
    """Whether the literal of arguments begins like the text of an object, and nothing follows the object."""
    if not begins_object(arguments) or not (arguments.endswith(b'}"') or cut_off(arguments) == arguments):
        return False
    return b"}{" not in arguments or (text := text_of(arguments)) == one_object(text)


def _mend(body: bytes, context: RenderContext, capabilities: Capabilities) -> bytes:
    odd = False
    try:
        whole = _decode_whole(body)
    except UNREADABLE:
        whole, odd = _decode_odd(body), True
    for holder in (whole, *(whole.choices or ())):
        if len(holder.error) and (value := any_decoder.decode(holder.error)):
            raise UpstreamRefused(judge_reported(value, body))
    if (not whole.choices or len(whole.base_resp)) and (
        found := find_error(any_decoder.decode(body), answered=bool(whole.choices))
    ) is not None:
        raise UpstreamRefused(judge_error(0, found))
    if not whole.choices or all(_is_void(choice) for choice in whole.choices):
        raise no_answer(body)
    own = capabilities.first_party or context.several
    if not own and not any(map(adds_content, whole.choices)) and parse_response(body).is_empty:
        raise UpstreamRefused(SAID_NOTHING)
    reasons = [_true_reason(choice, capabilities) for choice in whole.choices]
    odd = odd or (len(whole.choices) > 1 and not context.several)
    if odd or any(_is_odd(choice, context) for choice in whole.choices):
        return _rewrite(body, whole, context)
    value = any_decoder.decode(body)
    unsaid = [choice["message"] for choice in value["choices"] if not _says_who(choice["message"])]
    unsound = None if whole.usage is None or is_sound(whole.usage) else whole.usage
    if (
        unsaid or unsound or _lacks_head(whole) or any(reasons)
        or any(choice.index is None for choice in whole.choices)
    ):  # fmt: skip
        if unsound:
            value["usage"] = sound_usage(value["usage"], unsound)
        for message in unsaid:
            message |= {"role": "assistant", "content": message.get("content")}
        for place, (choice, reason) in enumerate(zip(value["choices"], reasons, strict=True)):
            choice["finish_reason"] = reason or choice["finish_reason"]
            if choice.get("index") is None:
                choice["index"] = place
        return replace_model(encode_body({**value, **missing_head(value, context, "chat.completion")}), context.model)
    return replace_model(body, context.model, old=whole.model)


def _decode_odd(body: bytes) -> _Whole:
    """A reply with fields of a wrong type, as far as it can do without them."""
    try:
        whole: _Whole = decode_tolerantly(_decode_whole, body)
    except UNREADABLE as error:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure) from error
        raise malformed("a chat reply", body) from error
    return whole


def _is_void(choice: WireChoice) -> bool:
    """Whether a choice of a whole reply has no field for an answer."""
    return choice.message is None and choice.delta is None and bytes(choice.text) in (b"", b"null")


def true_finish(reason: str, called: bool, capabilities: Capabilities) -> str:
    """The finish reason that fits the content, in the words of the contract: agents run tools only at "tool_calls", and
    would loop at it without calls.

    OpenAI itself documents "stop" for a tool forced by name; its reasons are kept. Raises UpstreamMalformed for a
    reason that is no end.
    """
    finish = read_finish(reason)
    if finish == "broken":
        raise UpstreamMalformed(f"the upstream broke off with finish_reason {reason[:80]!r}")
    if capabilities.first_party or (reason == "function_call" and not called):
        return reason
    name = FINISH_NAMES[finish]
    if called and name == "stop":
        return "tool_calls"
    return "stop" if name == "tool_calls" and not called else name


def missing_head(value: dict[str, Any], context: RenderContext, kind: str) -> dict[str, Any]:
    """The fields that every reply and every chunk begins with, as far as the server left them out, empty, or too long
    to be repeated."""
    named = {"id": f"chatcmpl-{context.id}", "object": kind, "created": context.created, "model": context.model}
    return {
        name: ours
        for name, ours in named.items()
        if not (said := value.get(name))
        or type(said) is not type(ours)
        or (type(said) is str and len(said) > MAX_IDENTITY)
    }


def _says_who(message: dict[str, Any]) -> bool:
    return message.get("role") == "assistant" and "content" in message


def _lacks_head(whole: _Whole) -> bool:
    return not (whole.id and whole.object and whole.created and whole.model)


def _true_reason(choice: WireChoice, capabilities: Capabilities) -> str | None:
    """The reason that fits a choice, if it differs from the given one."""
    if choice.finish_reason is None:
        return None
    called = choice.message is not None and bool(choice.message.tool_calls)
    true = true_finish(choice.finish_reason, called, capabilities)
    return None if true == choice.finish_reason else true


def _is_odd(choice: WireChoice, context: RenderContext) -> bool:
    """Whether a choice is not what clients expect."""
    message = choice.message
    if message is None or choice.finish_reason is None or read_reason(choice) != choice.finish_reason:
        return True
    if thinks_unread(message) or any(
        map(is_odd_content, (message.content, message.reasoning, message.reasoning_content))
    ):
        return True
    if isinstance(message.tool_calls, CallFragment) or (message.function_call is not None and not context.legacy):
        return True
    calls = message.tool_calls or []
    if len(calls) > 1 and len({call.id for call in calls}) < len(calls):
        return True
    for call in calls:
        piece = call.function or call.custom
        kind = "function" if call.custom is None else "custom"
        if not isinstance(call.id, str) or not call.id or call.type != kind or piece is None or not piece.name:
            return True
        if call.function is not None and not _is_one_object(bytes(call.function.arguments)):
            return True
    return False


def _rewrite(body: bytes, whole: _Whole, context: RenderContext) -> bytes:
    """The reply parsed and rendered anew; several answers one by one."""
    if not context.several:
        return render_response(parse_response(body), context)
    value = any_decoder.decode(body)
    usage = value.pop("usage", None)
    answers = []
    for number, choice in enumerate(value["choices"]):
        counts = {} if number or usage is None else {"usage": usage}
        answers.append(render_response(parse_response(encode_body({**value, "choices": [choice], **counts})), context))
    return join_responses(answers)
