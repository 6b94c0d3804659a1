"""Talks to a running gateway, for commands."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click
import requests
import sseclient

from app.cli.serving.start_screen import KEY_VARIABLE, base_url
from app.cli.terminal import echo
from app.gateway.endpoints.tool_trial import PATH, Answer, read_answer
from app.json_values import decode_object
from app.settings import ServerSettings, Settings
from app.settings.checks.keys import HASH_MARK
from app.settings.pasted_keys import clean_key

# Timeout in seconds for a health check.
_TIMEOUT = 2.0
# Seconds to connect, and between two pieces of an answer: some models must be loaded first.
_ANSWER_TIMEOUT = (5.0, 120.0)
# Maximum bytes read of an error.
_MAX_READ = 65536
# A gateway's requests as they end, and what it runs.
LIVE = "/_/api/live"
# Seconds: to connect to a stream of events, without a sign of life in it, and before the next try.
CONNECT, SILENCE, PAUSE = 5.0, 60.0, 2.0
# What shells return for a command that Ctrl-C ended.
_INTERRUPTED = 130


class GatewayUnreachable(click.ClickException):
    """No gateway answers, or it has no address."""


def find_address(server: ServerSettings, url: str | None) -> str:
    """The gateway's URL: `url`, or the one in the settings. A socket ends the command."""
    if url is None and server.host.startswith("unix:"):
        raise GatewayUnreachable("this gateway listens on a Unix socket; give its address with --url")
    return (url or base_url(server)).rstrip("/")


@contextlib.contextmanager
def open_gateway_session(key: str | None) -> Iterator[requests.Session]:
    """A session that sends a client key and uses no proxy."""
    with requests.Session() as session:
        session.trust_env = False
        if key:
            session.headers["authorization"] = f"Bearer {key}"
        yield session


def read_events(
    session: requests.Session, address: str, path: str, query: Mapping[str, str] = {}, last: str | None = None
) -> Iterator[sseclient.Event]:
    """The events of one connection, after the one with the id `last`. They are read only as fast as they are taken, so
    none pile up here. Raises ClickException."""
    headers = {} if last is None else {"last-event-id": last}
    url, timeout = f"{address}{path}", (CONNECT, SILENCE)
    try:
        with session.get(
            url, params=query, headers=headers, stream=True, timeout=timeout, allow_redirects=False
        ) as reply:
            if reply.status_code != 200:
                raise click.ClickException(explain_refusal(reply))
            yield from sseclient.SSEClient(reply.iter_content(None)).events()
    except requests.RequestException as error:
        raise GatewayUnreachable(
            f"no gateway answers at {address} ({type(error).__name__}); start one with dragoman serve, "
            "or name another with --url"
        ) from error


def follow_events(
    session: requests.Session, address: str, path: str, query: Mapping[str, str] = {}
) -> Iterator[sseclient.Event]:
    """The events of as many connections as it takes, each of which goes on where the one before ended. Says once why
    there is none. Raises ClickException if there has never been one."""
    last, problem, connected = None, "", False
    while True:
        try:
            for event in read_events(session, address, path, query, last):
                last, problem, connected = event.id or last, "", True
                yield event
        except click.ClickException as error:
            if not connected:
                raise
            if error.message != problem:
                echo(f"{error.message}; trying again …", err=True)
            problem = error.message
        time.sleep(PAUSE)


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C ends what only a person ends, without a word."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_INTERRUPTED)


def own_key(settings: Settings) -> str | None:
    """The client key of commands on this machine: that of $DRAGOMAN_API_KEY, else one from the settings: the
    operator's, an admin's or a client's. None if they contain only hashes."""
    if given := clean_key(os.environ.get(KEY_VARIABLE, "")):
        return given
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
    said = find_message(message) or f"HTTP {reply.status_code}"
    return f"{said}; or set {KEY_VARIABLE}" if reply.status_code == 401 and "client key" in said else said


def find_message(text: str) -> str | None:
    """The message of an error, in any dialect's shape; None for anything else."""
    match decode_object(text):
        case {"error": {"message": str(message)}} | {"response": {"error": {"message": str(message)}}}:
            return message
        case {"type": "error", "message": str(message)}:
            return message
    return None
