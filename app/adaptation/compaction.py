"""Compacts a history for upstreams without that operation: asks for a summary and makes it the compaction block."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.blocks import Compaction, Text
from app.conversation.capabilities import Capabilities
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Failed, Finished
from app.conversation.literals import EMPTY
from app.conversation.request import SUMMARY_PROMPT, Request, ToolChoice, Turn
from app.errors import UpstreamMalformed

_PARAGRAPH = b'"\\n\\n"'


def adapt_compaction(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if not request.compact:
        return request
    if request.dialect == capabilities.dialect and capabilities.dialect in capabilities.proofs:
        return request  # the vendor itself, whose summaries only it can read
    notes.on_reply(SummaryAsCompaction)
    path = request.turns[-1].path if request.turns else ""
    asked = Turn("user", (Text(SUMMARY_PROMPT + _own_words(request)),), path=path)
    return replace(
        request,
        compact=False,
        turns=(*request.turns, asked),
        # The tools stay declared: past calls and the cached prefix may need them.
        tool_choice=ToolChoice("none") if request.tools else None,
        parallel_tool_calls=None,
        output_format=None,
    )


def _own_words(request: Request) -> str:
    """The client's own instructions for the summary, if its dialect has a field for them."""
    for extension in request.extensions:
        match extension.name, extension.value:
            case "compaction", {"instructions": str(words)} if words.strip():
                return f"\n\n{words}"
    return ""


class SummaryAsCompaction:
    """Turns all visible text into one compaction; thoughts and calls are left out."""

    def __init__(self) -> None:
        self._texts: set[int] = set()
        self._opened = False
        self._said = False

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockOpened(block=Text()):
                    self._open(out)
                    self._texts.add(event.index)
                case BlockDelta() if event.index in self._texts:
                    self._said = self._said or event.text != EMPTY
                    out.append(BlockDelta(0, event.text))
                case BlockOpened() | BlockDelta() | BlockNoted() | BlockClosed():
                    pass
                case Finished():
                    out += self._finish(event)
                case _:
                    out.append(event)
        return out

    def _open(self, out: list[Event]) -> None:
        out.append(BlockDelta(0, _PARAGRAPH) if self._opened else BlockOpened(0, Compaction(None)))
        self._opened = True

    def _finish(self, event: Finished) -> list[Event]:
        if not self._said:
            return [Failed(UpstreamMalformed("the upstream returned no summary of the conversation").failure)]
        return [BlockClosed(0), replace(event, finish_reason="compaction", raw_finish_reason=None)]
