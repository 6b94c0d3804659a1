"""The repair of replies for clients of the same dialect: of whole ones, and of what streams share with
them.

A clean reply keeps its bytes. One at which clients crash or stop is taken apart, and what is wrong with it set right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import text_of
from app.dialects.error_bodies import find_error
from app.dialects.error_kinds import decode_error, judge_error, judge_reported
from app.dialects.json_bodies import encode_body, repair_surrogates, repair_text, replace_model
from app.dialects.malformed import decode_tolerantly, malformed, no_answer
from app.dialects.openai_chat.replies.reply_parts import is_odd_content, read_parts
from app.dialects.openai_chat.replies.tool_calls import CallBinder, begins_object
from app.dialects.openai_chat.vocabulary import (
    FINISH_NAMES,
    CallFragment,
    WireChoice,
    WireDelta,
    calls_of,
    errors_in,
    read_finish,
)
from app.errors import UpstreamMalformed, UpstreamRefused

_any = msgspec.json.Decoder().decode
_HALVES = re.compile(rb"\\u[dD]")
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Whole(msgspec.Struct):
    """What is looked at in a whole reply."""

    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[WireChoice] | None = None
    error: msgspec.Raw = msgspec.Raw()
    base_resp: msgspec.Raw = msgspec.Raw()


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_fragment = msgspec.json.Decoder(CallFragment).decode


def repair_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> bytes:
    """A whole reply for the client: the model's name as the client knows it, and all else as the contract has it.

    Raises UpstreamRefused for an error inside a reply of status 200, UpstreamMalformed for what is no reply.
    """
    body = repair_text(body)
    # The first search is for one byte, and by far the quickest.
    if b"\\" in body and _HALVES.search(body) is not None:
        body = repair_surrogates(body)
    try:
        whole = decode_tolerantly(_decode_whole, body)
    except UNREADABLE as error:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure) from error
        raise malformed("a chat reply", body) from error
    for told_error in errors_in(whole.error, whole.choices):
        if value := _any(told_error):
            raise UpstreamRefused(judge_reported(value, body))
    if (not whole.choices or len(whole.base_resp)) and (
        told := find_error(_any(body), answered=bool(whole.choices))
    ) is not None:
        raise UpstreamRefused(judge_error(0, told))
    if not whole.choices or all(_is_void(choice) for choice in whole.choices):
        raise no_answer(body)
    joins = len(whole.choices) > 1 and not context.several
    if joins or _lacks_head(whole) or any(_is_odd(choice, capabilities) for choice in whole.choices):
        body = _mend_whole(_any(body), context, capabilities, joins=joins)
        return replace_model(body, context.model)
    return replace_model(body, context.model, old=whole.model)


def _is_void(choice: WireChoice) -> bool:
    """Whether a choice of a whole reply has no place for an answer."""
    return choice.message is None and choice.delta is None and bytes(choice.text) in (b"", b"null")


def true_finish(reason: str, called: bool, capabilities: Capabilities) -> str:
    """The reason that fits what came, in the words of the contract: agents run tools only at "tool_calls", and would
    loop at it without any.

    OpenAI itself says "stop" where a tool was forced by name, as documented; what it says stays. Raises
    UpstreamMalformed for a reason that is no end.
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
    """The fields that every reply and every chunk begins with, as far as the server left them out or empty."""
    named = {"id": f"chatcmpl-{context.id}", "object": kind, "created": context.created, "model": context.model}
    return {name: ours for name, ours in named.items() if not value.get(name) or type(value[name]) is not type(ours)}


def flatten_content(message: dict[str, Any], calls_before: int = 0) -> dict[str, Any]:
    """A message or delta whose content is a text, for clients join it; other vendors' parts go where they belong."""
    said = [*read_parts(message.get("content"))]
    flat: dict[str, Any] = {**message, "content": "".join(one.text for one in said if one.kind == "text")}
    if thoughts := "".join(one.text for one in said if one.kind == "reasoning"):
        flat["reasoning_content"] = thoughts
    if refusal := "".join(one.text for one in said if one.kind == "refusal"):
        flat["refusal"] = refusal
    calls = [one for one in said if one.kind == "call"]
    if calls:
        known = message.get("tool_calls") or []
        made = [
            {
                "index": calls_before + len(known) + position,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.text},
            }
            for position, call in enumerate(calls)
        ]
        flat["tool_calls"] = [*known, *made]
    return flat


def join_messages(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One message of those of several choices, where one was asked for: what they say one after the other."""
    joined: dict[str, Any] = {}
    for message in messages:
        for name, value in message.items():
            match joined.get(name), value:
                case (str() as before, str()) if name != "role":
                    joined[name] = before + value
                case ([*before], [*_]):
                    joined[name] = before + value
                case (None, _):
                    joined[name] = value
    return joined


def _lacks_head(whole: _Whole) -> bool:
    return not (whole.id and whole.object and whole.created and whole.model)


def _is_odd(choice: WireChoice, capabilities: Capabilities) -> bool:
    """Whether a choice is not as clients expect it."""
    message = choice.message
    if message is None or choice.finish_reason is None or is_odd_content(message.content):
        return True
    if isinstance(message.tool_calls, CallFragment):
        return True
    calls = message.tool_calls or []
    if len(calls) > 1 and len({call.id for call in calls}) < len(calls):
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


def _mend_whole(value: dict[str, Any], context: RenderContext, capabilities: Capabilities, *, joins: bool) -> bytes:
    choices = [choice for choice in value["choices"] if isinstance(choice, dict)]
    if joins:
        reasons = [reason for choice in choices if isinstance(reason := choice.get("finish_reason"), str)]
        telling = next((word for word in reasons if read_finish(word) not in ("stop", "tool_calls")), None)
        message = join_messages([_message_of(choice) for choice in choices])
        choices = [
            {**choices[0], "index": 0, "message": message, "finish_reason": telling or next(iter(reasons), None)}
        ]
    mended = [_mend_choice(choice, value, capabilities) for choice in choices]
    return encode_body({**value, **missing_head(value, context, "chat.completion"), "choices": mended})


def _message_of(choice: dict[str, Any]) -> dict[str, Any]:
    message = next((choice[name] for name in ("message", "delta") if isinstance(choice.get(name), dict)), None)
    if message is None:
        message = {"content": choice.get("text") or ""}
    message = {"role": "assistant", "content": None, **message}
    if isinstance(message.get("tool_calls"), dict):
        message["tool_calls"] = [message["tool_calls"]]
    content = message.get("content")
    return message if content is None or isinstance(content, str) else flatten_content(message)


def _mend_choice(choice: dict[str, Any], whole: dict[str, Any], capabilities: Capabilities) -> dict[str, Any]:
    message = _message_of(choice)
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
    fragment = calls_of(WireDelta(tool_calls=fragment))[0]
    bound, added = binder.bind(msgspec.structs.replace(fragment, index=index))
    if fragment.custom is not None:
        return {**call, "id": bound.id, "type": "custom"}
    arguments = text_of(bound.held_arguments() if bound.held else added) or "{}"
    function = {"name": bound.name, **(call.get("function") or {}), "arguments": arguments}
    rest = {name: value for name, value in call.items() if name not in ("name", "arguments", "input", "index")}
    return {**rest, "id": bound.id, "type": call.get("type") or "function", "function": function}
