"""Talks to a running gateway, for commands."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import click
import requests

from app.cli.serving.start_screen import base_url
from app.gateway.endpoints.tool_trial import PATH, Answer, read_answer
from app.settings import ServerSettings, Settings
from app.settings.key_checks import HASH_MARK

# Timeout in seconds for a health check.
_TIMEOUT = 2.0
# Seconds to connect, and between two pieces of an answer: some models must be loaded first.
_ANSWER_TIMEOUT = (5.0, 120.0)
# Maximum bytes read of an error.
_MAX_READ = 65536


def find_address(server: ServerSettings, url: str | None) -> str:
    """The gateway's URL: `url`, or the one in the settings. A socket ends the command."""
    if url is None and server.host.startswith("unix:"):
        raise click.ClickException("this gateway listens on a Unix socket; give its address with --url")
    return (url or base_url(server)).rstrip("/")


@contextlib.contextmanager
def open_gateway_session(key: str | None) -> Iterator[requests.Session]:
    """A session that sends a client key and uses no proxy."""
    with requests.Session() as session:
        session.trust_env = False
        if key:
            session.headers["authorization"] = f"Bearer {key}"
        yield session


def own_key(settings: Settings) -> str | None:
    """A client key from the settings, for commands on this machine: the operator's, else an admin's, else a client's.
    None if they contain only hashes."""
    named = sorted(settings.keys.values(), key=lambda each: (each.role != "admin", each.expires is not None))
    keys = (*settings.server.api_keys, *(each.key for each in named))
    return next((key for key in keys if not key.startswith(HASH_MARK)), None)


def ask_health(url: str, settings: Settings) -> dict[str, Any]:
    """The `/health` document at a URL; empty if no gateway answers."""
    with open_gateway_session(own_key(settings)) as session:
        try:
            health = session.get(f"{url}/health", timeout=_TIMEOUT, allow_redirects=False).json()
        except (requests.RequestException, ValueError, RecursionError):
            return {}
    return health if isinstance(health, dict) and health.get("service") == "dragoman" else {}


def ask_providers(settings: Settings) -> dict[str, Any]:
    """The provider entries in /health of the gateway running with these settings; empty if none runs."""
    if settings.server.host.startswith("unix:"):
        return {}
    match ask_health(base_url(settings.server), settings):
        case {"providers": {**providers}}:
            return {str(name): entry for name, entry in providers.items() if isinstance(entry, dict)}
    return {}


def ask_model(url: str, key: str, body: dict[str, Any], *, until_speaks: bool = False) -> Answer:
    """The answer to a streamed request in Anthropic Messages, as read by `read_answer`."""
    begun, answer = time.monotonic(), Answer()
    with open_gateway_session(key) as session:
        try:
            with session.post(
                url + PATH, json=body, timeout=_ANSWER_TIMEOUT, stream=True, allow_redirects=False
            ) as reply:
                answer.upstream, answer.status = reply.headers.get("x-dragoman-upstream", ""), reply.status_code
                if reply.status_code == 200:
                    return read_answer(iter(reply), begun, answer, until_speaks=until_speaks)
                answer.problem = explain_refusal(reply)
        except requests.RequestException as error:
            answer.problem = f"the gateway does not answer: {type(error).__name__}"
    answer.total = time.monotonic() - begun
    return answer


def explain_refusal(reply: requests.Response) -> str:
    """The message of an error, else its status."""
    message = reply.raw.read(_MAX_READ, decode_content=True).decode("utf-8", "replace")
    return find_message(message) or f"HTTP {reply.status_code}"


def find_message(text: str) -> str | None:
    """The message of an error, in any dialect's shape; None for anything else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match document:
        case {"error": {"message": str(message)}} | {"response": {"error": {"message": str(message)}}}:
            return message
        case {"type": "error", "message": str(message)}:
            return message
    return None
