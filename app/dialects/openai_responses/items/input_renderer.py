"""Renders turns as input items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.blocks import (
    Block,
    Compaction,
    Opaque,
    Proof,
    Reasoning,
    Refusal,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
)
from app.conversation.capabilities import Capabilities
from app.conversation.literals import as_object, is_object
from app.conversation.losses import Loss
from app.conversation.request import Request, Turn
from app.conversation.steps import SERVER_TOOL
from app.dialects.openai_responses.items.content import (
    PART_PREFIX,
    annotation_of,
    render_parts,
)
from app.dialects.openai_responses.items.items import render_call, summary_message, valid_json
from app.dialects.openai_responses.vocabulary import (
    NAME,
    NATIVE_CALLS,
    has_foreign_id,
    item_decoder,
    mint_id,
)

_NULL_CONTENT = re.compile(rb'"content"\s*+:\s*+null')
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def render_turn(
    turn: Turn, position: int, request: Request, capabilities: Capabilities, losses: list[Loss]
) -> list[Any]:
    """Input items of one turn, in the order of its blocks; `position` is the index of the first one in the input."""
    if turn.name is not None:
        losses.append(Loss("ignorable", turn.path, "this dialect has no message names"))
    if turn.role == "assistant":
        return _AssistantItems(turn, position, request, capabilities, losses).render()
    items: list[Any] = []
    spoken: list[Block] = []
    for block in turn.blocks:
        if isinstance(block, ToolResult):
            told = (block.extensions or {}) if request.dialect == NAME else {}
            items.append({**_render_result(block, capabilities, losses, turn.path), **told})
        elif isinstance(block, Opaque) and block.dialect == NAME and not block.type.startswith(PART_PREFIX):
            items.append(msgspec.Raw(block.raw))
        else:
            spoken.append(block)
    if spoken:
        role = capabilities.system_role if turn.role == "system" else "user"
        parts = render_parts(spoken, capabilities, losses, turn.path)
        items.append({"type": "message", "role": role, "content": parts})
    return items


class _AssistantItems:
    """The items of one assistant turn. Consecutive texts are parts of one message."""

    def __init__(
        self, turn: Turn, position: int, request: Request, capabilities: Capabilities, losses: list[Loss]
    ) -> None:
        self._turn = turn
        self._position = position
        self._own = request.dialect == NAME
        # A server can look up only what it stored.
        self._stored = self._own and capabilities.store and request.state.store is not False
        self._capabilities = capabilities
        self._losses = losses
        self._items: list[Any] = []
        self._last = request.turns[-1] if request.turns else None
        self._followed = 0  # number of items up to the last one that is not reasoning
        self._parts: list[dict[str, Any]] = []
        self._phase: str | None = None

    def render(self) -> list[Any]:
        for block in self._turn.blocks:
            match block:
                case Text():
                    self._say(_text_part(block), block.phase)
                case Refusal(text=text):
                    self._say({"type": "refusal", "refusal": text}, self._phase)
                case _:
                    self._end_message()
                    self._items.extend(self._render_block(block))
                    if not isinstance(block, Reasoning) or (block.proof and block.proof.kind == SERVER_TOOL):
                        self._followed = len(self._items)
        self._end_message()
        if self._followed < len(self._items) and self._turn is not self._last:
            # An interrupted thought: the vendor refuses reasoning without a following item.
            del self._items[self._followed :]
            self._losses.append(
                Loss("ignorable", self._turn.path, "reasoning without an answer or a call is not replayed")
            )
        return self._items

    def _say(self, part: dict[str, Any], phase: str | None) -> None:
        if phase != self._phase:
            self._end_message()
        self._phase = phase
        self._parts.append(part)

    def _end_message(self) -> None:
        if self._parts:
            message = {"type": "message", "id": self._mint_id("message", msgspec.json.encode(self._parts).decode())}
            message |= {"role": "assistant", "status": "completed"}
            phase = {"phase": self._phase} if self._phase else {}
            self._items.append({**message, **phase, "content": self._parts})
            self._followed = len(self._items)
        self._parts, self._phase = [], None

    def _with_object_arguments(self, call: ToolCall) -> ToolCall:
        """A function call with an object as arguments, which servers with templates require. Clients of this dialect
        get theirs back unchanged."""
        if call.kind != "function" or self._own or is_object(call.arguments or "{}"):
            return call
        return msgspec.structs.replace(call, arguments=as_object(call.arguments)[0])

    def _render_block(self, block: Block) -> list[Any]:
        match block:
            case ToolCall():
                if block.kind not in ("function", "custom") and not valid_json(block.arguments or "{}", b""):
                    self._losses.append(
                        Loss("degrading", self._turn.path, f"the arguments of {block.id!r} are not JSON")
                    )
                told = (block.extensions or {}) if self._own else {}
                return [{**render_call(self._with_object_arguments(block)), **told}]
            case Reasoning():
                return self._render_reasoning(block)
            case Compaction(proof=Proof(dialect="openai_responses", originals=originals)) if originals[0][:1] == b"{":
                return [msgspec.Raw(original) for original in originals]
            case Compaction(text=text) if text:
                return [summary_message(text)]
            case Opaque(dialect="openai_responses", type="item_reference") if not self._stored:
                self._losses.append(Loss("degrading", self._turn.path, "the upstream does not store items"))
                return []
            case ServerTool(dialect="openai_responses", raw=raw) | Opaque(dialect="openai_responses", raw=raw):
                return [msgspec.Raw(raw)]
            case _:
                kind = block.type if isinstance(block, Opaque) else type(block).__name__
                self._losses.append(Loss("degrading", self._turn.path, f"this dialect cannot express a {kind} block"))
                return []

    def _render_reasoning(self, block: Reasoning) -> list[Any]:
        proof = block.proof
        native = proof is not None and proof.dialect == NAME and proof.originals[0][:1] == b"{"
        if native and self._capabilities.first_party and self._own:
            native = not _is_invented(block)
        if proof is not None and native and (proof.kind in ("reasoning", "compaction", SERVER_TOOL) or self._stored):
            own = self._capabilities.first_party
            return [msgspec.Raw(original if own else _without_null(original)) for original in proof.originals]
        if block.text and self._capabilities.reasoning_replay != "none":
            part = {"type": "reasoning_text", "text": block.text}
            item_id = self._mint_id("reasoning", block.text)
            return [{"type": "reasoning", "id": item_id, "summary": [], "content": [part]}]
        self._losses.append(
            Loss("ignorable", self._turn.path, "reasoning that this upstream did not sign is not replayed")
        )
        return []

    def _mint_id(self, item_type: str, text: str) -> str:
        """An id seeded with the position in the input, because two equal messages must not share an id."""
        return mint_id(item_type, f"{self._position + len(self._items)} {text}")


def _render_result(result: ToolResult, capabilities: Capabilities, losses: list[Loss], path: str) -> dict[str, Any]:
    output = _render_output(result.hinted_blocks, capabilities, losses, path)
    if result.kind == "function":
        return {"type": "function_call_output", "call_id": result.call_id, "output": output}
    item = {"type": NATIVE_CALLS[result.kind][2], "call_id": result.call_id}
    match result.kind:
        case "tool_search":
            tools = valid_json(output, b"[]") if isinstance(output, str) and output.startswith("[") else b"[]"
            return {**item, "execution": "client", "status": "completed", "tools": msgspec.Raw(tools)}
        case "apply_patch":
            return {**item, "status": "failed" if result.is_error else "completed", "output": output}
        case "shell" if isinstance(output, str):
            fields = {"stdout": output, "stderr": "", "outcome": {"type": "exit", "exit_code": int(result.is_error)}}
            listed = valid_json(output, b"") if output.startswith("[") else b""
            return {**item, "output": msgspec.Raw(listed) if listed else [fields]}
    return {**item, "output": output}


def _render_output(blocks: Sequence[Block], capabilities: Capabilities, losses: list[Loss], path: str) -> Any:
    """A string if there is only text, else parts."""
    hinted = capabilities.cache_hints == "breakpoint"
    if all(isinstance(block, Text) and not (hinted and block.cache) for block in blocks):
        return "\n".join(block.text for block in blocks if isinstance(block, Text))
    return render_parts(blocks, capabilities, losses, path)


def _text_part(block: Text) -> dict[str, Any]:
    annotations = [annotation for citation in block.citations if (annotation := annotation_of(citation))]
    return {"type": "output_text", "text": block.text, "annotations": annotations}


def _is_invented(block: Reasoning) -> bool:
    """Whether the vendor never made this item: a library gave the thoughts of another model a name of its own."""
    assert block.proof is not None
    wire = item_decoder.decode(block.proof.originals[0])
    return not wire.encrypted_content and has_foreign_id("reasoning", wire.id)


def _without_null(item: bytes) -> bytes:
    """Reasoning without a content of null, which Codex sends, and servers of other vendors refuse."""
    if _NULL_CONTENT.search(item) is None:
        return item
    fields = _fields_decoder.decode(item)
    return msgspec.json.encode({name: value for name, value in fields.items() if bytes(value) != b"null"})
