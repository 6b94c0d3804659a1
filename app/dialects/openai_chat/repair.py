"""The repair of replies for clients of the same dialect: of whole ones, and of what streams share with
them.

A clean reply keeps its bytes. One at which clients crash or stop is taken apart, and what is wrong with it set right.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import text_of
from app.dialects.error_bodies import judge_error, read_error_body, read_error_value
from app.dialects.json_bodies import encode_body, repair_surrogates, replace_model
from app.dialects.openai_chat.parts import text_of_thinking
from app.dialects.openai_chat.tool_calls import CallBinder, begins_object
from app.dialects.openai_chat.vocabulary import (
    BROKEN_REASONS,
    FINISH_NAMES,
    FINISH_REASONS,
    CallFragment,
    WireChoice,
)
from app.errors import UpstreamMalformed, UpstreamRefused

_any = msgspec.json.Decoder().decode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Whole(msgspec.Struct):
    """What is looked at in a whole reply."""

    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[WireChoice] | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_fragment = msgspec.json.Decoder(CallFragment).decode


def repair_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> bytes:
    """A whole reply for the client: the model's name as the client knows it, and all else as the contract has it.

    Raises UpstreamRefused for an error inside a reply of status 200, UpstreamMalformed for what is no reply.
    """
    if b"\\ud" in body or b"\\uD" in body:
        body = repair_surrogates(body)
    try:
        whole = _decode_whole(body)
    except msgspec.ValidationError:
        whole = _Whole()
    except UNREADABLE as error:
        said = read_error_body(200, {}, body).message[:300]
        raise UpstreamMalformed(f"the upstream sent something else than a chat reply: {said}") from error
    if len(whole.error) and (value := _any(whole.error)):
        raise UpstreamRefused(judge_error(0, read_error_value(value)))
    if not whole.choices or _lacks_head(whole) or any(_is_odd(choice, capabilities) for choice in whole.choices):
        value = _any(body)
        if not isinstance(value, dict) or not isinstance(value.get("choices"), list):
            raise UpstreamRefused(judge_error(0, read_error_body(200, {}, body)))
        body = _mend_whole(value, context, capabilities)
    return replace_model(body, context.model)


def true_finish(reason: str, called: bool, capabilities: Capabilities) -> str:
    """The reason that fits what came, in the words of the contract: agents run tools only at "tool_calls", and would
    loop at it without any.

    OpenAI itself says "stop" where a tool was forced by name, as documented; what it says stays. Raises
    UpstreamMalformed for a reason that is no end.
    """
    if reason.lower() in BROKEN_REASONS:
        raise UpstreamMalformed(f"the upstream broke off with finish_reason {reason!r}")
    if capabilities.first_party or reason == "function_call":
        return reason
    name = FINISH_NAMES[FINISH_REASONS.get(reason.lower(), "stop")]
    if called and name == "stop":
        return "tool_calls"
    return "stop" if name == "tool_calls" and not called else name


def missing_head(value: dict[str, Any], context: RenderContext, kind: str) -> dict[str, Any]:
    """The fields that every reply and every chunk begins with, as far as the server left them out or empty."""
    named = {"id": f"chatcmpl-{context.id}", "object": kind, "created": context.created, "model": context.model}
    return {name: ours for name, ours in named.items() if not value.get(name) or type(value[name]) is not type(ours)}


def flatten_content(message: dict[str, Any]) -> dict[str, Any]:
    """A message or delta whose content is a text, for clients join it; Mistral's thinking models send parts."""
    parts = [part for part in message["content"] if isinstance(part, dict)]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    thoughts = [text_of_thinking(part["thinking"]) for part in parts if "thinking" in part]
    flat = {**message, "content": "".join(texts)}
    return {**flat, "reasoning_content": "".join(thoughts)} if thoughts else flat


def _lacks_head(whole: _Whole) -> bool:
    return not (whole.id and whole.object and whole.created and whole.model)


def _is_odd(choice: WireChoice, capabilities: Capabilities) -> bool:
    """Whether a choice is not as clients expect it."""
    message = choice.message
    if message is None or choice.finish_reason is None or bytes(message.content).startswith(b"["):
        return True
    calls = message.tool_calls or []
    if len({call.id for call in calls}) < len(calls):
        return True
    if choice.finish_reason != true_finish(choice.finish_reason, bool(calls), capabilities):
        return True
    for call in calls:
        piece = call.function or call.custom
        if not isinstance(call.id, str) or not call.id or call.type is None or piece is None:
            return True
        if call.function is not None and not begins_object(bytes(call.function.arguments)):
            return True
    return False


def _mend_whole(value: dict[str, Any], context: RenderContext, capabilities: Capabilities) -> bytes:
    choices = [_mend_choice(choice, value, capabilities) for choice in value["choices"] if isinstance(choice, dict)]
    if not choices:
        raise UpstreamMalformed("the upstream's reply held no answer")
    return encode_body({**value, **missing_head(value, context, "chat.completion"), "choices": choices})


def _mend_choice(choice: dict[str, Any], whole: dict[str, Any], capabilities: Capabilities) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": ""}
    message = {"role": "assistant", **message}
    if isinstance(message.get("content"), list):
        message = flatten_content(message)
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        binder = CallBinder(str(whole.get("id") or ""))
        message["tool_calls"] = [_mend_call(call, index, binder) for index, call in enumerate(calls)]
    reason = choice.get("finish_reason")
    if not isinstance(reason, str):
        reason = "function_call" if message.get("function_call") else "stop"
    return {**choice, "message": message, "finish_reason": true_finish(reason, bool(calls), capabilities)}


def _mend_call(call: Any, index: int, binder: CallBinder) -> Any:
    """A whole call with an id and a type, and with arguments that are the text of an object."""
    try:
        fragment = _decode_fragment(encode_body(call))
    except UNREADABLE:
        return call
    bound, added = binder.bind(msgspec.structs.replace(fragment, index=index))
    if fragment.custom is not None:
        return {**call, "id": bound.id, "type": "custom"}
    arguments = text_of(bound.held_arguments() if bound.held else added) or "{}"
    function = {**(call.get("function") or {}), "arguments": arguments}
    return {**call, "id": bound.id, "type": call.get("type") or "function", "function": function}
