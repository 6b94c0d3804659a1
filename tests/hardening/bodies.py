"""Requests that cost as much as their size allows, as data: each is wide, deep or odd in another way.

A body is made for a dialect and a size in bytes, roughly; what a dialect cannot say is left out there.
"""

# ruff: noqa: E501

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from tests.hardening.gateway import PATHS

Body = dict[str, Any]
Maker = Callable[[str, int], bytes | None]


def say(dialect: str, turns: Sequence[Any], **more: Any) -> bytes:
    """A request with these turns, as bytes; halves of surrogate pairs stay escaped."""
    return json.dumps(frame(dialect, turns, **more)).encode()


def frame(dialect: str, turns: Sequence[Any], **more: Any) -> Body:
    if dialect == "openai_responses":
        return {"model": "MODEL", "store": False, "input": list(turns), **more}
    limit = {"max_tokens": 99} if dialect == "anthropic_messages" else {}
    return {"model": "MODEL", **limit, "messages": list(turns), **more}


def user(dialect: str, content: Any) -> Body:
    return {"role": "user", "content": content}


def text_block(dialect: str, text: str, role: str = "user") -> Body:
    if dialect == "openai_responses":
        return {"type": "input_text" if role == "user" else "output_text", "text": text}
    return {"type": "text", "text": text}


def image_block(dialect: str, data: str, media_type: str = "image/png") -> Body:
    if dialect == "anthropic_messages":
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    url = f"data:{media_type};base64,{data}"
    if dialect == "openai_chat":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "input_image", "image_url": url}


def file_block(dialect: str, data: str, media_type: str = "application/pdf") -> Body:
    if dialect == "anthropic_messages":
        return {"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}}
    file = {"filename": "a.pdf", "file_data": f"data:{media_type};base64,{data}"}
    return {"type": "file", "file": file} if dialect == "openai_chat" else {"type": "input_file", **file}


def tool(dialect: str, name: str, schema: Any, **more: Any) -> Body:
    if dialect == "anthropic_messages":
        return {"name": name, "input_schema": schema, **more}
    if dialect == "openai_chat":
        return {"type": "function", "function": {"name": name, "parameters": schema, **more}}
    return {"type": "function", "name": name, "parameters": schema, **more}


def call_turns(dialect: str, calls: Sequence[tuple[str, str, str]], result: Any = "ok") -> list[Body]:
    """One assistant turn with these calls (id, name, arguments), and their results."""
    if dialect == "anthropic_messages":
        made = [{"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in calls]
        told = [{"type": "tool_result", "tool_use_id": i, "content": result} for i, _, _ in calls]
        return [{"role": "assistant", "content": made}, {"role": "user", "content": told}]
    if dialect == "openai_chat":
        made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
        turn: Body = {"role": "assistant", "content": None, "tool_calls": made}
        return [turn, *({"role": "tool", "tool_call_id": i, "content": result} for i, _, _ in calls)]
    return [
        *({"type": "function_call", "call_id": i, "name": n, "arguments": a} for i, n, a in calls),
        *({"type": "function_call_output", "call_id": i, "output": result} for i, _, _ in calls),
    ]


def schema_format(dialect: str, schema: Any) -> Body:
    if dialect == "anthropic_messages":
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    if dialect == "openai_chat":
        named = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
        return {"response_format": named}
    return {"text": {"format": {"type": "json_schema", "name": "s", "schema": schema, "strict": True}}}


# --- texts


def repeated(piece: str) -> Callable[[int], str]:
    return lambda size: piece * (size // len(json.dumps(piece)[1:-1].encode()))


TEXTS: dict[str, Callable[[int], str]] = {
    "letters": repeated("x"),
    "blanks": repeated(" "),
    "line ends": repeated("\n"),
    "backslashes": repeated("\\"),
    "quotes": repeated('"'),
    "escaped controls": repeated("\x01"),
    "halves of surrogate pairs": repeated("\ud83d"),
    "emoji": repeated("😀"),
    "combining marks": repeated("a\u0301\u0327"),
    "right to left marks": repeated("\u202e\u2066"),
    "Han": repeated("漢字"),
    "Ethiopic": repeated("ሀለሐ"),
    "full width and astral letters": repeated("Ａ𝔘𐐷"),
    "think tags": repeated("<think>"),
    "closing tags": repeated("</think>"),
    "calls as text": repeated('<tool_call>{"name":"f",'),
    "fences": repeated("```json\n{"),
    "reminders": repeated("<system-reminder>"),
    "urls": repeated("https://example.com/a "),
    "data urls": repeated("data:image/png;base64,AAAA "),
    "markdown images": repeated("![a](data:image/png;base64,"),
    "tokens of a key": repeated("sk-ant-eyJhbGci."),
    "billing lines": repeated("x-anthropic-billing-header: cc_version=1;"),
    "open braces": repeated('{"a":'),
    "digits": repeated("1234567890"),
    "at signs": repeated("a@b."),
}

# --- what else there is


def deep(opening: str, closing: str, inner: str = "1") -> Callable[[int], str]:
    def make(size: int) -> str:
        count = size // (len(opening) + len(closing))
        return opening * count + inner + closing * count

    return make


JSON_TEXTS: dict[str, Callable[[int], str]] = {
    "a million tiny elements": lambda size: "[" + "1," * (size // 2) + "1]",
    "empty arrays": lambda size: "[" + "[]," * (size // 3) + "1]",
    "empty objects": lambda size: "[" + "{}," * (size // 3) + "1]",
    "nulls": lambda size: "[" + "null," * (size // 5) + "1]",
    "empty texts": lambda size: "[" + '"",' * (size // 3) + "1]",
    "many keys": lambda size: "{" + ",".join(f'"k{i}":{i}' for i in range(size // 14)) + "}",
    "one key again and again": lambda size: "{" + '"a":1,' * (size // 6) + '"a":2}',
    "long numbers": lambda size: "[" + ("9" * 300 + ",") * (size // 301) + "1]",
    "one number": lambda size: "9" * size,
    "fractions": lambda size: "[" + "1e-300," * (size // 7) + "1]",
    "arrays in arrays": deep("[", "]"),
    "objects in objects": deep('{"a":', "}"),
    "arrays 60 deep": lambda size: "[" + ("[" * 60 + "]" * 60 + ",") * (size // 121) + "1]",
    "a long key": lambda size: '{"' + "k" * size + '":1}',
    "escaped keys": lambda size: "{" + ",".join(f'"\\u0061{i}":1' for i in range(size // 17)) + "}",
}


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def base64_of(piece: bytes, size: int, head: bytes = b"") -> str:
    return base64.b64encode(head + piece * (size * 3 // 4 // len(piece))).decode()


DATA: dict[str, Callable[[int], tuple[str, str]]] = {
    "a picture without an end": lambda n: ("image/png", base64_of(b"\0", n, png(9, 9))),
    "JPEG segments": lambda n: ("image/jpeg", base64_of(b"\xff\xe0\x00\x02", n, b"\xff\xd8")),
    "JPEG fill bytes": lambda n: ("image/jpeg", base64_of(b"\xff", n, b"\xff\xd8")),
    "WebP chunks": lambda n: ("image/webp", base64_of(b"JUNK\0\0\0\0", n, b"RIFF\0\0\0\0WEBP")),
    "GIF": lambda n: ("image/gif", base64_of(b"\x21\xff\x00", n, b"GIF89a")),
    "not base64": lambda n: ("image/png", "!" * n),
    "base64 with line ends": lambda n: ("image/png", "AAAA\r\n" * (n // 8)),
    "an unknown type": lambda n: ("image/" + "x" * 200, base64_of(b"\0", n)),
}  # fmt: skip

DOCUMENTS: dict[str, Callable[[int], tuple[str, str]]] = {
    "PDF of pages": lambda n: ("application/pdf", base64_of(b"/Type /Page\n", n, b"%PDF-1.7\n")),
    "PDF of page counts": lambda n: ("application/pdf", base64_of(b"/Type /Pages /Count 9\n", n, b"%PDF-1.7\n")),
    "PDF of blanks": lambda n: ("application/pdf", base64_of(b"/Type ", n, b"%PDF-1.7\n")),
    "PDF of names": lambda n: ("application/pdf", base64_of(b"/Count", n, b"%PDF-1.7\n")),
    "PDF of streams": lambda n: ("application/pdf", base64_of(b"obj<</Length 9>>stream\n", n, b"%PDF-1.7\n")),
    "PDF of object streams": lambda n: (
        "application/pdf", base64_of(b"1 0 obj<</Type/ObjStm/Filter/FlateDecode>>stream\r\n"
        + zlib.compress(b"/Type/Page " * 9000) + b"\nendstream endobj\n", n, b"%PDF-1.7\n")),
    "text as a file": lambda n: ("text/plain", base64_of("é".encode(), n)),
    "a file of zeros": lambda n: ("application/octet-stream", base64_of(b"\0", n)),
}  # fmt: skip


def _schema_chain(count: int) -> Body:
    """Definitions that each name the next."""
    named = {f"d{i}": {"type": "object", "properties": {"n": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(count)}
    return {"type": "object", "properties": {"n": {"$ref": "#/$defs/d0"}}, "$defs": {**named, f"d{count}": {}}}


def _schema_bomb(count: int) -> Body:
    """One large definition that is named again and again."""
    wide = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(count)}}
    return {
        "type": "object",
        "properties": {f"q{i}": {"$ref": "#/$defs/d"} for i in range(count)},
        "$defs": {"d": wide},
    }


def _schema_doubling(count: int) -> Body:
    named = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(count)}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**named, f"d{count}": {}}}


def _schema_deep(count: int) -> Body:
    schema: Body = {"type": "string"}
    for _ in range(min(count, 300)):
        schema = {"type": "object", "properties": {"a": schema}, "title": "t", "minLength": 3}
    return schema


SCHEMAS: dict[str, Callable[[int], Any]] = {
    "an enum": lambda n: {"type": "object", "properties": {"a": {"enum": [f"e{i}" for i in range(n // 10)]}}},
    "properties": lambda n: {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(n // 30)}},
    "required": lambda n: {"type": "object", "properties": {}, "required": [f"p{i}" for i in range(n // 10)]},
    "wide unions": lambda n: {"anyOf": [{"type": "object", "required": [f"p{i}"], "properties": {f"p{i}": {}}}
                                        for i in range(n // 80)]},
    "unions of long demands": lambda n: {"anyOf": [{"required": [f"p{i}" for i in range(n // 30)]} for _ in range(3)]},
    "a union of all": lambda n: {"allOf": [{"properties": {f"p{i}": {"type": "string"}}} for i in range(n // 50)]},
    "inner unions of all": lambda n: {"type": "object", "properties": {"a": {
        "allOf": [{"properties": {f"p{i}": {"type": "string"}}} for i in range(n // 50)]}}},
    "references": lambda n: {"type": "object", "$defs": {"a": {"type": "string"}},
                             "properties": {f"p{i}": {"$ref": "#/$defs/a"} for i in range(n // 34)}},
    "a chain of references": lambda n: _schema_chain(n // 80),
    "references to something large": lambda n: _schema_bomb(n // 64),
    "references that double": lambda n: _schema_doubling(n // 60),
    "deep objects": lambda n: _schema_deep(n // 70),
    "deep objects, again and again": lambda n: {"type": "object", "properties": {
        f"p{i}": _schema_deep(40) for i in range(n // 3000)}},
    "patterns": lambda n: {"type": "object", "properties": {"a": {"pattern": "(a+)+" * (n // 5)}}},
    "nulls": lambda n: {"type": "object", "properties": {f"p{i}": None for i in range(n // 14)}},
    "unknown keywords": lambda n: {"type": "object", "properties": {
        f"p{i}": {"type": "string", "x-a": 1, "minLength": 2} for i in range(n // 60)}},
    "types": lambda n: {"type": "object", "properties": {"a": {"type": ["string", "null"] * (n // 18)}}},
    "dotted names": lambda n: {"type": "object", "properties": {"a" * n: {"type": "string"}}},
}  # fmt: skip


def _history(dialect: str, size: int, content: Callable[[int], Any], each: int) -> bytes:
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": content(i)} for i in range(size // each)]
    return say(dialect, [*turns, user(dialect, "go on")])


def _top(name: str, value: Callable[[int], Any]) -> Maker:
    return lambda dialect, size: say(dialect, [user(dialect, "q")], **{name: value(size)})


def _calls(count: int, arguments: str = "{}", name: str = "f{}", id: str = "call_{}") -> list[tuple[str, str, str]]:  # noqa: A002
    return [(id.format(i), name.format(i), arguments) for i in range(count)]


def _only(wanted: str, make: Callable[[int], bytes]) -> Maker:
    return lambda dialect, size: make(size) if dialect == wanted else None


def _with_json(dialect: str, place: str, text: str) -> bytes:
    """A request in which a JSON text stands where any may: `PLACE` is not a word of ours."""
    made = {
        "metadata": lambda: say(dialect, [user(dialect, "q")], metadata="PLACE"),
        "an unknown field": lambda: say(dialect, [user(dialect, "q")], odd="PLACE"),
        "messages": lambda: say(dialect, ["PLACE"]),
        "content": lambda: say(dialect, [user(dialect, "PLACE")]),
        "a schema": lambda: say(dialect, [user(dialect, "q")], tools=[tool(dialect, "f", "PLACE")]),
        "stop": lambda: say(dialect, [user(dialect, "q")], **{STOP[dialect]: "PLACE"}),
        "input": lambda: say(dialect, call_turns(dialect, [("c1", "f", '{"a":"PLACE"}')])).replace(
            b'\\"PLACE\\"', b"PLACE"),
        "tools": lambda: say(dialect, [user(dialect, "q")], tools="PLACE"),
        "tool_choice": lambda: say(dialect, [user(dialect, "q")], tool_choice="PLACE"),
    }[place]()  # fmt: skip
    return made.replace(b'"PLACE"', text.encode()).replace(b"PLACE", json.dumps(text)[1:-1].encode())


STOP = {"anthropic_messages": "stop_sequences", "openai_chat": "stop", "openai_responses": "stop"}
PLACES = ("metadata", "an unknown field", "messages", "content", "a schema", "stop", "input", "tools", "tool_choice")

TURNS: dict[str, Maker] = {
    "short turns": lambda d, n: _history(d, n, lambda i: "x", 38),
    "turns of one speaker": lambda d, n: say(d, [user(d, "x") for _ in range(n // 36)]),
    "turns of the assistant": lambda d, n: say(d, [{"role": "assistant", "content": "x"} for _ in range(n // 40)]),
    "system turns": lambda d, n: say(d, [{"role": "system", "content": "x"} for _ in range(n // 37)]),
    "late system turns": lambda d, n: say(d, [{"role": ("user", "system")[i % 2], "content": "x"} for i in range(n // 37)]),
    "developer turns": lambda d, n: say(d, [{"role": ("user", "developer")[i % 2], "content": "x"} for i in range(n // 38)]),
    "turns of nobody": lambda d, n: say(d, [{"role": "nobody", "content": "x"} for _ in range(n // 38)]),
    "empty turns": lambda d, n: say(d, [{"role": ("user", "assistant")[i % 2], "content": []} for i in range(n // 36)]),
    "blocks": lambda d, n: say(d, [user(d, [text_block(d, "x") for _ in range(n // 30)])]),
    "empty blocks": lambda d, n: say(d, [user(d, [text_block(d, "") for _ in range(n // 30)])]),
    "blank blocks": lambda d, n: say(d, [user(d, [text_block(d, " ") for _ in range(n // 30)])]),
    "unknown blocks": lambda d, n: say(d, [user(d, [{"type": "odd"} for _ in range(n // 17)])]),
    "unknown items": lambda d, n: say(d, [{"type": "odd"} for _ in range(n // 17)]),
    "images": lambda d, n: say(d, [user(d, [image_block(d, base64_of(b"\0", 40, png(9, 9))) for _ in range(n // 170)])]),
    "images by URL": lambda d, n: say(d, [user(d, [url_image(d, i) for i in range(n // 80)])]),
    "files": lambda d, n: say(d, [user(d, [file_block(d, base64_of(b"\0", 40, b"%PDF-1.7")) for _ in range(n // 160)])]),
    "cache marks": lambda d, n: say(d, [user(d, [{**text_block(d, "x"), "cache_control": {"type": "ephemeral"}} for _ in range(n // 70)])]),
    "citations": lambda d, n: say(d, [user(d, "q"), {"role": "assistant", "content": [
        {**text_block(d, "x" * (n // 60), "assistant"), **cited(d, n // 120)}]}, user(d, "q")]),
    "calls": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 170))]),
    "calls one by one": lambda d, n: say(d, [user(d, "q"), *(t for c in _calls(n // 230) for t in call_turns(d, [c]))]),
    "calls of one id": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 160, id="same"))]),
    "calls without results": lambda d, n: say(d, [user(d, "q"), *without_results(d, n // 90)]),
    "results without calls": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 90))[first_result(d, n // 90):]]),
    "calls with long ids": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 4200, id="x" * 2000 + "{}"))]),
    "one call with a long id": lambda d, n: say(d, [user(d, "q"), *call_turns(d, [("x" * (n // 2), "f", "{}")])]),
    "calls with odd ids": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 200, id="ü!{}"))]),
    "calls with odd names": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 200, name="a b.{}"))]),
    "calls with long names": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 2200, name="y" * 2000 + "{}"))]),
    "calls with wide arguments": lambda d, n: say(d, [user(d, "q"), *call_turns(d, [("c", "f", json.dumps({"a": [1] * (n // 3)}))])]),
    "arguments that are none": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 170, "[]"))]) if d != "anthropic_messages" else None,
    "results of blocks": lambda d, n: say(d, [user(d, "q"), *call_turns(d, [("c", "f", "{}")], [text_block(d, "x") for _ in range(n // 30)])]),
    "results of images": lambda d, n: say(d, [user(d, "q"), *call_turns(d, _calls(n // 400), [image_block(d, base64_of(b"\0", 40, png(9, 9)))])]),
    "tools": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, f"f{i}", {"type": "object"}) for i in range(n // 60)]),
    "tools of one name": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, "f", {"type": "object"}) for i in range(n // 60)]),
    "tools with odd names": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, f"a b.{i}", {"type": "object"}) for i in range(n // 64)]),
    "tools with names that collide": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, "y" * 200 + f"{i}", {"type": "object"}) for i in range(n // 260)]),
    "tools without schemas": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, f"f{i}", None) for i in range(n // 50)]),
    "strict tools": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, f"f{i}", {"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}}, strict=True) for i in range(n // 120)]),
    "foreign tools": lambda d, n: say(d, [user(d, "q")], tools=[{"type": "web_search_20990101", "name": f"w{i}"} for i in range(n // 50)]),
    "MCP tools": lambda d, n: say(d, [user(d, "q")], **mcp(d, n)),
    "custom tools": lambda d, n: say(d, [user(d, "q")], tools=[{"type": "custom", "name": f"f{i}"} for i in range(n // 40)]),
    "allowed tools": lambda d, n: say(d, [user(d, "q")], tools=[tool(d, f"f{i}", {}) for i in range(n // 120)], **allowed(d, n // 120)),
    "reasoning": lambda d, n: thoughts(d, n),
    "stop sequences": lambda d, n: say(d, [user(d, "q")], **{STOP[d]: [f"s{i}" for i in range(n // 10)]}),
    "unknown fields": lambda d, n: say(d, [user(d, "q")], **{f"odd{i}": i for i in range(n // 20)}),
    "parts without a type": lambda d, n: say(d, [user(d, [{"text": "x"} if i % 2 else {"functionResponse": {"name": "f", "response": {"a": 1}}} for i in range(n // 40)])]),
    "system blocks": _only("anthropic_messages", lambda n: say("anthropic_messages", [user("", "q")], system=[{"type": "text", "text": "x"} for _ in range(n // 30)])),
    "search results": _only("anthropic_messages", lambda n: say("anthropic_messages", [user("", [{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]} for _ in range(n // 100)])])),
    "documents of blocks": _only("anthropic_messages", lambda n: say("anthropic_messages", [user("", [{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"} for _ in range(n // 30)]}}])])),
    "server steps": _only("anthropic_messages", lambda n: say("anthropic_messages", [user("", "q"), {"role": "assistant", "content": [b for i in range(n // 220) for b in server_step(i)]}, user("", "q")])),
    "server steps without results": _only("anthropic_messages", lambda n: say("anthropic_messages", [user("", "q"), {"role": "assistant", "content": [server_step(i)[0] for i in range(n // 110)]}, user("", "q")])),
    "compactions": _only("anthropic_messages", lambda n: say("anthropic_messages", [user("", "q"), {"role": "assistant", "content": [{"type": "compaction", "content": "x"} for _ in range(n // 40)]}, user("", "q")])),
    "hosted items": _only("openai_responses", lambda n: say("openai_responses", [user("", "q"), *({"type": "web_search_call", "id": f"ws_{i}", "status": "completed", "action": {"type": "search", "query": "q"}} for i in range(n // 120))])),
    "shell items": _only("openai_responses", lambda n: say("openai_responses", [user("", "q"), *({"type": "local_shell_call", "call_id": f"c{i}", "id": f"l{i}", "status": "completed", "action": {"type": "exec", "command": ["ls"], "env": {}}} for i in range(n // 140))])),
    "custom calls": _only("openai_responses", lambda n: say("openai_responses", [user("", "q"), *({"type": "custom_tool_call", "call_id": f"c{i}", "name": "f", "input": "x"} for i in range(n // 80))])),
    "namespaces": _only("openai_responses", lambda n: say("openai_responses", [user("", "q")], tools=[{"type": "namespace", "name": f"n{i}", "description": "d", "tools": [tool("openai_responses", "f", {})]} for i in range(n // 130)])),
    "tools in tools": _only("openai_responses", lambda n: say("openai_responses", [user("", "q")], tools=[{"type": "namespace", "name": "n", "description": "d", "tools": [tool("openai_responses", f"f{i}", {}) for i in range(n // 60)]}])),
    "agent messages": _only("openai_responses", lambda n: say("openai_responses", [user("", "q"), *({"type": "agent_message", "author": "a", "recipient": "b", "content": [{"type": "input_text", "text": "x"}]} for _ in range(n // 120))])),
    "computer calls": _only("openai_responses", lambda n: say("openai_responses", [user("", "q"), *({"type": "computer_call", "call_id": f"c{i}", "id": f"k{i}", "action": {"type": "screenshot"}, "pending_safety_checks": [], "status": "completed"} for i in range(n // 160))])),
    "logit biases": _only("openai_chat", lambda n: say("openai_chat", [user("", "q")], logit_bias={str(i): 1 for i in range(n // 12)})),
    "functions of the old kind": _only("openai_chat", lambda n: say("openai_chat", [user("", "q")], functions=[{"name": f"f{i}", "parameters": {}} for i in range(n // 40)])),
    "calls of the old kind": _only("openai_chat", lambda n: say("openai_chat", [user("", "q"), *(t for i in range(n // 140) for t in ({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}, {"role": "function", "name": "f", "content": "x"}))])),
    "foreign parts": _only("openai_chat", lambda n: say("openai_chat", [user("", [{"type": "tool_result", "tool_use_id": f"t{i}", "content": "x"} for i in range(n // 70)])])),
    "reasoning details": _only("openai_chat", lambda n: say("openai_chat", [user("", "q"), {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.text", "text": "x", "index": i} for i in range(n // 60)]}, user("", "q")])),
    "one name of a user": _top("user", repeated("x")),
    "a model's name": lambda d, n: say(d, [user(d, "q")]).replace(b"MODEL", b"MODEL" + b"m" * n),
    "a field before the model": lambda d, n: b'{"a":' + b'[{"model":"x"},' * (n // 15) + b"1" + b"]" * (n // 15) + b',"model":"MODEL","messages":[],"input":[]}',
    "models before the model": lambda d, n: b'{"a":[' + b'{"model":"x"},' * (n // 15) + b'1],' + say(d, [user(d, "q")])[1:],
    "the model again and again": lambda d, n: b"{" + b'"model":"up/m",' * (n // 15) + say(d, [user(d, "q")])[1:],
    "the model in escapes": lambda d, n: b'{"a":"' + b"\\\"" * (n // 2) + b'","mode\\u006c":"MODEL",' + say(d, [user(d, "q")])[20:],
}  # fmt: skip


def url_image(dialect: str, number: int) -> Body:
    url = f"https://example.com/{number}.png"
    if dialect == "anthropic_messages":
        return {"type": "image", "source": {"type": "url", "url": url}}
    if dialect == "openai_chat":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "input_image", "image_url": url}


def cited(dialect: str, count: int) -> Body:
    if dialect == "anthropic_messages":
        at = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": "t"}
        return {"citations": [{**at, "start_char_index": i, "end_char_index": i + 1} for i in range(count)]}
    at = {"type": "url_citation", "url": "https://example.com", "title": "t"}
    return {"annotations": [{**at, "start_index": i, "end_index": i + 1} for i in range(count)]}


def first_result(dialect: str, calls: int) -> int:
    return calls if dialect == "openai_responses" else 1


def without_results(dialect: str, count: int) -> list[Body]:
    return call_turns(dialect, _calls(count))[: first_result(dialect, count)]


def mcp(dialect: str, size: int) -> Body:
    count = size // 130
    if dialect == "anthropic_messages":
        servers = [{"type": "url", "name": f"s{i}", "url": f"https://example.com/{i}"} for i in range(count)]
        return {
            "mcp_servers": servers,
            "tools": [{"type": "mcp_toolset", "mcp_server_name": f"s{i}"} for i in range(count)],
        }
    return {"tools": [{"type": "mcp", "server_label": f"s{i}", "server_url": f"https://example.com/{i}",
                       "require_approval": "never", "allowed_tools": [f"t{i}"]} for i in range(count)]}  # fmt: skip


def allowed(dialect: str, count: int) -> Body:
    if dialect == "anthropic_messages":
        return {"tool_choice": {"type": "any"}}
    if dialect == "openai_chat":
        named = [{"type": "function", "function": {"name": f"f{i}"}} for i in range(count)]
        return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named}}}
    named = [{"type": "function", "name": f"f{i}"} for i in range(count)]
    return {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": named}}


def thoughts(dialect: str, size: int) -> bytes:
    if dialect == "anthropic_messages":
        made = [{"type": "thinking", "thinking": "x", "signature": "s" * 40} for _ in range(size // 100)]
        return say(
            dialect, [user("", "q"), {"role": "assistant", "content": [*made, text_block("", "a")]}, user("", "q")]
        )
    if dialect == "openai_chat":
        turns = [{"role": "assistant", "content": "a", "reasoning_content": "x"} for _ in range(size // 70)]
        return say(dialect, [user("", "q"), *turns, user("", "q")])
    items = [
        {"type": "reasoning", "id": f"rs_{i}", "summary": [], "encrypted_content": "e" * 40} for i in range(size // 120)
    ]
    return say(dialect, [user("", "q"), *items, user("", "q")])


def server_step(number: int) -> tuple[Body, Body]:
    name = f"srvtoolu_{number}"
    return (
        {"type": "server_tool_use", "id": name, "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": name, "content": []},
    )


def _whole(dialect: str, size: int, name: str) -> bytes | None:
    kind, _, rest = name.partition(": ")
    match kind:
        case "text":
            return say(dialect, [user(dialect, TEXTS[rest](size))])
        case "raw text":
            return json.dumps(
                frame(dialect, [user(dialect, TEXTS[rest](size).replace("\ud83d", "?"))]), ensure_ascii=False
            ).encode()
        case "said":
            said = {"role": "assistant", "content": TEXTS[rest](size)}
            return say(dialect, [user(dialect, "q"), said, user(dialect, "q")])
        case "result":
            return say(dialect, [user(dialect, "q"), *call_turns(dialect, [("c1", "f", "{}")], TEXTS[rest](size))])
        case "system":
            text = TEXTS[rest](size)
            if dialect == "anthropic_messages":
                return say(dialect, [user(dialect, "q")], system=text)
            return say(dialect, [{"role": "system", "content": text}, user(dialect, "q")])
        case "description":
            return say(dialect, [user(dialect, "q")], tools=[tool(dialect, "f", {}, description=TEXTS[rest](size))])
        case "image":
            media_type, data = DATA[rest](size)
            return say(dialect, [user(dialect, [image_block(dialect, data, media_type)])])
        case "file":
            media_type, data = (DOCUMENTS | DATA)[rest](size)
            return say(dialect, [user(dialect, [file_block(dialect, data, media_type)])])
        case "schema":
            return say(dialect, [user(dialect, "q")], tools=[tool(dialect, "f", SCHEMAS[rest](size))])
        case "strict schema":
            return say(dialect, [user(dialect, "q")], tools=[tool(dialect, "f", SCHEMAS[rest](size), strict=True)])
        case "format":
            return say(dialect, [user(dialect, "q")], **schema_format(dialect, SCHEMAS[rest](size)))
        case "turns":
            return TURNS[rest](dialect, size)
        case _:
            return _with_json(dialect, kind.removeprefix("in "), JSON_TEXTS[rest](size))


NAMES: tuple[str, ...] = (
    *(f"{kind}: {name}" for kind in ("text", "raw text", "said", "result", "system", "description") for name in TEXTS),
    *(f"image: {name}" for name in DATA),
    *(f"file: {name}" for name in DOCUMENTS),
    *(f"{kind}: {name}" for kind in ("schema", "strict schema", "format") for name in SCHEMAS),
    *(f"turns: {name}" for name in TURNS),
    *(f"in {place}: {name}" for place in PLACES for name in JSON_TEXTS),
)


def make_body(name: str, dialect: str, size: int, model: str = "MODEL") -> bytes | None:
    """The body of this name; None where the dialect cannot say it."""
    body = _whole(dialect, size, name)
    return None if body is None else body.replace(b"MODEL", model.encode(), 1)


DIALECT_NAMES = tuple(PATHS)
