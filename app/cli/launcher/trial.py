"""Sends one real request before an agent starts, so that a wrong key or model shows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import requests

from app.cli.launcher.agent import Connection, Dialect
from app.cli.running_gateway import explain_refusal, find_message, open_gateway_session

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
    with open_gateway_session(connection.key) as session:
        try:
            with session.post(
                f"{connection.url}{path}", json=body, timeout=TIMEOUT, stream=True, allow_redirects=False
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
        return explain_refusal(reply)
    seen = 0
    for line in reply.iter_lines():
        seen += len(line)
        if line.startswith(b"data:"):
            message = find_message(line[5:].decode("utf-8", "replace"))
            if message is not None or b"delta" in line:
                return message
        if seen > _LONGEST:
            break
    return None
