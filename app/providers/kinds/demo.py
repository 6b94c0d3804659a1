"""The built-in demo: a small deterministic model that needs no account.

It streams, thinks if asked to, calls the offered tools in a fixed way and reports usage. It speaks Anthropic Messages,
and answers through the same parser and renderer as every other provider.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from app.conversation.blocks import Block, DialectName, Reasoning, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event, Finished, Started, UsageSeen
from app.conversation.literals import literal
from app.conversation.request import FunctionTool, Request
from app.conversation.response import Usage
from app.conversation.streams.fold import fold
from app.conversation.tokens.estimate import estimate_tokens
from app.credentials.credential import Credential
from app.dialects import anthropic_messages
from app.errors import ClientError
from app.providers.catalogue import Model
from app.providers.profiles import capabilities_for
from app.providers.provider import Operation, Provider, UpstreamRequest
from app.transport import Exchange

PAUSE = 0.01  # seconds between two words, to make streaming visible

_PIECE = re.compile(r"\S+\s*|\s+")  # a word with the blanks after it
_NAME_LIKE = re.compile(r"[\w-]+")
_QUOTED = re.compile(r"`([^`]+)`")


class DemoProvider(Provider):
    kind: ClassVar[str] = "demo"
    local: ClassVar[bool] = True
    paths: ClassVar[Mapping[Operation, str]] = {"generate": ""}

    @property
    def dialect(self) -> DialectName:
        return "anthropic_messages"

    def find_capabilities(self, model: str) -> Capabilities:
        return capabilities_for(self.dialect, "", model, profile=None, quirks=self.settings.quirks)

    def send(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Exchange:
        try:
            request = anthropic_messages.parse_request(upstream_request.body, upstream_request.client_headers)
        except ClientError as error:
            body = anthropic_messages.render_error(error.failure, "req_demo")
            return LocalExchange(400, "application/json", iter([body]))
        digest = hashlib.sha256(upstream_request.body).hexdigest()[:24]
        reply = RenderContext(
            model=request.model,
            id=digest,
            created=0,
            input_tokens=estimate_tokens(request, images=anthropic_messages.TRAITS.image_rule),
        )
        events = answer(request, digest)
        if request.stream:
            return LocalExchange(200, "text/event-stream", _stream(events, reply))
        body = anthropic_messages.render_response(fold(events), reply)
        return LocalExchange(200, "application/json", iter([body]))

    def models(self) -> list[Model]:
        return [Model(id="demo", owned_by="dragoman", display_name="Dragoman demo")]


class LocalExchange(Exchange):
    """A locally made reply whose parts come from an iterator."""

    def __init__(self, status: int, content_type: str, parts: Iterator[bytes]) -> None:
        self.status = status
        self.headers = {"content-type": content_type}
        self._parts = parts

    def wait_head(self, wait: float | None = None) -> bool:
        return True

    def read_part(self, wait: float | None = None) -> bytes | None:
        return next(self._parts, b"")

    def close(self) -> None:
        self._parts = iter(())


def answer(request: Request, digest: str) -> list[Event]:
    """The whole answer to a request; the same request always gets the same answer."""
    blocks = list(_blocks(request, digest))
    calls = any(isinstance(block, ToolCall) for block in blocks)
    fresh = estimate_tokens(request, images=anthropic_messages.TRAITS.image_rule)
    events: list[Event] = [Started(id=digest, model=request.model)]
    output = 0
    for index, block in enumerate(blocks):
        text = block.arguments if isinstance(block, ToolCall) else block.text
        head: Block = ToolCall(block.id, block.name, "") if isinstance(block, ToolCall) else type(block)("")
        events.append(BlockOpened(index, head))
        words = _PIECE.findall(text)
        events.extend(BlockDelta(index, literal(word)) for word in words)
        events.append(BlockClosed(index))
        output += len(words)
    events.append(UsageSeen(Usage(fresh=fresh, output=output)))
    events.append(Finished("tool_calls" if calls else "stop"))
    return events


def _blocks(request: Request, digest: str) -> Iterator[Text | Reasoning | ToolCall]:
    if request.reasoning.mode == "on" or request.reasoning.effort not in (None, "none"):
        yield Reasoning("A demo does not think, but this is where a model would.")
    # Agents add system turns and reminder blocks around and after what their user typed.
    turns = (turn.blocks for turn in reversed(request.turns) if turn.role == "user")
    typed = ([block for block in blocks if not _is_reminder(block)] for blocks in turns)
    last = next((blocks for blocks in typed if blocks), [])
    results = [block for block in last if isinstance(block, ToolResult)]
    asked = next((block.text for block in reversed(last) if isinstance(block, Text)), "")
    if results:
        message = " ".join(block.text for result in results for block in result.blocks if isinstance(block, Text))
        yield Text(f"The tool answered: {message[:2000]}")
        return
    output = request.output_format
    if output is not None and output.kind == "json_schema":
        yield Text(json.dumps(example_of(output.schema or {}, asked)))
        return
    tool = choose_tool(request, asked)
    if tool is not None:
        yield ToolCall(f"toolu_{digest}", tool.name, json.dumps(example_of(tool.schema or {}, asked)))
        return
    yield Text(f"This is Dragoman's built-in demo; no provider is configured yet. You said: {asked[:500]}")


def _is_reminder(block: Block) -> bool:
    return isinstance(block, Text) and block.text.lstrip().startswith("<system-reminder>")


def choose_tool(request: Request, asked: str) -> FunctionTool | None:
    """The tool that is forced, that the text names first, or that is the only one on offer."""
    tools = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    choice = request.tool_choice
    if not tools or (choice is not None and choice.mode == "none"):
        return None
    if choice is not None and choice.mode == "tool":
        wanted = {name for _, name in choice.names}
        return next((tool for tool in tools if tool.name in wanted), None)
    by_name = {tool.name.lower(): tool for tool in tools}
    named = next((word for word in _NAME_LIKE.findall(asked.lower()) if word in by_name), None)
    if named is not None:
        return by_name[named]
    return tools[0] if len(tools) == 1 or (choice is not None and choice.mode == "any") else None


def example_of(schema: Mapping[str, Any], asked: str) -> Any:
    """The simplest value that a JSON schema allows; its text is the part of `asked` in backticks, or all of it."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {name: example_of(properties.get(name, {}), asked) for name in schema.get("required", ())}
    if kind == "array":
        return [example_of(schema.get("items", {}), asked)] if schema.get("minItems") else []
    quoted = _QUOTED.search(asked)
    plain = {"integer": 1, "number": 1, "boolean": True, "null": None}
    return plain[kind] if kind in plain else (quoted.group(1) if quoted else asked[:200])


def _stream(events: list[Event], reply: RenderContext) -> Iterator[bytes]:
    renderer = anthropic_messages.StreamRenderer(reply)
    for event in events:
        out = renderer.feed([event])
        if out:
            yield out
            time.sleep(PAUSE)
    yield renderer.close()
