"""Chooses the models an agent will ask for, and their smallest context window."""

from __future__ import annotations

from collections.abc import Iterable

import click

from app.cli.accounts.reading import requires_key
from app.cli.launcher.agent import Agent, Connection
from app.cli.options import open_routing
from app.cli.running_gateway import own_key
from app.cli.serving.start_screen import ANY_KEY, KEY_VARIABLE
from app.errors import NotFound
from app.routing.router import Router
from app.routing.upstream import Upstream
from app.settings import Settings

# Names of each class that Claude Code uses by default.
CLAUDE_NAMES = ("claude-sonnet-4-6", "claude-opus-4-6")
SMALL_CLAUDE_NAME = "claude-haiku-4-5"


def plan_connection(settings: Settings, agent: Agent, model: str | None, url: str) -> Connection:
    """The connection for an agent that was told to use `model`, or may choose one itself."""
    router = open_routing(settings).router
    models, key = settings.models, own_key(settings)
    if key is None and requires_key(settings):
        message = f"this gateway requires a client key: export {KEY_VARIABLE}=…, with one of its keys"
        raise click.ClickException(message)
    main = model or agent.default_model or models.default or models.big or next(iter(router.names()), "demo/demo")
    # Names with haiku are routed to the small model anyway, if there is one.
    small = None if agent.default_model and (models.small or not model) else models.small or main
    first = next(iter(_resolve(router, main)), None)
    return Connection(
        url=url,
        key=key or ANY_KEY,
        is_secret=key is not None,
        main=main,
        model=model,
        small=small,
        window=find_window(router, list_names(agent, model or main, small)),
        upstream_dialect=first.capabilities.dialect if first else "",
    )


def list_names(agent: Agent, model: str, small: str | None = None) -> list[str]:
    """The names that an agent may ask for. Claude Code switches between its classes itself, and users switch with its
    picker."""
    if agent.default_model is None:
        return [model, small or model]
    return [*(CLAUDE_NAMES if model == agent.default_model else (model,)), small or SMALL_CLAUDE_NAME]


def find_window(router: Router, names: Iterable[str]) -> int | None:
    """The smallest known window, in tokens, of the upstreams that answer for the names."""
    found = [upstream.capabilities.context_window for name in names for upstream in _resolve(router, name)]
    return min(filter(None, found), default=None)


def _resolve(router: Router, name: str) -> list[Upstream]:
    """The upstreams of a name; empty for an unroutable name, which the trial request then reports in the gateway's own
    words."""
    try:
        return list(router.resolve(name))
    except NotFound:
        return []
