"""Parses and renders blocks of server tools, including those of other vendors."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.conversation.blocks import Inline, Page, ServerTool, Step, StepKind
from app.conversation.envelope import seal
from app.conversation.steps import carry, describe_step, input_of, pages_of, pair
from app.dialects.anthropic_messages.vocabulary import NAME, SERVER_CALLS
from app.json_values import decode_or_none, object_decoder

# Kinds of tools by prefix of their name; results have the same prefix.
_KINDS: tuple[tuple[str, StepKind], ...] = (
    ("web_search", "search"),
    ("web_fetch", "fetch"),
    ("code_execution", "code"),
    ("bash_code_execution", "code"),
    ("text_editor_code_execution", "code"),
    ("mcp", "mcp"),
)
_RESULT_ENDING = "_tool_result"

_UNFIT = re.compile(r"[^a-zA-Z0-9_]")


def parse_step(kind: str, raw: bytes) -> ServerTool:
    """A server tool's block with its neutral step; a block that is not as documented keeps only its bytes."""
    block = decode_or_none(raw, object_decoder)
    if block is None:
        return ServerTool(NAME, kind, raw)
    called = block.get("name")
    name = called if isinstance(called, str) and called else kind
    step = _read_call(kind, block, name) if kind in SERVER_CALLS else _read_result(kind, block)
    return ServerTool(NAME, name, raw, describe_step(step), step)


def write_steps(block: ServerTool) -> list[dict[str, Any]]:
    """The blocks that show what another vendor's tool did, followed by that vendor's sealed item."""
    step = block.step
    if step is None:
        return []
    written = [shape for call, result in pair((step,)) for shape in _write_pair(call, result)]
    proof = carry((block,))
    return [*written, {"type": "redacted_thinking", "data": seal(proof)}] if proof is not None else written


def _write_pair(call: Step, result: Step | None) -> list[dict[str, Any]]:
    asked = input_of(call)
    if call.kind in ("search", "fetch", "code"):
        identifier = "srvtoolu_" + _fit(call.id)
        tool = {"search": "web_search", "fetch": "web_fetch", "code": "code_execution"}[call.kind]
        written = [{"type": "server_tool_use", "id": identifier, "name": tool, "input": asked}]
    else:
        identifier = "mcptoolu_" + _fit(call.id)
        server = call.server or call.name
        written = [{"type": "mcp_tool_use", "id": identifier, "name": call.name, "server_name": server, "input": asked}]
    return written if result is None else [*written, _write_result(call, result, identifier)]


def _write_result(call: Step, result: Step, identifier: str) -> dict[str, Any]:
    head = {"tool_use_id": identifier}
    text = result.output or ""
    match call.kind:
        case "search":
            found: Any = [
                {"type": "web_search_result", "url": page.url, "title": page.title or page.url} | _NO_CONTENT
                for page in result.pages
            ]
            if result.is_error:
                found = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
            return {"type": "web_search_tool_result", **head, "content": found}
        case "fetch":
            if result.is_error:
                error = {"type": "web_fetch_tool_result_error", "error_code": "unavailable"}
                return {"type": "web_fetch_tool_result", **head, "content": error}
            page = result.pages[0] if result.pages else Page("")
            source = {"type": "text", "media_type": "text/plain", "data": text}
            document = {"type": "document", "source": source, "title": page.title or None, "citations": None}
            content = {"type": "web_fetch_result", "url": page.url, "content": document, "retrieved_at": None}
            return {"type": "web_fetch_tool_result", **head, "content": content}
        case "code":
            ran = {"type": "code_execution_result", "stdout": "" if result.is_error else text, "content": []}
            ended = {"stderr": text if result.is_error else "", "return_code": int(result.is_error)}
            return {"type": "code_execution_tool_result", **head, "content": ran | ended}
        case _:
            written: list[dict[str, Any]] = [{"type": "text", "text": text}] if text or not result.images else []
            written += [_write_image(image) for image in result.images]
            return {"type": "mcp_tool_result", **head, "is_error": result.is_error, "content": written}


_NO_CONTENT: dict[str, Any] = {"encrypted_content": "", "page_age": None}


def _write_image(image: Inline) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


def _fit(identifier: str) -> str:
    return _UNFIT.sub("_", identifier)


def _read_call(kind: str, block: dict[str, Any], name: str) -> Step:
    asked = msgspec.json.encode(block.get("input") or {}).decode()
    server = block.get("server_name")
    step_kind = "mcp" if kind == "mcp_tool_use" else _kind_of(name)
    return Step(step_kind, str(block.get("id") or ""), name, asked, server=server if isinstance(server, str) else "")


def _read_result(kind: str, block: dict[str, Any]) -> Step:
    content = block.get("content")
    message, pages, images, failed = "", pages_of(content), [], block.get("is_error") is True
    match content:
        case str():
            message = content
        case [*entries]:
            message = "\n".join(
                entry["text"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("text"), str)
            )
            images = [image for entry in entries if (image := _read_image(entry)) is not None]
        case {"error_code": str(code)}:
            message, failed = code, True
        case {"type": "web_fetch_result", "url": str(url), "content": document}:
            pages, message = _read_fetched(url, document)
        case {"stdout": output, "stderr": errors, "return_code": code}:
            message, failed = "\n".join(text for text in (output, errors) if isinstance(text, str) and text), bool(code)
        case {"tool_references": [*references]}:
            message = "\n".join(str(one.get("tool_name")) for one in references if isinstance(one, dict))
        case {"text": str(text)} | {"content": str(text)}:
            message = text
    name = kind.removesuffix(_RESULT_ENDING)
    identifier = str(block.get("tool_use_id") or "")
    return Step(_kind_of(name), identifier, name, None, message, pages, tuple(images), is_error=failed)


def _read_fetched(url: str, document: Any) -> tuple[tuple[Page, ...], str]:
    match document:
        case {"source": {"type": "text", "data": str(text)}}:
            title = document.get("title")
            return (Page(url, title if isinstance(title, str) else ""),), text
        case _:
            return (Page(url),), ""


def _read_image(entry: Any) -> Inline | None:
    match entry:
        case {"type": "image", "source": {"type": "base64", "media_type": str(media_type), "data": str(data)}}:
            return Inline(media_type, data)
        case _:
            return None


def _kind_of(name: str) -> StepKind:
    return next((kind for beginning, kind in _KINDS if name.startswith(beginning)), "other")
