"""Which models an agent will ask for, and the smallest window among those that answer."""

from __future__ import annotations

from app.cli.launcher.agent import ANY_KEY, Agent, Connection
from app.cli.options import build_parts
from app.errors import NotFound
from app.routing.router import Router, Upstream
from app.settings import Settings

# Names of each class that Claude Code asks for by itself.
CLAUDE_NAMES = ("claude-sonnet-4-6", "claude-opus-4-6")
SMALL_CLAUDE_NAME = "claude-haiku-4-5"


def plan_connection(settings: Settings, agent: Agent, model: str | None, url: str) -> Connection:
    """The connection of an agent that was asked to use `model`, or to choose by itself."""
    router = build_parts(settings).router
    models, keys = settings.models, settings.server.api_keys
    main = model or agent.default_model or models.default or models.big or next(iter(router.names()), "demo/demo")
    # Names with haiku lead to the small model anyway, where there is one.
    small = None if agent.default_model and (models.small or not model) else models.small or main
    # Claude Code changes between the classes by itself, and a user by its picker.
    names = [main, *(CLAUDE_NAMES if agent.default_model and not model else ())]
    names.append(small or SMALL_CLAUDE_NAME)
    answering = {name: _resolve(router, name) for name in dict.fromkeys(names)}
    found = [upstream for upstreams in answering.values() for upstream in upstreams]
    windows = [window for upstream in found if (window := upstream.capabilities.context_window)]
    first = next(iter(answering[main]), None)
    return Connection(
        url=url,
        key=keys[0] if keys else ANY_KEY,
        is_secret=bool(keys),
        main=main,
        model=model,
        small=small,
        window=min(windows, default=None),
        upstream_dialect=first.capabilities.dialect if first else "",
    )


def _resolve(router: Router, name: str) -> list[Upstream]:
    """The upstreams of a name; none for one that leads nowhere, which the trial tells in the gateway's own words."""
    try:
        return list(router.resolve(name))
    except NotFound:
        return []
