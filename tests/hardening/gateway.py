"""A gateway as its users run it, for attacks: one worker, one key, and an upstream whose script the test writes, as a
provider of each dialect."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

from tests.support.answers import chat_answer
from tests.support.gateway_process import GatewayProcess

KEY = "sk-client-0123456789"
PATHS = {
    "anthropic_messages": "/v1/messages",
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
}
PROVIDERS = {"anthropic_messages": "messages", "openai_chat": "up", "openai_responses": "responses"}
# A provider of each dialect at the same upstream.
PROVIDER_TABLES = """
[providers.up]
kind = "openai"
base_url = "URL/v1"
api_key = "sk-up"

[providers.messages]
kind = "anthropic"
base_url = "URL"
api_key = "sk-up"

[providers.responses]
kind = "openai"
dialect = "openai_responses"
base_url = "URL/v1"
api_key = "sk-up"
"""


class Attacked(GatewayProcess):
    """`server` are settings of `[server]`."""

    def __init__(self, folder: Path, upstream_url: str, *, command: tuple[str, ...] = ("dragoman", "serve"),
                 more: str = "", environ: dict[str, str] | None = None, **server: Any) -> None:  # fmt: skip
        self.config = folder / "dragoman.toml"
        self.upstream_url = upstream_url
        self.server = {"api_keys": [KEY], **server}
        self.write_config(more)
        super().__init__(folder, command=command, **(environ or {}))

    def write_config(self, more: str = "", **server: Any) -> None:
        """A whole file, in the place of the old one at once."""
        lines = ["[server]", *(f"{key} = {json.dumps(value)}" for key, value in (self.server | server).items())]
        fresh = self.config.with_suffix(".new")
        fresh.write_text("\n".join([*lines, PROVIDER_TABLES.replace("URL", self.upstream_url), more, ""]))
        fresh.replace(self.config)

    def connect(self, seconds: float = 10.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def exchange(self, sent: bytes, seconds: float = 10.0) -> bytes:
        """What comes back until the gateway ends the connection, or for so long."""
        with self.connect(seconds) as client:
            with contextlib.suppress(OSError):
                client.sendall(sent)
            return read_rest(client)

    def ask(self, path: str, body: bytes, *fields: str, seconds: float = 20.0, close: bool = True) -> tuple[int, bytes]:
        """Status and body of one POST with the client key."""
        answer = self.exchange(post(path, body, *fields, close=close), seconds)
        head, _, rest = answer.partition(b"\r\n\r\n")
        return (int(head[9:12]) if head.startswith(b"HTTP/1.") else 0), rest

    def stall_during(self, path: str, body: bytes, *fields: str, seconds: float = 60.0) -> tuple[float, int]:
        """The longest that another client waited for /ping while this request was answered; and the status."""
        longest, status = 0.0, 0
        with self.connect(seconds) as heavy, self.connect(seconds) as other:
            heavy.setblocking(False)
            data = memoryview(post(path, body, *fields))
            answer = b""
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if data:
                    with contextlib.suppress(BlockingIOError):
                        data = data[heavy.send(data[: 1 << 18]) :]
                asked = time.monotonic()
                other.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
                read_reply(other)
                longest = max(longest, time.monotonic() - asked)
                try:
                    piece = heavy.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    break
                answer += piece
                if not piece:
                    break
        if answer.startswith(b"HTTP/1.1 "):
            status = int(answer[9:12])
        return longest, status


def post(path: str, body: bytes, *fields: str, close: bool = True) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", f"x-api-key: {KEY}"]
    end = ["Connection: close"] if close else []
    return "\r\n".join([*head, "Content-Type: application/json", *fields, *end, "", ""]).encode("latin-1") + body


def read_rest(client: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            received += data
    return received


def read_reply(client: socket.socket) -> bytes:
    """One whole reply with a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(65536)
        if not data:
            return received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields.get(b"content-length", b"0"))
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def split_replies(answer: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each reply on a connection, all of them with a length."""
    replies = []
    while answer.startswith(b"HTTP/1.1 "):
        head, _, rest = answer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        replies.append((int(head[9:12]), rest[:length]))
        answer = rest[length:]
    return replies


def question(dialect: str, text: str = "hi", model: str = "up/m", **more: Any) -> bytes:
    if dialect == "openai_responses":
        return json.dumps({"model": model, "input": text, "store": False, **more}).encode()
    limit = {"max_tokens": 9} if dialect == "anthropic_messages" else {}
    return json.dumps({"model": model, **limit, "messages": [{"role": "user", "content": text}], **more}).encode()


def error_of(body: bytes, dialect: str) -> dict[str, Any]:
    """The error object of an answer, which must be of this dialect."""
    told = json.loads(body)
    assert (told.get("type") == "error") == (dialect == "anthropic_messages"), told
    error: dict[str, Any] = told["error"]
    assert error["message"], told
    assert isinstance(error["type"], str), told
    return error


ANSWER = chat_answer("ok", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
