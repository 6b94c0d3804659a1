"""One real request before an agent starts, so that a wrong key or model is told here and not after its retries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import requests

from app.cli.launcher.agent import Connection, Dialect

# Seconds to connect, and between two pieces of an answer: some models have to be loaded first.
TIMEOUT = (5.0, 120.0)
_PROMPT = "Answer with the word: ready"
# Enough for a word of any model, and the least that some upstreams take.
_MOST_TOKENS = 64
# Bytes of an answer that are looked at.
_LONGEST = 65536

_MESSAGES = [{"role": "user", "content": _PROMPT}]
REQUESTS: dict[Dialect, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "anthropic_messages": (
        "/v1/messages",
        lambda model: {"model": model, "max_tokens": _MOST_TOKENS, "messages": _MESSAGES},
    ),
    "openai_chat": (
        "/v1/chat/completions",
        lambda model: {"model": model, "max_tokens": _MOST_TOKENS, "messages": _MESSAGES},
    ),
    "openai_responses": (
        "/v1/responses",
        lambda model: {"model": model, "max_output_tokens": _MOST_TOKENS, "input": _PROMPT, "store": False},
    ),
}


def try_model(connection: Connection, dialect: Dialect) -> str:
    """Ask the model for a word; which upstream answered. A refusal ends the command with what the gateway says."""
    path, make = REQUESTS[dialect]
    body = make(connection.main) | {"stream": True}
    headers = {"authorization": f"Bearer {connection.key}", "accept": "text/event-stream"}
    with requests.Session() as session:
        session.trust_env = False
        try:
            with session.post(
                f"{connection.url}{path}",
                json=body,
                headers=headers,
                timeout=TIMEOUT,
                stream=True,
                allow_redirects=False,
            ) as reply:
                problem = _find_problem(reply)
                answered = reply.headers.get("x-dragoman-upstream", "")
        except requests.RequestException as error:
            problem, answered = f"the gateway does not answer: {type(error).__name__}", ""
    if problem is not None:
        raise click.ClickException(f"{connection.main} cannot be used: {problem}\nrun: dragoman doctor")
    return answered


def _find_problem(reply: requests.Response) -> str | None:
    """What is wrong with a reply: its status, or an error as its first event."""
    if reply.status_code != 200:
        said = reply.raw.read(_LONGEST, decode_content=True)
        return _read_message(said.decode("utf-8", "replace")) or f"HTTP {reply.status_code}"
    seen = 0
    for line in reply.iter_lines():
        seen += len(line)
        if line.startswith(b"data:"):
            message = _read_message(line[5:].decode("utf-8", "replace"))
            if message is not None or b"delta" in line:
                return message
        if seen > _LONGEST:
            break
    return None


def _read_message(text: str) -> str | None:
    """The sentence of an error, in any dialect's shape; None for anything else."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match told:
        case {"error": {"message": str(message)}} | {"response": {"error": {"message": str(message)}}}:
            return message
        case {"type": "error", "message": str(message)}:
            return message
    return None
