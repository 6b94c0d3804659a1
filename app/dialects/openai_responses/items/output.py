"""Renders output items of a stream, one after another."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from app.conversation.blocks import (
    CALL_PROOF,
    MACHINE_PROOF,
    Block,
    Compaction,
    Opaque,
    Proof,
    Reasoning,
    Refusal,
    ServerTool,
    Text,
    ToolCall,
)
from app.conversation.envelope import seal
from app.conversation.events import BlockClosed, BlockNoted
from app.conversation.literals import EMPTY, join, text_of
from app.conversation.steps import carry, pair
from app.dialects.openai_responses.items.content import annotation_of
from app.dialects.openai_responses.items.hosted import render_hosted
from app.dialects.openai_responses.items.items import render_call
from app.dialects.openai_responses.vocabulary import ID_PREFIXES, NAME
from app.dialects.openai_shared.logprobs import complete_logprobs

_encode = msgspec.json.Encoder().encode


class Output:
    """The events of a stream, numbered without gaps, and the finished items, in order.

    Events wait in `parts` until `take` is called. `announced` holds the ids of items that the client knows already, by
    their index. An answer that is `whole` needs only its items.
    """

    __slots__ = ("_seed", "announced", "items", "number", "parts", "whole")

    def __init__(self, seed: str, *, whole: bool = False) -> None:
        """`seed` makes item ids unique across all responses."""
        self.whole = whole
        self.parts: list[bytes] = []
        self.items: list[bytes] = []
        self.announced: dict[int, str] = {}
        self.number = 0
        self._seed = seed

    def write(self, kind: str, **fields: Any) -> None:
        if self.whole:
            return
        data = _encode({"type": kind, **fields, "sequence_number": self.number})
        self.parts.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
        self.number += 1

    def take(self) -> bytes:
        taken = b"".join(self.parts)
        self.parts.clear()
        return taken

    def mint_id(self, item_type: str) -> str:
        minted = f"{ID_PREFIXES[item_type]}_{self._seed}_{len(self.items)}"
        return self.announced.get(len(self.items), minted)

    def add_item(self, item: dict[str, Any]) -> None:
        if len(self.items) in self.announced:
            return
        self.write("response.output_item.added", output_index=len(self.items), item=item)

    def end_item(self, item: bytes) -> None:
        """Ends an item; the terminal response repeats exactly these bytes."""
        self.write("response.output_item.done", output_index=len(self.items), item=msgspec.Raw(item))
        self.items.append(item)


class OpenItem(Protocol):
    """An item that is not finished. It stays open between blocks, because the next block may belong to it."""

    # The text before and after the literal of a delta, if deltas are shown; `pieces` are the literals so far.
    prefix: bytes | None
    suffix: bytes
    pieces: list[bytes]

    def takes(self, block: Block) -> bool:
        """Whether a following block becomes part of this item."""
        ...

    def open(self, block: Block) -> None: ...

    def say(self, text: bytes) -> None:
        """Adds a delta, which is shown if there is a prefix."""
        ...

    def note(self, event: BlockNoted) -> None: ...

    def close(self, event: BlockClosed) -> None: ...

    def end(self, *, incomplete: bool) -> None:
        """Writes the item's last events. `incomplete`: a limit cut the answer here."""
        ...


def open_item(block: Block, output: Output) -> OpenItem:
    """The item that `block` begins, with its first events written."""
    item: OpenItem
    match block:
        case Text() | Refusal():
            item = _MessageItem(output, block.phase if type(block) is Text else None)
        case Reasoning():
            item = _ReasoningItem(output)
        case ToolCall(kind="function" | "custom"):
            item = _CallItem(output, block)
        case _:
            item = _WholeItems(output)
    item.open(block)
    return item


class _Item:
    """Common behaviour of items: most ignore notes and accept no second block."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.position = len(output.items)
        self.prefix: bytes | None = None
        self.suffix = b""
        self.pieces: list[bytes] = []
        self.incomplete = False

    def takes(self, block: Block) -> bool:
        return False

    def open(self, block: Block) -> None:
        pass

    def say(self, text: bytes) -> None:
        self.write_delta(text)

    def note(self, event: BlockNoted) -> None:
        pass

    def close(self, event: BlockClosed) -> None:
        self.incomplete = event.incomplete

    def status(self, incomplete: bool) -> str:
        return "incomplete" if incomplete or self.incomplete else "completed"

    def frame_deltas(self, kind: str, place: dict[str, Any], *, logprobs: bool = False) -> None:
        """Makes deltas of `kind` cheap by encoding all of the event except its text and its number once."""
        head = _encode({"type": kind, **place})[:-1]
        self.prefix = b'event: %b\ndata: %b,"delta":' % (kind.encode(), head)
        self.suffix = (b',"logprobs":[]' if logprobs else b"") + b',"sequence_number":'

    def write_delta(self, text: bytes) -> None:
        self.pieces.append(text)
        if self.prefix is not None and text != EMPTY:
            output = self.output
            output.parts.append(b"%b%b%b%d}\n\n" % (self.prefix, text, self.suffix, output.number))
            output.number += 1


class _MessageItem(_Item):
    """A message of texts and refusals."""

    def __init__(self, output: Output, phase: str | None) -> None:
        super().__init__(output)
        self._phase = phase
        self._head = {"id": output.mint_id("message"), "type": "message"}
        self._parts: list[dict[str, Any]] = []
        self._refusal = False
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        output.add_item(self._item("in_progress"))

    def takes(self, block: Block) -> bool:
        return type(block) is Refusal or (type(block) is Text and block.phase == self._phase)

    def open(self, block: Block) -> None:
        self._refusal = type(block) is Refusal
        self.pieces, self._annotations, self._logprobs = [], [], []
        if self.output.whole:
            return
        self.output.write("response.content_part.added", **self._place(), part=self._part(EMPTY))
        kind = "response.refusal.delta" if self._refusal else "response.output_text.delta"
        self.frame_deltas(kind, self._place(), logprobs=not self._refusal)

    def note(self, event: BlockNoted) -> None:
        self._logprobs += complete_logprobs(event.logprobs)
        annotation = annotation_of(event.citation) if event.citation else None
        if annotation is None:
            return
        if annotation.get("end_index") == 0:  # another dialect's citation, which covers all text before it
            annotation = {**annotation, "end_index": len(text_of(join(self.pieces)))}
        number = len(self._annotations)
        self._annotations.append(annotation)
        place = {**self._place(), "annotation_index": number, "annotation": annotation}
        self.output.write("response.output_text.annotation.added", **place)

    def close(self, event: BlockClosed) -> None:
        super().close(event)
        text = join(self.pieces)
        part = self._part(text)
        if not self.output.whole:
            self._write_end(text, part)
        self._parts.append(part)
        self.prefix = None

    def end(self, *, incomplete: bool) -> None:
        self.output.end_item(_encode(self._item(self.status(incomplete))))

    def _write_end(self, text: bytes, part: dict[str, Any]) -> None:
        place = self._place()
        if self._refusal:
            self.output.write("response.refusal.done", **place, refusal=msgspec.Raw(text))
        else:
            fields = {"text": msgspec.Raw(text), "logprobs": self._logprobs}
            self.output.write("response.output_text.done", **place, **fields)
        self.output.write("response.content_part.done", **place, part=part)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._head["id"], "output_index": self.position, "content_index": len(self._parts)}

    def _part(self, text: bytes) -> dict[str, Any]:
        if self._refusal:
            return {"type": "refusal", "refusal": msgspec.Raw(text)}
        more = {"annotations": self._annotations, "logprobs": self._logprobs}
        return {"type": "output_text", "text": msgspec.Raw(text), **more}

    def _item(self, status: str) -> dict[str, Any]:
        phase = {"phase": self._phase} if self._phase else {}
        return {**self._head, "status": status, "role": "assistant", **phase, "content": self._parts}


_ALONE = (CALL_PROOF, MACHINE_PROOF)  # proofs without a thought, which share their envelope with none


class _ReasoningItem(_Item):
    """A run of reasoning blocks, each a part of the summary; their proofs go into one envelope.

    Its first event waits for the first text: an upstream of this dialect may provide its own complete item, which is
    sent unchanged with its own id, because its encrypted content is bound to that id.
    """

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._proofs: list[Proof] = []

    def takes(self, block: Block) -> bool:
        if type(block) is not Reasoning or (block.proof is not None and block.proof.kind in _ALONE):
            return False
        return not any(proof.dialect == NAME for proof in self._proofs)

    def open(self, block: Block) -> None:
        self.pieces = []
        if type(block) is Reasoning and block.proof is not None:
            self._proofs.append(block.proof)

    def say(self, text: bytes) -> None:
        if self.prefix is not None or text == EMPTY:
            self.write_delta(text)
            return
        if self._id is None:
            self._announce()
        self.output.write("response.reasoning_summary_part.added", **self._place(), part=_summary_part(EMPTY))
        self.frame_deltas("response.reasoning_summary_text.delta", self._place())
        self.write_delta(text)

    def close(self, event: BlockClosed) -> None:
        if event.proof is not None and event.proof not in self._proofs:
            self._proofs.append(event.proof)
        if self.prefix is not None:
            text, place = join(self.pieces), self._place()
            self.output.write("response.reasoning_summary_text.done", **place, text=msgspec.Raw(text))
            self.output.write("response.reasoning_summary_part.done", **place, part=_summary_part(text))
            self._parts.append(_summary_part(text))
            self.prefix = None
        elif self.pieces and event.proof is None:
            self._proofs.append(_plain_proof(join(self.pieces)))

    def end(self, *, incomplete: bool) -> None:
        native = self._proofs[0] if len(self._proofs) == 1 else None
        if self._id is None and native is not None and _is_item(native):
            self.output.add_item({**msgspec.to_builtins(_head_decoder.decode(native.originals[0])), "summary": []})
            self.output.end_item(native.originals[0])
            return
        if not self._parts and not self._proofs:
            return
        if self._id is None:
            self._announce()
        proof = _join_proofs(self._proofs) or _plain_proof(b'"' + b"\\n\\n".join(self._texts()) + b'"')
        self.output.end_item(_encode({**self._item(), "summary": self._parts, "encrypted_content": seal(proof)}))

    def _announce(self) -> None:
        self._id = self.output.mint_id("reasoning")
        self.output.add_item({**self._item(), "summary": []})

    def _item(self) -> dict[str, Any]:
        return {"id": self._id, "type": "reasoning"}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self.position, "summary_index": len(self._parts)}

    def _texts(self) -> list[bytes]:
        return [bytes(part["text"])[1:-1] for part in self._parts]


class _CallItem(_Item):
    """A call of a function or of a custom tool."""

    def __init__(self, output: Output, call: ToolCall) -> None:
        super().__init__(output)
        self._call = msgspec.structs.replace(call, arguments="")
        self._custom = call.kind == "custom"
        self._id = output.mint_id("custom_tool_call" if self._custom else "function_call")
        self._place = {"item_id": self._id, "output_index": self.position}
        output.add_item(self._item(b"", "in_progress"))
        kind = "custom_tool_call_input" if self._custom else "function_call_arguments"
        self.frame_deltas(f"response.{kind}.delta", self._place)
        self._done = f"response.{kind}.done"

    def close(self, event: BlockClosed) -> None:
        super().close(event)
        if not self._custom and join(self.pieces) == EMPTY:
            self.write_delta(b'"{}"')  # clients expect at least one delta
        self.prefix = None

    def end(self, *, incomplete: bool) -> None:
        text = join(self.pieces)
        fields = (
            {"input": msgspec.Raw(text)} if self._custom else {"name": self._call.name, "arguments": msgspec.Raw(text)}
        )
        self.output.write(self._done, **self._place, **fields)
        self.output.end_item(_encode(self._item(text, self.status(incomplete))))

    def _item(self, text: bytes, status: str) -> dict[str, Any]:
        item = render_call(self._call, self._id, status)
        item["input" if self._custom else "arguments"] = msgspec.Raw(text or EMPTY)
        return item


class _WholeItems(_Item):
    """Items written at once when they are complete: native calls, compactions, steps of the upstream."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._block: Block = Text("")
        self._proof: Proof | None = None
        self._steps: list[ServerTool] = []

    def takes(self, block: Block) -> bool:
        return type(block) is ServerTool and bool(self._steps) and block.dialect == self._steps[0].dialect

    def open(self, block: Block) -> None:
        self._block = block
        if type(block) is ServerTool and block.dialect != NAME:
            self._steps.append(block)

    def close(self, event: BlockClosed) -> None:
        super().close(event)
        self._proof = event.proof

    def end(self, *, incomplete: bool) -> None:
        match self._block:
            case ToolCall() as call:
                self._write_call(call, incomplete)
            case Compaction() as block:
                self._write_compaction(block)
            case ServerTool(dialect="openai_responses", raw=raw) | Opaque(dialect="openai_responses", raw=raw):
                self.output.add_item(msgspec.json.decode(raw))
                self.output.end_item(raw)
            case ServerTool():
                self._write_steps()

    def _write_call(self, call: ToolCall, incomplete: bool) -> None:
        call = msgspec.structs.replace(call, arguments=text_of(join(self.pieces)))
        item_type = f"{call.kind}_call"
        item = render_call(call, self.output.mint_id(item_type), self.status(incomplete))
        self.output.add_item({**item, "status": "in_progress"})
        self.output.end_item(_encode(item))

    def _write_compaction(self, block: Compaction) -> None:
        proof = self._proof or block.proof or Proof(NAME, "compaction", (join(self.pieces),))
        if proof.dialect == NAME and proof.originals[0][:1] == b"{":
            item = proof.originals[0]
        else:
            head = {"id": self.output.mint_id("compaction"), "type": "compaction"}
            item = _encode({**head, "encrypted_content": seal(proof)})
        self.output.add_item(msgspec.json.decode(item))
        self.output.end_item(item)

    def _write_steps(self) -> None:
        """Writes the steps of another vendor's server tools as items, followed by an envelope with all of them, which
        that vendor needs back with the next turn."""
        for call, result in pair([step.step for step in self._steps if step.step is not None]):
            item = render_hosted(call, result, self.output.mint_id)
            self.output.add_item({**item, "status": "in_progress"})
            self.output.end_item(_encode(item))
        proof = carry(self._steps)
        if proof is not None:
            carrier = {"id": self.output.mint_id("reasoning"), "type": "reasoning", "summary": []}
            self.output.add_item(carrier)
            self.output.end_item(_encode({**carrier, "encrypted_content": seal(proof)}))


def _summary_part(text: bytes) -> dict[str, Any]:
    return {"type": "summary_text", "text": msgspec.Raw(text)}


def _plain_proof(text: bytes) -> Proof:
    """The proof for unproven reasoning. Clients keep an item only if it has encrypted content."""
    return Proof("openai_chat", "plain", (text,))


def _join_proofs(proofs: list[Proof]) -> Proof | None:
    """One proof that combines several from the same upstream, in order."""
    if not proofs:
        return None
    first = next((proof for proof in proofs if proof.kind != "plain"), proofs[0])
    originals = tuple(original for proof in proofs if proof.dialect == first.dialect for original in proof.originals)
    return msgspec.structs.replace(first, originals=originals)


def _is_item(proof: Proof) -> bool:
    return proof.dialect == NAME and len(proof.originals) == 1 and proof.originals[0][:1] == b"{"


class _Head(msgspec.Struct):
    id: str | None = None
    type: str = "reasoning"


_head_decoder = msgspec.json.Decoder(_Head)
