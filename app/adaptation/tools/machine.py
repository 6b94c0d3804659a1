"""Carries the name of the machine on which an upstream's own tools run.

Clients of other dialects store the name for the upstream, so the next turn finds the same files there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeGuard

import msgspec
from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.blocks import MACHINE_PROOF, Block, DialectName, Proof, Reasoning
from app.conversation.capabilities import Capabilities
from app.conversation.events import BlockClosed, BlockOpened, Event, Finished
from app.conversation.request import Extension, NativeTool, Request, Turn
from app.json_values import decode_or_none, text_decoder

# The field in which a reply names the machine and a request asks for it.
_FIELD = "container"


def adapt_machine(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """Asks for the machine of the last turn that had one. Runs after the tools have become the upstream's own."""
    request, machine = _take_names(request)
    runs = [tool for tool in request.tools if type(tool) is NativeTool and tool.server]
    if not runs or request.dialect == capabilities.dialect:
        return request
    notes.on_reply(partial(NameMachine, capabilities.dialect))
    known = machine.originals if machine is not None and capabilities.understands(machine) else ()
    # Anybody can seal a proof, so it may contain anything.
    name = decode_or_none(b"".join(known), text_decoder)
    if name is None:
        return request
    return replace(
        request, extensions=(*request.extensions, Extension(capabilities.dialect, _FIELD, name, "ignorable"))
    )


def _take_names(request: Request) -> tuple[Request, Proof | None]:
    """The request without machine names, and the last of them."""
    thoughts = [block for turn in request.turns for block in turn.blocks if type(block) is Reasoning]
    if not any(map(_names_machine, thoughts)):
        return request, None
    machine: Proof | None = None
    turns: list[Turn] = []
    for turn in request.turns:
        kept = [block for block in turn.blocks if not _names_machine(block)]
        if len(kept) < len(turn.blocks):
            machine = [block.proof for block in turn.blocks if _names_machine(block)][-1]
            turn = replace(turn, blocks=tuple(kept))
        turns.append(turn)
    return replace(request, turns=tuple(turns)), machine


def _names_machine(block: Block) -> TypeGuard[Reasoning]:
    return type(block) is Reasoning and block.proof is not None and block.proof.kind == MACHINE_PROOF


class NameMachine:
    """Adds reasoning without text, whose proof names the machine, if the end of a reply names one."""

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = dialect
        self._next = 0

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, BlockOpened):
                self._next = max(self._next, event.index + 1)
            elif isinstance(event, Finished):
                match event.extensions.get(_FIELD):
                    case {"id": str(name)} if name:
                        proof = Proof(self._dialect, MACHINE_PROOF, (msgspec.json.encode(name),))
                        out += (BlockOpened(self._next, Reasoning("", proof)), BlockClosed(self._next, proof))
            out.append(event)
        return out
