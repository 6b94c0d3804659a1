"""What a request still needs for an upstream of the same dialect.

Bytes that need nothing pass as they are. An outline of the request, one fast pass, tells whether it holds trouble; only
then it is taken apart, down to the block that needs a change, and every other block keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.envelope import PREFIX, is_sealed, unseal
from app.conversation.losses import Loss
from app.conversation.steps import SERVER_TOOL
from app.dialects.anthropic_messages.cache_marks import MARK, MOST_MARKS, limit_marks
from app.dialects.anthropic_messages.vocabulary import NAME, SERVER_CALLS, SERVER_RESULT_ENDING
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import (
    Fields,
    encode_body,
    fields_decoder,
    list_decoder,
    read_body,
    read_value,
    repair_surrogates,
    replace_model,
)
from app.errors import Unsupported

BILLING_PREFIX = "x-anthropic-billing-header"

_EMPTY = b'""'
_SEALED = b'"' + PREFIX.encode()
_EMPTY_TEXT = re.compile(rb'"text"\s*:\s*""')
_REASONING = ("thinking", "redacted_thinking")


class _Head(msgspec.Struct):
    """What decides whether a block may stay; the rest of it is skipped, not decoded."""

    type: str = ""
    text: msgspec.Raw = msgspec.Raw()
    signature: str | None = None
    data: str | msgspec.UnsetType | None = msgspec.UNSET
    cache_control: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    citations: msgspec.Raw = msgspec.Raw()


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[_Head] | None = None


class _Thinking(msgspec.Struct):
    type: str = ""


class _Outline(msgspec.Struct):
    """A request as far as trouble hides in it."""

    thread: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    thinking: _Thinking | None = None
    max_tokens: int | None = None
    messages: list[_Turn] = []


_outline_decoder = msgspec.json.Decoder(_Outline)
_head_decoder = msgspec.json.Decoder(_Head)
_turn_decoder = msgspec.json.Decoder(_Turn)
_text_decoder = msgspec.json.Decoder(str)


def patch_request(body: bytes, capabilities: Capabilities) -> RenderedRequest:
    """A client's body for an upstream of the same dialect: its model name, and repairs where the body needs them.

    Dropped: reasoning that the upstream did not sign, empty texts, cache hints on reasoning, the billing line of Claude
    Code for others than the vendor. Replaced: escaped halves of surrogate pairs, for which the vendor refuses a body.
    Raises Unsupported for a `thread`, where the upstream holds none.
    """
    losses: list[Loss] = []
    outline = _read_outline(body)
    if outline is None:
        body = repair_surrogates(body)
        outline = _read_outline(body) or _Outline()  # a body of an unexpected shape is the upstream's to judge
    if _needs_patch(outline, capabilities) or body.count(MARK) > MOST_MARKS:
        body = encode_body(_patch_fields(read_body(body), outline, capabilities, losses))
    return RenderedRequest(replace_model(body, capabilities.model) if capabilities.model else body, {}, tuple(losses))


def _read_outline(body: bytes) -> _Outline | None:
    try:
        return _outline_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _needs_patch(outline: _Outline, capabilities: Capabilities) -> bool:
    judge = _Judge(capabilities)
    return (
        (not capabilities.first_party and bool(bytes(outline.thread)))
        or (not capabilities.keep_billing and BILLING_PREFIX.encode() in bytes(outline.system))
        or _is_above(outline.max_tokens, capabilities.max_output)
        or bool(capabilities.refused_fields or capabilities.extra_body or capabilities.stream_only)
        or _has_empty(outline.system)
        or any(judge.objects_to(turn) for turn in outline.messages)
        or _lacks_lead(outline.messages, outline.thinking)
    )


class _Judge:
    """Decides about blocks, by what the upstream does with reasoning.

    Claude takes only what it signed itself. Servers that demand reasoning back take any, but our own seals are nothing
    to them.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._required = capabilities.reasoning_required
        self._signed = NAME in capabilities.proofs

    def objects_to(self, turn: _Turn) -> bool:
        blocks = turn.content
        if not isinstance(blocks, list):
            return False
        if turn.role == "assistant" and self._required and _lacks_reasoning(blocks):
            return True
        return any(not self.may_stay(block) or self.unwanted_fields(block) or _holds_empty(block) for block in blocks)

    def may_stay(self, block: _Head) -> bool:
        match block.type:
            case "text":
                return bytes(block.text) != _EMPTY
            case "thinking":
                return self._required or (
                    self._signed and bool(block.signature) and not is_sealed(block.signature or "")
                )
            case "redacted_thinking":
                sealed = isinstance(block.data, str) and is_sealed(block.data)
                return not sealed and (self._required or self._signed)
            case _:
                return True

    def unwanted_fields(self, block: _Head) -> tuple[str, ...]:
        """Fields that must not go along with a block that may stay."""
        if block.type == "text" and _SEALED in bytes(block.citations):
            return ("citations",)  # of another vendor's answer
        if block.type not in _REASONING:
            return ()
        sealed = ("signature",) if is_sealed(block.signature or "") else ()
        return (*sealed, "cache_control") if bytes(block.cache_control) else sealed


def _holds_empty(block: _Head) -> bool:
    """Whether a tool's result is a list with empty texts in it; a result as a string may be empty."""
    return block.type == "tool_result" and bytes(memoryview(block.content)[:1]) == b"[" and _has_empty(block.content)


def _has_empty(texts: msgspec.Raw) -> bool:
    return _EMPTY_TEXT.search(memoryview(texts)) is not None


def _lacks_reasoning(content: str | list[_Head] | None) -> bool:
    types = {block.type for block in content} if isinstance(content, list) else ()
    return "tool_use" in types and "thinking" not in types


def _lacks_lead(turns: Sequence[_Turn], thinking: _Thinking | None) -> bool:
    """Whether manual thinking is on, but the last turn of a tool loop does not begin with reasoning, as it must."""
    if thinking is None or thinking.type != "enabled":
        return False
    for turn in reversed(turns):
        if turn.role == "assistant" and isinstance(turn.content, list) and turn.content:
            called = any(block.type == "tool_use" for block in turn.content)
            return called and turn.content[0].type not in _REASONING
    return False


def _is_above(asked: int | None, limit: int | None) -> bool:
    return asked is not None and limit is not None and asked > limit


def _patch_fields(fields: Fields, outline: _Outline, capabilities: Capabilities, losses: list[Loss]) -> Fields:
    if not capabilities.first_party and bytes(fields.get("thread", b"null")) != b"null":
        raise Unsupported("thread: this upstream holds no conversations; send the whole history", param="thread")
    if not capabilities.keep_billing and BILLING_PREFIX.encode() in bytes(outline.system):
        _drop_billing(fields)
    if "system" in fields and _has_empty(fields["system"]):
        fields["system"] = _without_empty(fields["system"])
        if bytes(fields["system"]) == b"[]":
            del fields["system"]
    if _is_above(outline.max_tokens, capabilities.max_output):
        fields["max_tokens"] = msgspec.Raw(str(capabilities.max_output).encode())
        why = f"the model answers with {capabilities.max_output} tokens at most"
        lowered = (outline.max_tokens or 0, capabilities.max_output or 0)
        losses.append(Loss("degrading", "max_tokens", why, lowered))
    if outline.messages:
        _patch_messages(fields, capabilities)
        turns = _outline_decoder.decode(msgspec.json.encode({"messages": fields["messages"]})).messages
        if not capabilities.reasoning_required and _lacks_lead(turns, outline.thinking):
            del fields["thinking"]
            losses.append(Loss("degrading", "thinking", "the history no longer holds the reasoning of its last turn"))
    if limit_marks(fields):
        losses.append(Loss("ignorable", "cache_control", f"only {MOST_MARKS} marks are taken: the earliest go"))
    if capabilities.stream_only:
        fields["stream"] = msgspec.Raw(b"true")
    for name in capabilities.refused_fields:
        if fields.pop(name, None) is not None:
            losses.append(Loss("ignorable", name, "the upstream refuses this field"))
    for name, value in capabilities.extra_body.items():
        fields[name] = msgspec.Raw(msgspec.json.encode(value))
    return fields


def _drop_billing(fields: Fields) -> None:
    """Remove Claude Code's line with a hash of each request, which would spoil every prefix cache."""
    system = fields["system"]
    line = f'"{BILLING_PREFIX}'.encode()
    kept: Any
    if bytes(system).startswith(b'"'):
        first, _, rest = read_value(system, _text_decoder, "system").partition("\n")
        kept = rest.lstrip("\n") if first.startswith(BILLING_PREFIX) else None
    else:
        blocks = read_value(system, list_decoder, "system")
        spoken = [raw for raw in blocks if not bytes(_head_decoder.decode(raw).text).startswith(line)]
        kept = None if len(spoken) == len(blocks) else spoken
    if kept:
        fields["system"] = msgspec.Raw(msgspec.json.encode(kept))
    elif kept is not None:
        del fields["system"]


def _patch_messages(fields: Fields, capabilities: Capabilities) -> None:
    """Put judged messages in place. One that loses its last block goes; untouched ones keep their bytes."""
    judge = _Judge(capabilities)
    kept: list[Any] = []
    messages: list[msgspec.Raw] = list_decoder.decode(fields["messages"])
    for raw in messages:
        turn = _turn_decoder.decode(raw)
        if not judge.objects_to(turn):
            kept.append(raw)
            continue
        message = fields_decoder.decode(raw)
        blocks = _patch_blocks(list_decoder.decode(message["content"]), judge)
        if capabilities.reasoning_required and turn.role == "assistant" and _lacks_reasoning(turn.content):
            blocks.insert(0, msgspec.Raw(b'{"type":"thinking","thinking":""}'))
        if blocks:
            kept.append({**message, "content": blocks})
    fields["messages"] = msgspec.Raw(msgspec.json.encode(kept))


def _patch_blocks(blocks: Sequence[msgspec.Raw], judge: _Judge) -> list[msgspec.Raw]:
    kept: list[msgspec.Raw] = []
    for raw in blocks:
        block = _head_decoder.decode(raw)
        if not judge.may_stay(block):
            if isinstance(block.data, str) and _carries_steps(block.data):
                while kept and _is_step(_head_decoder.decode(kept[-1]).type):
                    kept.pop()  # what the client was shown of another vendor's tools
            continue
        if unwanted := judge.unwanted_fields(block):
            fields = fields_decoder.decode(raw)
            raw = msgspec.Raw(msgspec.json.encode({name: fields[name] for name in fields if name not in unwanted}))
        if _holds_empty(block):
            fields = fields_decoder.decode(raw)
            raw = msgspec.Raw(msgspec.json.encode({**fields, "content": _without_empty(block.content)}))
        kept.append(raw)
    return kept


def _carries_steps(data: str) -> bool:
    proof = unseal(data)
    return proof is not None and proof.kind == SERVER_TOOL


def _is_step(kind: str) -> bool:
    return kind in SERVER_CALLS or (kind.endswith(SERVER_RESULT_ENDING) and kind != "tool_result")


def _without_empty(texts: msgspec.Raw) -> msgspec.Raw:
    """A list of blocks without its empty texts; anything else as it is."""
    try:
        blocks: list[msgspec.Raw] = list_decoder.decode(texts)
        kept = [raw for raw in blocks if bytes(_head_decoder.decode(raw).text) != _EMPTY]
    except msgspec.DecodeError:
        return texts
    return msgspec.Raw(msgspec.json.encode(kept))
