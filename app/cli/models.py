"""`dragoman models`: lists the models that clients can name."""

from __future__ import annotations

import json
from pathlib import Path

import click

from app.cli.options import config_option, hush_log, json_option, read_settings, waiting_for
from app.cli.terminal import echo

# Seconds to wait for lists.
_LIST_TIMEOUT = 15.0


@click.command()
@config_option
@json_option
def models(path: Path | None, as_json: bool) -> None:
    """List the models that clients can name, one per line."""
    # Imported here: the other commands need not wait for the whole server to load.
    from app import create_app
    from app.blueprints.models import render_model
    from app.providers.provider import fill_catalogues

    settings = read_settings(path)
    hush_log()  # what fails is said once, at the end
    # The list that a client with all rights gets, from the same code.
    parts = create_app(settings).runtime.services
    with waiting_for("the providers' lists of models"):
        # A client waits only for seconds; a person at a terminal waits for complete lists.
        fill_catalogues(parts.providers.values(), limit=_LIST_TIMEOUT)
        listed = [render_model(model) for model in parts.listing.models()]
    if listed or as_json:
        echo(json.dumps(listed, indent=2) if as_json else "\n".join(model["id"] for model in listed))
    problems = [f"{name}: {problem}" for name, problem in parts.listing.problems().items()]
    if not (listed or problems):
        raise click.ClickException('no provider lists a model; name them: models = ["…"] in [providers.NAME]')
    if problems:
        raise click.ClickException("could not read some model lists:\n  " + "\n  ".join(problems))
