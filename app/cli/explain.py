"""Is `dragoman explain`: where a model's name leads, and what its upstream is taken for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.logins.status import ask_gateway
from app.cli.options import complete_models, config_option, json_option, open_ways, read_settings
from app.errors import ClientError, NotFound
from app.known_secrets import known_secrets
from app.providers.profiles import find_sources

if TYPE_CHECKING:
    from app.routing.router import Upstream


@click.command()
@config_option
@json_option
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a request; shows what becomes of it on its way to the first choice.",
)
@click.argument("model", required=False, shell_complete=complete_models)
def explain(path: Path | None, as_json: bool, body: Path | None, model: str | None) -> None:
    """Show which upstreams answer for MODEL, the first choice first, and why. Nothing is sent to a model."""
    content = body.read_bytes() if body is not None else b""
    model = model or _read_model(content)
    settings = read_settings(path)
    router = open_ways(settings).router
    try:
        upstreams = router.resolve(model)
    except NotFound as error:
        raise click.ClickException(str(error)) from error
    running = ask_gateway(settings.server)
    described: list[dict[str, object]] = [
        {
            "upstream": upstream.label,
            **{
                name: known_secrets.mask(str(value)) for name, value in _describe(upstream).items() if value is not None
            },
        }
        for upstream in upstreams
    ]
    for told, upstream in zip(described, upstreams, strict=True):
        learned = list(_list_learned(running.get(upstream.provider.name, {}), upstream.model))
        if learned:
            told["learned"] = "; ".join(learned)
        told["quirks"] = [
            f"{name} = {json.dumps(value)}  ({source})"
            for name, (value, source) in sorted(_find_peculiar(upstream).items())
        ]
    if body is not None:
        described[0] |= _translate(content, upstreams[0])
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for number, told in enumerate(described, 1):
        click.echo(f"{number}. {told.pop('upstream')}")
        sent, quirks = told.pop("body", None), told.pop("quirks")
        for name, value in told.items():
            click.echo(f"   {name:<18}{value}")
        for quirk in quirks if isinstance(quirks, list) else ():
            click.echo(f"   {'quirk':<18}{quirk}")
        if sent is not None:
            click.echo(json.dumps(sent, indent=2))


def _list_learned(entry: Mapping[str, Any], model: str) -> Iterator[str]:
    """What a running gateway has learned of a model by its refusals; `entry` is its provider's part of /health."""
    for fact in entry.get("learned", ()):
        match fact:
            case {"model": str(named), "fact": str(name), "seconds": int(seconds)} if named == model:
                whom = f"the client {fact['tenant']}…" if fact.get("tenant") else "everybody"
                yield f"{name}, for {whom}, forgotten in {max(1, seconds // 60)} min"


def _read_model(content: bytes) -> str:
    try:
        named = json.loads(content or b"{}").get("model")
    except (ValueError, AttributeError) as error:
        raise click.UsageError(f"the request is no JSON object: {error}") from error
    if not isinstance(named, str) or not named:
        raise click.UsageError("name a MODEL, or a --body that names one")
    return named


def _translate(content: bytes, upstream: Upstream) -> dict[str, object]:
    """What the upstream would be sent for a request, and what is lost on the way; its fields tell its dialect."""
    from app.dialects.registry import DIALECTS
    from app.gateway.choice import open_attempt
    from app.gateway.messages import ClientRequest

    fields = json.loads(content)
    messages = "input" not in fields and ("system" in fields or "max_tokens" in fields)
    name = "openai_responses" if "input" in fields else "anthropic_messages" if messages else "openai_chat"
    request = ClientRequest(DIALECTS[name], content, {})
    try:
        attempt = open_attempt(request, upstream, upstream.capabilities, None, bool(fields.get("stream")))
    except ClientError as error:
        raise click.ClickException(f"refused: {error}") from error
    losses = [f"{loss.path} ({loss.severity}): {loss.why}" for loss in attempt.losses]
    sent = json.loads(attempt.upstream_request.body)
    return {"read as": name, "lost or lowered": "; ".join(losses) or "nothing", "body": sent}


def _find_peculiar(upstream: Upstream) -> dict[str, tuple[object, str]]:
    """What is not usual about the upstream, and which table says so."""
    provider = upstream.provider
    quirks = provider.settings.quirks
    return find_sources(upstream.capabilities.dialect, upstream.model, provider.profile, quirks, provider.rows)


def _describe(upstream: Upstream) -> dict[str, object]:
    provider, capabilities = upstream.provider, upstream.capabilities
    return {
        "because": upstream.matched,
        "kind": provider.kind,
        "credential": _describe_credential(upstream),
        "dialect": capabilities.dialect,
        "URL": provider.url("generate", upstream.model) if provider.base_url else None,
        "profile": provider.profile,
        "output limit": capabilities.max_output,
        "context window": capabilities.context_window or "not known; set context_window",
        "effort asked for": upstream.reasoning_effort,
        "efforts known": ", ".join(capabilities.efforts) or None,
        "tools": "yes" if capabilities.tools else "no",
        "images": "yes" if capabilities.images else "no",
        "losses": upstream.policy,
    }


def _describe_credential(upstream: Upstream) -> str:
    source = upstream.provider.source
    if source is None:
        return "none of its own"
    status = source.describe()
    return status.problem or f"from {status.source}"
