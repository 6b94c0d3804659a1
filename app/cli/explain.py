"""`dragoman explain`: shows where a model name leads and what its upstream supports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import click

from app.cli.options import complete_models, config_option, json_option, open_routing, read_settings, waiting_for
from app.cli.running_gateway import ask_providers
from app.cli.terminal import echo, echo_line
from app.errors import ClientError

# Maximum bytes read of a request.
MAX_BODY = 64 << 20


@click.command()
@config_option
@json_option
@click.option(
    "--body",
    type=click.File("rb"),
    help="File with a request, or -; also shows how it would be translated for the first upstream.",
)
@click.argument("model", required=False, shell_complete=complete_models)
def explain(path: Path | None, as_json: bool, body: BinaryIO | None, model: str | None) -> None:
    """Show which upstreams would answer for MODEL, in order of preference, and why. Sends nothing to a model."""
    # Imported here: the translators would slow down a start that only prints help.
    from app.gateway.endpoints.explanation import describe_upstream, list_learned, list_quirks, translate

    content = body.read(MAX_BODY) if body is not None else b"{}"
    request = _read_request(content)
    model = model or _read_model(request)
    settings = read_settings(path)
    router = open_routing(settings).router
    with waiting_for("the providers' lists of models"):
        upstreams = router.resolve(model)
    running = ask_providers(settings)
    described: list[dict[str, object]] = [
        {"upstream": upstream.label, **describe_upstream(upstream)} for upstream in upstreams
    ]
    for upstream_fields, upstream in zip(described, upstreams, strict=True):
        learned = list(list_learned(running.get(upstream.provider.name, {}), upstream.model))
        if learned:
            upstream_fields["learned"] = "; ".join(learned)
        upstream_fields["quirks"] = list_quirks(upstream)
    if body is not None:
        try:
            described[0] |= translate(content, upstreams[0])
        except ClientError as error:
            raise click.ClickException(f"refused: {error}") from error
    if as_json:
        echo(json.dumps(described, indent=2))
        return
    for number, upstream_fields in enumerate(described, 1):
        _print(number, upstream_fields)


def _print(number: int, fields: dict[str, object]) -> None:
    echo_line(f"{number}. {fields.pop('upstream')}")
    sent, quirks = fields.pop("body", None), fields.pop("quirks")
    for name, value in fields.items():
        echo_line(f"   {name:<18}{value}")
    for quirk in quirks if isinstance(quirks, list) else ():
        echo_line(f"   {'quirk':<18}{quirk}")
    if sent is not None:
        echo(json.dumps(sent, indent=2))


def _read_model(request: dict[str, Any]) -> str:
    named = request.get("model")
    if not isinstance(named, str) or not named:
        raise click.UsageError("name a MODEL, or a --body that contains one")
    return named


def _read_request(content: bytes) -> dict[str, Any]:
    try:
        request = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"the request in --body is not JSON: {str(error)[:200]}") from error
    if not isinstance(request, dict):
        raise click.UsageError("the request in --body is not a JSON object")
    return request
