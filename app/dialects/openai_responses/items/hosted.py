"""Parses and renders items of hosted tools, including those of other vendors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from app.conversation.blocks import Inline, ServerTool, Step
from app.conversation.steps import describe_step, input_of, pages_of
from app.dialects.openai_responses.vocabulary import NAME
from app.dialects.readable import inline_image
from app.json_values import decode_or_none, object_decoder


def parse_hosted(kind: str, raw: bytes) -> ServerTool:
    """A hosted item with its neutral step; an item that is not as documented keeps only its bytes."""
    name = kind.removesuffix("_call")
    reader = _READERS.get(kind)
    fields = decode_or_none(raw, object_decoder)
    step = reader(fields, name) if reader is not None and fields is not None else None
    return ServerTool(NAME, name, raw, describe_step(step) if step is not None else "", step)


def render_hosted(call: Step, result: Step | None, mint_id: Callable[[str], str]) -> dict[str, Any]:
    """The item of one call of another vendor's tool, with its result if there is one."""
    reported = result or call
    asked = input_of(call)
    head: dict[str, Any] = {"status": "failed" if reported.is_error else "completed"}
    match call.kind:
        case "search":
            action: dict[str, Any] = {"type": "search", "query": str(asked.get("query") or "")}
            if reported.pages:
                action["sources"] = [{"type": "url", "url": page.url} for page in reported.pages]
            return {"id": mint_id("web_search_call"), "type": "web_search_call", **head, "action": action}
        case "fetch":
            page = asked.get("url") or (reported.pages[0].url if reported.pages else "")
            action = {"type": "open_page", "url": str(page)}
            return {"id": mint_id("web_search_call"), "type": "web_search_call", **head, "action": action}
        case "code":
            code = next((str(asked[name]) for name in ("code", "command") if name in asked), call.input or "")
            outputs = [{"type": "logs", "logs": reported.output}] if reported.output else []
            item = {"id": mint_id("code_interpreter_call"), "type": "code_interpreter_call", **head}
            return {**item, "code": code, "container_id": "", "outputs": outputs}
        case "image" if reported.images:
            item = {"id": mint_id("image_generation_call"), "type": "image_generation_call", **head}
            return {**item, "result": reported.images[0].data}
        case _:
            item = {"id": mint_id("mcp_call"), "type": "mcp_call", **head, "approval_request_id": None}
            fields = {"name": call.name, "server_label": call.server or call.name, "arguments": call.input or "{}"}
            if not reported.is_error:
                return {**item, **fields, "output": reported.output, "error": None}
            error = {"type": "mcp_tool_execution_error", "content": reported.output or "the tool failed"}
            return {**item, **fields, "output": None, "error": error}


def _read_search(item: dict[str, Any], name: str) -> Step:
    action = item.get("action")
    action = action if isinstance(action, dict) else {}
    identifier = _id(item)
    if action.get("type") in ("open_page", "find_in_page"):
        asked = {key: action[key] for key in ("url", "pattern") if isinstance(action.get(key), str)}
        return Step("fetch", identifier, "web_fetch", _json(asked), "", pages_of([action]), is_error=_failed(item))
    asked = {"query": action.get("query")} if isinstance(action.get("query"), str) else {}
    queries = action.get("queries")
    if not asked and isinstance(queries, list):
        asked = {"query": "\n".join(query for query in queries if isinstance(query, str))}
    pages = (*pages_of(action.get("sources")), *pages_of(item.get("results")))
    return Step("search", identifier, "web_search", _json(asked), "", pages, is_error=_failed(item))


def _read_files(item: dict[str, Any], name: str) -> Step:
    results = item.get("results")
    hits = [
        f"{entry.get('filename') or entry.get('file_id') or 'file'}: {entry.get('text') or ''}".rstrip(": ")
        for entry in (results if isinstance(results, list) else ())
        if isinstance(entry, dict)
    ]
    return Step("other", _id(item), name, _json({"queries": item.get("queries") or []}), "\n\n".join(hits))


def _read_code(item: dict[str, Any], name: str) -> Step:
    logs: list[str] = []
    images: list[Inline] = []
    outputs = item.get("outputs")
    for entry in outputs if isinstance(outputs, list) else ():
        match entry:
            case {"logs": str(text)}:
                logs.append(text)
            case {"url": str(url)}:
                image = inline_image(url)
                if image is not None:
                    images.append(image)
                else:
                    logs.append(url)
    code = item.get("code")
    asked = _json({"code": code if isinstance(code, str) else ""})
    return Step("code", _id(item), name, asked, "\n".join(logs), images=tuple(images), is_error=_failed(item))


def _read_image(item: dict[str, Any], name: str) -> Step:
    result, prompt = item.get("result"), item.get("revised_prompt") or item.get("prompt")
    images: tuple[Inline, ...] = ()
    if isinstance(result, str) and result:
        form = item.get("output_format")
        media_type = f"image/{form}" if form in ("png", "jpeg", "webp") else "image/png"
        images = (inline_image(result) or Inline(media_type, result),)
    asked = {"prompt": prompt} if isinstance(prompt, str) else {}
    return Step("image", _id(item), name, _json(asked), "", images=images, is_error=_failed(item))


def _read_mcp(item: dict[str, Any], name: str) -> Step:
    arguments, output, error = item.get("arguments"), item.get("output"), item.get("error")
    match error:
        case {"message": str(told)} | {"content": str(told)}:
            outcome: Any = told
        case _:
            outcome = output if error is None else error
    text = outcome if isinstance(outcome, str) else "" if outcome is None else _json(outcome)
    asked = arguments if isinstance(arguments, str) and arguments.strip() else _json(arguments or {})
    server, called = item.get("server_label"), item.get("name")
    return Step(
        "mcp",
        _id(item),
        called if isinstance(called, str) and called else name,
        asked,
        text,
        server=server if isinstance(server, str) else "",
        is_error=error is not None,
    )


def _read_program(item: dict[str, Any], name: str) -> Step:
    code = item.get("code")
    identifier = str(item.get("call_id") or _id(item))
    return Step("code", identifier, name, _json({"code": code if isinstance(code, str) else ""}))


def _read_program_output(item: dict[str, Any], name: str) -> Step:
    result = item.get("result")
    identifier = str(item.get("call_id") or _id(item))
    return Step("code", identifier, name, None, result if isinstance(result, str) else _json(result))


def _id(item: dict[str, Any]) -> str:
    identifier = item.get("id") or item.get("call_id")
    return identifier if isinstance(identifier, str) else ""


def _failed(item: dict[str, Any]) -> bool:
    return item.get("status") == "failed"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_READERS: dict[str, Callable[[dict[str, Any], str], Step]] = {
    "web_search_call": _read_search,
    "file_search_call": _read_files,
    "code_interpreter_call": _read_code,
    "image_generation_call": _read_image,
    "mcp_call": _read_mcp,
    "program": _read_program,
    "program_output": _read_program_output,
}
