"""What the laws run over: every dialect that is built, and every wire file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec
import pytest

from app.conversation.blocks import DialectName, Reasoning, Refusal, ServerTool, Text, ToolCall
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Event, Failed, Finished
from app.conversation.request import EFFORTS, NativeTool, Request
from app.conversation.response import Response, Usage
from app.dialects.openai_chat.replies.steps import note_of
from app.dialects.registry import traits_of
from app.sse import SseDecoder

ROOT = Path(__file__).parents[2]
WIRE = ROOT / "tests" / "wire"
# Beside the wire files of a dialect: those that do not pass to the same dialect byte by byte, and why.
MENDED = "mended.json"

CONTEXT = RenderContext(
    model="the-model-asked-for", id="0123456789abcdef", created=1_760_000_000, include_usage=True, input_tokens=42
)


def _built_dialects() -> list[ModuleType]:
    """One that cannot be imported fails the run: its laws would be missing without a word."""
    built = []
    for folder in sorted(path for path in (ROOT / "app" / "dialects").iterdir() if (path / "__init__.py").exists()):
        dialect = importlib.import_module(f"app.dialects.{folder.name}")
        if hasattr(dialect, "render_request"):  # others are spoken by clients alone
            built.append(dialect)
    return built


DIALECTS = _built_dialects()
USER_FIELDS: dict[str, Literal["user", "safety_identifier", "metadata"]] = {
    "messages": "metadata", "chat": "user", "items": "safety_identifier"
}  # fmt: skip
FORMS = {"messages": "anthropic_tools", "chat": "chat_search", "items": "openai_tools"}


def every_dialect() -> list[Any]:
    return [pytest.param(dialect, id=dialect.NAME) for dialect in DIALECTS]


def every_pair() -> list[Any]:
    """Each dialect as the client's with each other as the upstream's."""
    pairs = [(client, upstream) for client in DIALECTS for upstream in DIALECTS if client is not upstream]
    return [pytest.param(*pair, id=f"{pair[0].NAME}-to-{pair[1].NAME}") for pair in pairs]


def every_file(kind: str) -> list[Any]:
    """Parameters `dialect, path` for every wire file of a kind: requests, responses or streams."""
    cases = [(dialect, path) for dialect in DIALECTS for path in sorted((WIRE / dialect.NAME / kind).glob("*.*"))]
    return [pytest.param(dialect, path, id=f"{dialect.NAME}/{path.stem}") for dialect, path in cases]


def is_mended(path: Path) -> bool:
    """Whether a wire file has something in it that must not pass to the same dialect as it is."""
    mended = json.loads((path.parents[1] / MENDED).read_bytes())
    return path.stem in mended[path.parent.name]


def every_clean_stream() -> list[Any]:
    """Parameters `dialect, path` for every stream that a client of the same dialect gets as it is, and that ends."""
    params = every_file("streams")
    return [param for param in params if not is_mended(param.values[1]) and not _fails(*param.values)]


def _fails(dialect: ModuleType, path: Path) -> bool:
    return isinstance(ending(parse_stream(dialect, payloads(path.read_bytes()))), Failed)


def every_twin() -> list[Any]:
    """Parameters `dialect, stream, whole` for every stream whose whole answer is known too."""
    twins = []
    for dialect in DIALECTS:
        for stream in sorted((WIRE / dialect.NAME / "streams").glob("*.sse")):
            whole = WIRE / dialect.NAME / "responses" / f"{stream.stem}.json"
            if whole.exists():
                twins.append(pytest.param(dialect, stream, whole, id=f"{dialect.NAME}/{stream.stem}"))
    return twins


def parse_request(dialect: ModuleType, path: Path) -> Request:
    request: Request = dialect.parse_request(path.read_bytes(), {})
    return request


def form_of(name: DialectName) -> str:
    """The family of shapes that a dialect has, for what the laws must know of it: a copy has its original's."""
    idioms = traits_of(name).idioms
    return next(form for form, idiom in FORMS.items() if idiom in idioms)


def generous(dialect: ModuleType, request: Request) -> Capabilities:
    """An upstream that can do all that its dialect can say."""
    form = form_of(dialect.NAME)
    native = tuple(tool.type for tool in request.tools if isinstance(tool, NativeTool) and tool.dialect == dialect.NAME)
    return Capabilities(
        dialect=dialect.NAME,
        model=request.model,
        first_party=True,
        temperature_max=2.0,
        top_k=True,
        reasoning_style="effort" if form != "messages" else "budget" if request.reasoning.budget else "adaptive",
        efforts=EFFORTS,
        reasoning_off="disabled" if form == "messages" else "none",
        reasoning_visibility=True,
        reasoning_replay="reasoning_content" if form == "chat" else "none",
        proofs=(dialect.NAME,),
        keep_billing=True,
        custom_tools=form != "messages",
        namespaces=form == "items",
        native_tools=native,
        deferred_tools=form != "chat",
        tool_name_limit=128,
        schema="any",
        tool_result_media=True,
        error_flag=form == "messages",
        verbosity=True,
        document_urls=True,
        audio=True,
        cache_hints="breakpoint" if form == "items" else "cache_control",
        cache_key=True,
        user_field=USER_FIELDS[form],
        service_tier=True,
        metadata=True,
        store=True,
    )


def payloads(stream: bytes) -> list[bytes]:
    decoder = SseDecoder()
    return decoder.feed(stream) + decoder.close()


def parse_stream(dialect: ModuleType, data: Sequence[bytes]) -> list[Event]:
    parser = dialect.StreamParser()
    events: list[Event] = list(parser.feed(data))
    return events + list(parser.close())


def ending(events: Sequence[Event]) -> Finished | Failed:
    """The one event that says how a stream ended."""
    endings = [event for event in events if isinstance(event, Finished | Failed)]
    assert len(endings) == 1, f"{len(endings)} endings"
    return endings[0]


def leaves(value: Any) -> Iterator[Any]:
    """All scalars within JSON data, but for the names of shapes, which other spellings of the same thing lack."""
    match value:
        case dict():
            for name, item in value.items():
                if name not in ("type", "role"):
                    yield from leaves(item)
        case list():
            for item in value:
                yield from leaves(item)
        case _:
            yield value


def spoken(
    response: Response, explained: str | None = None, parted: str = "", *, noted: bool = False
) -> list[tuple[str, str]]:
    """What a response says, in order: texts joined where nothing stands between them, calls with their arguments.

    `explained` is why the upstream refused to go on; a dialect may tell it as a refusal, and that is not counted.
    `parted` is what stands between a commentary and an answer in a dialect that knows no phases. `noted`: in the
    dialect what the upstream's own tools did is a note among the thoughts.
    """
    said: list[tuple[str, str]] = []
    phase: str | None = None
    for block in response.blocks:
        match block:
            case Refusal(text=text) if text == explained:
                continue
            case Text(text=text):
                kind, words = "text", parted + text if phase not in (None, block.phase) else text
                phase = block.phase
            case Refusal(text=text):
                kind, words = "text", text
            case Reasoning(text=text):
                kind, words = "reasoning", text
            case ServerTool() if noted and block.step is not None:
                kind, words = "reasoning", note_of(block)
            case ToolCall(name=name, arguments=arguments):
                said.append((f"call {name}", _canonical(arguments)))
                continue
            case _:
                continue
        if said and said[-1][0] == kind:
            said[-1] = (kind, said[-1][1] + words)
        elif words:
            said.append((kind, words))
    return said


def without_paths(request: Request) -> Request:
    """A request but for the places of its turns, which move when items are grouped anew, and for what a gateway asks
    for whether the client did or not."""
    turns = tuple(msgspec.structs.replace(turn, path="") for turn in request.turns)
    return msgspec.structs.replace(request, turns=turns, extensions=(), betas=(), include_usage=False)


def without_searches(usage: Usage) -> Usage:
    """Counts, but for the searches, which a dialect may count as it shows them."""
    return msgspec.structs.replace(usage, web_searches=0)


def explanation(response: Response) -> str | None:
    return response.stop_detail.explanation if response.stop_detail else None


def _canonical(arguments: str) -> str:
    """Arguments as data. Where a dialect demands an object, what is none stands under "_raw"."""
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    match value:
        case {"_raw": str(raw)}:
            return raw
        case _:
            return json.dumps(value, sort_keys=True)
