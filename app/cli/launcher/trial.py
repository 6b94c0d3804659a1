"""Sends one real request before an agent starts, to reveal a wrong key or model at once."""

from __future__ import annotations

import click

from app.cli.launcher.agent import Connection
from app.cli.running_gateway import ask_model

_PROMPT = "Answer with the word: ready"
# Enough for one word of any model, and the minimum that some upstreams accept.
_MAX_TOKENS = 64


def try_model(connection: Connection) -> str:
    """Asks the model for one word and returns the upstream that answered. A refusal ends the command with the gateway's
    message."""
    messages = [{"role": "user", "content": _PROMPT}]
    body = {"model": connection.main, "max_tokens": _MAX_TOKENS, "stream": True, "messages": messages}
    answer = ask_model(connection.url, connection.key, body, until_speaks=True)
    if answer.problem is not None:
        raise click.ClickException(
            f"{connection.main} does not work: {answer.problem}\nto find out why, run: dragoman doctor"
        )
    return answer.upstream
