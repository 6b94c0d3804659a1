"""Is `dragoman explain`: where a model's name leads, and what its upstream is taken for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.options import build_parts, config_option, read_settings
from app.errors import NotFound
from app.known_secrets import known_secrets
from app.providers.profiles import profile_of

if TYPE_CHECKING:
    from app.routing.router import Upstream


@click.command()
@config_option
@click.argument("model")
def explain(path: Path | None, model: str) -> None:
    """Show which upstreams answer for MODEL, the first choice first. Nothing is sent to a model."""
    router = build_parts(read_settings(path)).router
    try:
        upstreams = router.resolve(model)
    except NotFound as error:
        raise click.ClickException(str(error)) from error
    for number, upstream in enumerate(upstreams, 1):
        click.echo(f"{number}. {upstream.label}")
        for name, value in _describe(upstream).items():
            if value is not None:
                click.echo(f"   {name:<18}{known_secrets.mask(str(value))}")


def _describe(upstream: Upstream) -> dict[str, object]:
    provider, capabilities = upstream.provider, upstream.capabilities
    return {
        "kind": provider.kind,
        "dialect": capabilities.dialect,
        "URL": provider.url("generate", upstream.model) if provider.base_url else None,
        "profile": provider.settings.profile or profile_of(provider.base_url),
        "output limit": capabilities.max_output,
        "context window": capabilities.context_window,
        "effort asked for": upstream.reasoning_effort,
        "efforts known": ", ".join(capabilities.efforts) or None,
        "tools": "yes" if capabilities.tools else "no",
        "images": "yes" if capabilities.images else "no",
        "losses": upstream.policy,
    }
