"""Steps of server tools, in words and as pairs of call and result, for all dialects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from app.conversation.blocks import Page, Proof, ServerTool, Step
from app.json_values import UNREADABLE, any_decoder

# The kind of a proof that holds such steps. The client is shown a description beside it.
SERVER_TOOL = "server_tool"
# The kind of a proof that holds a citation in another dialect's form.
CITATION = "citation"
# Maximum bytes of vendor items carried through the client, because every later turn resends them.
MAX_CARRIED = 200_000


def describe_step(step: Step) -> str:
    """The step in words: input, answer and pages."""
    asked = "\n".join(_words(step.input)) if step.input else ""
    if step.kind == "mcp" and step.input is not None:
        asked = f"{step.name}: {asked}".rstrip(": ")
    pages = "\n".join(f"{page.title}: {page.url}" if page.title else page.url for page in step.pages)
    message = f"error: {step.output}" if step.is_error and step.output else step.output
    return "\n".join(text for text in (asked, message, pages) if text)


def input_of(step: Step) -> dict[str, Any]:
    """The tool's input as an object."""
    value = _decode_or_none(step.input or "{}")
    return value if isinstance(value, dict) else {"input": value}


def pair(steps: Sequence[Step]) -> Iterator[tuple[Step, Step | None]]:
    """Each call with its result, in the order of the calls; a result without a call serves as its own call."""
    results = {step.id: step for step in steps if step.input is None}
    called = {step.id for step in steps if step.input is not None}
    for step in steps:
        if step.input is None:
            if step.id not in called:
                yield msgspec.structs.replace(step, input="{}"), step
        else:
            yield step, step if step.output is not None else results.get(step.id)


def carry(steps: Sequence[ServerTool]) -> Proof | None:
    """A proof with the vendor's own blocks of these steps, which a client of another dialect returns. None if there are
    no steps or they are larger than MAX_CARRIED."""
    if not steps or sum(len(step.raw) for step in steps) > MAX_CARRIED:
        return None
    return Proof(steps[0].dialect, SERVER_TOOL, tuple(step.raw for step in steps))


def pages_of(entries: Any) -> tuple[Page, ...]:
    """The pages in a list of entries: those with a URL and perhaps a title."""
    if not isinstance(entries, list):
        return ()
    found = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("url"), str)]
    return tuple(Page(entry["url"], entry["title"] if isinstance(entry.get("title"), str) else "") for entry in found)


def _words(asked: str) -> Iterator[str]:
    value = _decode_or_none(asked)
    match value:
        case {**fields}:
            for inner in fields.values():
                yield from (inner,) if isinstance(inner, str) else _texts(inner)
        case str():
            yield value


def _texts(value: Any) -> Iterator[str]:
    match value:
        case [*entries]:
            yield from (entry for entry in entries if isinstance(entry, str))
        case {} | int() | float():
            yield msgspec.json.encode(value).decode()


def _decode_or_none(text: str) -> Any:
    try:
        return any_decoder.decode(text)
    except UNREADABLE:
        return text
