"""Random conversations and answers: of every kind of block that a dialect can say, in orders that occur.

Each word in them is another, so that whatever is lost can be seen.
"""

from __future__ import annotations

import base64
import json

import msgspec
from hypothesis import strategies as st

from app.conversation.blocks import (
    Block,
    Compaction,
    DialectName,
    File,
    Image,
    Inline,
    PlainText,
    Proof,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Step,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.request import CustomTool, FunctionTool, Request, Tool, Turn
from app.conversation.response import Response, Usage
from tests.laws.cases import form_of

# What a dialect can say depends on its form; proofs name the dialect that they come from.
A, C, R = "messages", "chat", "items"
CLAUDE, RESPONSES = "anthropic_messages", "openai_responses"

_numbers = st.integers(0, 10**9)
words = _numbers.map(lambda number: f'w{number} "\\é😀\n</x>')
_images = _numbers.map(lambda number: Image(Inline("image/png", _data(b"\x89PNG\r\n\x1a\n", number))))
_links = _numbers.map(lambda number: Image(Url(f"https://pages.test/{number}.png")))
_papers = _numbers.map(lambda number: File(Inline("application/pdf", _data(b"%PDF-", number)), f"{number}.pdf"))
_notes = st.builds(lambda text, number: File(PlainText(text), f"{number}.txt"), words, _numbers)
_found = st.builds(
    lambda text, number: SearchResult(f"t{number}", f"https://x/{number}", (Text(text),)), words, _numbers
)
_texts = words.map(Text)

_media: dict[str, list[st.SearchStrategy[Block]]] = {
    A: [_images, _links, _papers, _notes, _found],
    C: [_images, _links, _papers],
    R: [_images, _links, _papers],
}


def _data(start: bytes, number: int) -> str:
    return base64.b64encode(start + str(number).encode()).decode()


def _cited(text: str, number: int) -> Text:
    page = {"type": "url_citation", "url": f"https://c/{number}", "title": "t", "start_index": 0, "end_index": 1}
    return Text(text, citations=(page,))


def _cited_by_claude(text: str, number: int) -> Text:
    page = {"type": "web_search_result_location", "url": f"https://c/{number}", "title": "t", "cited_text": "c",
            "encrypted_index": f"e{number}"}  # fmt: skip
    return Text(text, citations=(page,))


def _signed(text: str, number: int) -> Reasoning:
    block = {"type": "thinking", "thinking": text, "signature": f"s{number}"}
    return Reasoning(text, Proof(CLAUDE, "thinking", (msgspec.json.encode(block),)))


def _redacted(number: int) -> Reasoning:
    block = {"type": "redacted_thinking", "data": f"d{number}"}
    return Reasoning("", Proof(CLAUDE, "redacted", (msgspec.json.encode(block),)))


def _item(text: str, number: int) -> Reasoning:
    summary = [{"type": "summary_text", "text": text}] if text else []
    item = {"type": "reasoning", "id": f"rs_{number}", "summary": summary, "encrypted_content": f"e{number}"}
    return Reasoning(text, Proof(RESPONSES, "reasoning", (msgspec.json.encode(item),)))


def _compacted(number: int) -> Compaction:
    item = {"type": "compaction", "id": f"cmp_{number}", "encrypted_content": f"e{number}"}
    return Compaction(None, Proof(RESPONSES, "compaction", (msgspec.json.encode(item),)))


def _searched(number: int) -> ServerTool:
    action = {"type": "search", "query": f"q{number}"}
    item = {"type": "web_search_call", "id": f"ws_{number}", "status": "completed", "action": action}
    step = Step("search", f"ws_{number}", "web_search", f'{{"query":"q{number}"}}', "")
    return ServerTool(RESPONSES, "web_search", msgspec.json.encode(item), f"q{number}", step)


def _summed(text: str) -> Compaction:
    return Compaction(
        text, Proof(CLAUDE, "compaction", (msgspec.json.encode({"type": "compaction", "content": text}),))
    )


_thoughts: dict[str, st.SearchStrategy[Block]] = {
    A: st.one_of(st.builds(_signed, words, _numbers), st.builds(_redacted, _numbers)),
    C: words.map(Reasoning),
    R: st.builds(_item, words | st.just(""), _numbers),
}
_said: dict[str, st.SearchStrategy[Block]] = {
    A: st.one_of(_texts, st.builds(_cited_by_claude, words, _numbers)),
    C: st.one_of(_texts, words.map(Refusal)),
    R: st.one_of(
        _texts,
        words.map(Refusal),
        st.builds(_cited, words, _numbers),
        words.map(lambda text: Text(text, phase="commentary")),
    ),
}
_others: dict[str, st.SearchStrategy[Block]] = {R: st.builds(_searched, _numbers)}
# A summary stands for all before it, so that nothing else of a history would be left.
_summaries: dict[str, st.SearchStrategy[Block]] = {A: words.map(_summed), R: st.builds(_compacted, _numbers)}


@st.composite
def calls(draw: st.DrawFn, dialect: DialectName) -> ToolCall:
    """A call of one of the tools of `requests`."""
    number = draw(_numbers)
    if form_of(dialect) != A and draw(st.booleans()):
        return ToolCall(f"call_{number}", "custom", draw(words), "custom")
    arguments = json.dumps({"b": draw(words), "a": number}, ensure_ascii=False)
    if form_of(dialect) == R and draw(st.booleans()):
        return ToolCall(f"call_{number}", "member", arguments, namespace="group")
    return ToolCall(f"call_{number}", "function", arguments)


TOOLS: dict[str, tuple[Tool, ...]] = {
    A: (FunctionTool("function", schema={"type": "object", "properties": {}}),),
    C: (FunctionTool("function", schema={"type": "object", "properties": {}}), CustomTool("custom")),
    R: (
        FunctionTool("function", schema={"type": "object", "properties": {}}),
        CustomTool("custom"),
        FunctionTool("member", schema={"type": "object", "properties": {}}, namespace="group"),
    ),
}


@st.composite
def requests(draw: st.DrawFn, dialect: DialectName) -> Request:
    """A conversation of some exchanges, with tools called and answered, that a client of the dialect could send."""
    turns: list[Turn] = []
    answers: list[Block] = []
    for _ in range(draw(st.integers(1, 3))):
        asked = draw(st.lists(st.one_of(_texts, *_media[form_of(dialect)]), min_size=1, max_size=3))
        turns.append(Turn("user", (*answers, *asked)))
        spoken = draw(answers_of(dialect))
        turns.append(Turn("assistant", spoken))
        answers = [draw(_results(dialect, call)) for call in spoken if isinstance(call, ToolCall)]
        answers = draw(st.permutations(answers))
    turns.append(Turn("user", (*answers, draw(_texts))))
    return Request(
        dialect=dialect,
        model="m",
        instructions=tuple(draw(st.lists(_texts, max_size=2))),
        turns=tuple(turns),
        tools=TOOLS[form_of(dialect)],
        max_tokens=9000,
    )


@st.composite
def answers_of(draw: st.DrawFn, dialect: DialectName) -> tuple[Block, ...]:
    """What a model of the dialect says in one turn, a refusal last. Chat has one order only; the others have any."""
    thoughts = draw(st.lists(_thoughts[form_of(dialect)], max_size=1))
    said = draw(st.lists(_said[form_of(dialect)], min_size=1, max_size=2))
    called = draw(st.lists(calls(dialect), max_size=3, unique_by=lambda call: call.id))
    refused = [block for block in said if isinstance(block, Refusal)]
    spoken: list[Block] = [block for block in said if not isinstance(block, Refusal)]
    if form_of(dialect) == C:
        return (*thoughts, *spoken, *refused, *called)
    others = draw(st.lists(_others[form_of(dialect)], max_size=1)) if form_of(dialect) in _others else []
    return (*thoughts, *draw(st.permutations([*spoken, *called, *others])), *refused)


@st.composite
def _results(draw: st.DrawFn, dialect: DialectName, call: ToolCall) -> ToolResult:
    media = draw(st.lists(st.one_of(*_media[form_of(dialect)]), max_size=2))
    wrong = form_of(dialect) == A and draw(st.booleans())
    return ToolResult(call.id, (Text(draw(words)), *media), is_error=wrong, kind=call.kind)


@st.composite
def responses(draw: st.DrawFn, dialect: DialectName) -> Response:
    """A whole answer of an upstream of the dialect."""
    summary = draw(st.lists(_summaries[form_of(dialect)], max_size=1)) if form_of(dialect) in _summaries else []
    blocks = (*summary, *draw(answers_of(dialect)))
    called = any(isinstance(block, ToolCall) for block in blocks)
    # Nobody answers a prompt of nothing: where all counts are zero, the upstream tells none.
    usage = Usage(fresh=draw(st.integers(1, 10**9)), cache_read=draw(_numbers), output=draw(_numbers))
    return Response(id="r1", model="m", blocks=blocks, finish_reason="tool_calls" if called else "stop", usage=usage)
