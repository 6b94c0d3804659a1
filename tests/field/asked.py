"""What an upstream of any dialect was asked, in no dialect: one line for each thing that is said, and the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """`said` holds lines such as `user: hi`, `call f {"x": 1}`, `result f ok`, `image image/png;base64,AA`."""

    said: list[str] = field(default_factory=list)
    tools: dict[str, Any] = field(default_factory=dict)  # name → schema, None for tools without one
    choice: str | None = None
    parallel: bool | None = None
    format: Any = None
    effort: Any = None
    limit: int | None = None
    stop: Any = None

    def says(self, *lines: str) -> bool:
        """Whether these lines stand in what is said, in this order, with others between them or not."""
        rest = iter(self.said)
        return all(any(line == other for other in rest) for line in lines)


def read_asked(body: dict[str, Any]) -> Asked:
    """Reads the body of a request to an upstream; its dialect is known by its fields."""
    if "input" in body:
        return _read_items(body)
    if any("input_schema" in tool for tool in body.get("tools") or []) or "system" in body or _has_blocks(body):
        return _read_messages(body)
    return _read_chat(body)


def _has_blocks(body: dict[str, Any]) -> bool:
    kinds = {
        part.get("type") for turn in body["messages"] if isinstance(turn["content"], list) for part in turn["content"]
    }
    return not kinds.isdisjoint({"tool_use", "tool_result", "image", "document", "thinking"})


def _read_messages(body: dict[str, Any]) -> Asked:
    asked = Asked(limit=body.get("max_tokens"), stop=body.get("stop_sequences"))
    system = body.get("system") or []
    for text in [system] if isinstance(system, str) else [block["text"] for block in system]:
        asked.said.append(f"system: {text}")
    names: dict[str, str] = {}
    for turn in body["messages"]:
        asked.said += _tell_blocks(turn["role"], turn["content"], names)
    asked.tools = {tool["name"]: tool.get("input_schema") for tool in body.get("tools") or []}
    match body.get("tool_choice"):
        case {"type": kind, **choice}:
            asked.choice = choice.get("name") or {"any": "required"}.get(kind, kind)
            asked.parallel = False if choice.get("disable_parallel_tool_use") else None
    config = body.get("output_config") or {}
    asked.format, asked.effort = (config.get("format") or {}).get("schema"), config.get("effort")
    return asked


def _tell_blocks(role: str, content: Any, names: dict[str, str]) -> Iterator[str]:
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        match block:
            case {"type": "text", "text": text}:
                yield f"{role}: {text}"
            case {"type": "tool_use", "id": id, "name": name, "input": input}:
                names[id] = name
                yield f"call {name} {json.dumps(input)}"
            case {"type": "tool_result", "tool_use_id": id}:
                failed, content = "[tool error] " if block.get("is_error") else "", block.get("content")
                yield f"result {names[id]} {failed}{_words(content)}"
                yield from _media(content)
            case _:
                yield from _media([block])


def _read_chat(body: dict[str, Any]) -> Asked:
    asked = Asked(limit=body.get("max_completion_tokens", body.get("max_tokens")), stop=body.get("stop"))
    names: dict[str, str] = {}
    for turn in body["messages"]:
        content = turn.get("content")
        if turn["role"] == "tool":
            asked.said.append(
                f"result {names[turn['tool_call_id']]} {_words(content).replace('[tool error]', '[error]')}"
            )
            asked.said += _media(content)
            continue
        for part in content if isinstance(content, list) else [content]:
            text = part if isinstance(part, str) else part and part.get("text")
            if text is not None and (text or len(turn) == 2):
                asked.said.append(f"{turn['role'].replace('developer', 'system')}: {text}")
            asked.said += _media([part])
        for call in turn.get("tool_calls") or []:
            names[call["id"]] = call["function"]["name"]
            asked.said.append(
                f"call {call['function']['name']} {json.dumps(json.loads(call['function']['arguments']))}"
            )
    for tool in body.get("tools") or []:
        inner = tool.get("function") or tool
        asked.tools[inner.get("name", tool["type"])] = inner.get("parameters")
    _read_openai(asked, body)
    wanted = body.get("response_format") or {}
    asked.format = wanted.get("json_schema", {}).get("schema") or wanted.get("type")
    asked.effort = body.get("reasoning_effort")
    return asked


def _read_items(body: dict[str, Any]) -> Asked:
    asked = Asked(limit=body.get("max_output_tokens"))
    if body.get("instructions"):
        asked.said.append(f"system: {body['instructions']}")
    names: dict[str, str] = {}
    items = body["input"]
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        match item:
            case {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}:
                names[id] = name
                asked.said.append(_tell_call(name, arguments))
            case {"type": "function_call_output", "call_id": id, "output": output}:
                asked.said.append(f"result {names[id]} {_words(output)}")
                asked.said += _media(output)
            case {"role": role, "content": content}:
                role = role.replace("developer", "system")
                for part in [{"text": content}] if isinstance(content, str) else content:
                    if "text" in part or "refusal" in part:
                        asked.said.append(f"{role}: {part.get('text') or part.get('refusal')}")
                    asked.said += _media([part])
    asked.tools = {tool.get("name", tool["type"]): tool.get("parameters") for tool in body.get("tools") or []}
    _read_openai(asked, body)
    wanted = (body.get("text") or {}).get("format") or {}
    asked.format = wanted.get("schema") or wanted.get("type")
    asked.effort = (body.get("reasoning") or {}).get("effort")
    return asked


def _tell_call(name: str, arguments: str) -> str:
    return f"call {name} {json.dumps(json.loads(arguments or '{}'))}"


def _read_openai(asked: Asked, body: dict[str, Any]) -> None:
    asked.parallel = body.get("parallel_tool_calls")
    match body.get("tool_choice"):
        case str(choice) | {"function": {"name": str(choice)}} | {"type": "function", "name": str(choice)}:
            asked.choice = choice
        case {"type": str(choice)}:
            asked.choice = choice


def _words(content: Any) -> str:
    if isinstance(content, str | None):
        return content or ""
    return "\n".join(part["text"] for part in content if "text" in part)


def _media(content: Any) -> Iterator[str]:
    for part in content if isinstance(content, list) else []:
        match part:
            case {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}:
                yield f"image {kind};base64,{data}"
            case {"type": "image", "source": {"url": url}} | {"image_url": {"url": url}} | {"image_url": str(url)}:
                yield f"image {url.removeprefix('data:')}"
            case {"type": "document", "source": {"type": "base64", "media_type": kind, "data": data}}:
                yield f"file {kind};base64,{data}"
            case {"type": "document", "source": {"type": "text", "data": data}}:
                yield f"user: {data}"
            case {"type": "document", "source": {"url": url}} | {"file_url": url}:
                yield f"file {url}"
            case {"file": {"file_data": data}} | {"type": "input_file", "file_data": data}:
                yield f"file {data.removeprefix('data:')}"
            case {"type": "thinking", "thinking": thought}:
                yield f"thought {thought}"
