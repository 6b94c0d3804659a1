"""The MCP server through which the Claude program asks for permission, as pure functions on messages.

Source: modelcontextprotocol.io, "Streamable HTTP", version 2025-11-25; `claude --permission-prompt-tool`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from app.permissions.pending import Permission

# Supported versions, newest first. A client that asks for another version gets the first.
VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
TOOL = "check_permission"

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602

TOOLS = [
    {
        "name": TOOL,
        "description": "Asks a person whether a tool may be used.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "tool_name": {"type": "string"},
                "input": {"type": "object"},
                "tool_use_id": {"type": "string"},
            },
            "required": ["tool_name", "input"],
        },
    }
]


class Message(msgspec.Struct, frozen=True):
    """A JSON-RPC message. Without `id` it is a notification, without `method` a response."""

    jsonrpc: Literal["2.0"]
    method: str | None = None
    id: int | str | None = None
    params: dict[str, Any] = {}


class Question(msgspec.Struct, frozen=True):
    """The arguments of a call of the tool."""

    tool_name: str
    input: dict[str, Any] = {}


class McpError(Exception):
    """A protocol error, with its JSON-RPC code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


_decoder = msgspec.json.Decoder(Message)


def read_message(body: bytes) -> Message:
    """Parses a message. Raises McpError."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise McpError(INVALID_REQUEST, f"this is not a JSON-RPC message: {error}"[:300]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise McpError(PARSE_ERROR, "the body is not valid JSON") from error


def answer_at_once(message: Message, version: str) -> dict[str, Any] | None:
    """The result of a request that needs no decision by a person. None for a call of the tool. `version` is the
    gateway's. Raises McpError."""
    match message.method:
        case "initialize":
            wanted = message.params.get("protocolVersion")
            return {
                "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "dragoman", "version": version},
            }
        case "ping":
            return {}
        case "tools/list":
            return {"tools": TOOLS}
        case "tools/call":
            return None
        case other:
            raise McpError(METHOD_NOT_FOUND, f"the method {str(other)[:100]!r} does not exist")


def read_question(message: Message) -> Question:
    """The arguments of a call of the tool. Raises McpError."""
    if message.params.get("name") != TOOL:
        raise McpError(INVALID_PARAMS, f"the only tool is {TOOL}")
    try:
        return msgspec.convert(message.params.get("arguments"), Question)
    except msgspec.ValidationError as error:
        raise McpError(INVALID_PARAMS, f"arguments: {error}"[:300]) from error


def decision(permission: Permission) -> dict[str, Any]:
    """The tool's result for a permission request that was answered or has expired."""
    if permission.answered == "allowed":
        return _result({"behavior": "allow", "updatedInput": permission.input})
    return deny(
        permission.message
        or ("A person denied this." if permission.answered == "denied" else "Nobody gave permission in time.")
    )


def deny(message: str) -> dict[str, Any]:
    return _result({"behavior": "deny", "message": message})


def encode_result(message_id: int | str | None, result: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "result": result})


def encode_error(message_id: int | str | None, error: McpError) -> bytes:
    return msgspec.json.encode(
        {"jsonrpc": "2.0", "id": message_id, "error": {"code": error.code, "message": str(error)}}
    )


def _result(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": msgspec.json.encode(content).decode()}], "isError": False}
