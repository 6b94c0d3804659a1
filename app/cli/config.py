"""`dragoman config`: shows and checks settings, writes a first file, makes a key."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from pathlib import Path

import click

from app.cli.options import config_option, json_option, open_routing, print_json, read_settings, write_private
from app.cli.terminal import echo
from app.errors import ConfigError
from app.known_secrets import known_secrets
from app.settings import masked, write_settings
from app.settings.places import home_folder


@click.group()
def config() -> None:
    """Show and check the settings, create a configuration file, make a key."""


@config.command("list")
@config_option
@click.option("--json", "_as_json", is_flag=True, help="Accepted for consistency: the output is always JSON.")
def list_settings(path: Path | None, **_: bool) -> None:
    """Show the settings in force as JSON, with secrets masked."""
    settings = read_settings(path)
    echo(known_secrets.mask(json.dumps(masked(settings), indent=2, default=str)))


@config.command("init")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("dragoman.toml"))
def init_file(path: Path) -> None:
    """Create a configuration file at PATH (default: ./dragoman.toml). An existing file is never overwritten.

    The file contains the settings now in force and the credentials found, so creating it changes no behavior.
    """
    _begin(path)


def _begin(path: Path) -> None:
    if path.exists():
        raise click.ClickException(f"{path} already exists")
    settings = read_settings(None)
    with contextlib.suppress(OSError):  # an error shows when the file is written
        path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, write_settings(settings, os.environ, home_folder(os.environ)))
    echo(f"wrote {path}")
    kept = [name for name in settings.providers if name != "demo"]
    if kept:
        echo(f"kept: {', '.join(kept)}; unknown model names are routed to {settings.models.default}")
    else:
        echo("no provider is configured or found yet; the built-in demo answers until you add one")


@config.command("check")
@config_option
@json_option
def check_settings(path: Path | None, as_json: bool) -> None:
    """Check the settings as `serve` does, without starting anything. Reports every error at once, with its line, and
    warns of keys whose patterns match no provider or model."""
    from app.cli.configuring.key_patterns import find_idle_patterns

    try:
        settings = read_settings(path)
        open_routing(settings)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "faults": str(error).splitlines()})
        sys.exit(1)
    warnings = list(find_idle_patterns(settings, settings.keys))
    if as_json:
        source = str(settings.source) if settings.source else None
        print_json({"ok": True, "source": source, "providers": list(settings.providers), "warnings": warnings})
        return
    echo(f"ok: {settings.source or 'no configuration file; using what was found on this machine'}")
    echo(f"providers: {', '.join(settings.providers) or 'none'}")
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


@config.command("codex")
@config_option
@click.option("--enable/--disable", "enabled", default=True, show_default=True, help="Add or remove the table.")
def switch_codex(path: Path | None, enabled: bool) -> None:
    """Add the table [providers.codex], for a ChatGPT login, to the configuration file, or remove it. Keeps comments.

    If there is no configuration file, creates one as `config init` does.
    """
    from app.dashboard.configuration.edits import Edit, apply, propose

    source = path or read_settings(None).source
    if source is None:
        source = Path("dragoman.toml")
        _begin(source)
    edit = Edit(("providers", "codex", "kind"), "codex") if enabled else Edit(("providers", "codex"))
    proposal = propose(source, [edit], os.environ)
    if proposal.before == proposal.after:
        echo(f"{source}: nothing to change")
        return
    backup = apply(proposal, proposal.mark)
    echo("\n".join(proposal.diff))
    echo(f"wrote {source}; previous version: {backup}")


@config.command("generate-token")
def generate_token() -> None:
    """Generate a key for [server] api_keys."""
    echo(f"dm-{secrets.token_urlsafe(32)}")


@config.command("schema")
def show_schema() -> None:
    """Print the JSON schema of the configuration file. For your editor, begin the configuration file with:

    #:schema ./dragoman.schema.json
    """
    from app.cli.configuring.schema import make_schema

    echo(json.dumps(make_schema(), indent=2))
