"""Options shared by commands, and the settings that they select."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from app.cli.terminal import echo
from app.credentials.stores.private_files import close_to_others
from app.errors import ConfigError
from app.settings import ProviderSettings, Settings, load_settings

if TYPE_CHECKING:
    import requests

    from app.routing.build import Routing


# Seconds after which a wait is explained.
_LONG = 1.0


class WholeNumber(click.IntRange):
    """An option's number, with a plain error message."""

    def __init__(self, least: int, maximum: int | None = None) -> None:
        super().__init__(least, maximum)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or number < (self.min or 0) or (self.max is not None and number > self.max):
            limits = f"from {self.min} to {self.max}" if self.max is not None else f"of at least {self.min}"
            self.fail(f"{value!r} is not a whole number {limits}", parameter, context)
        return number


config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file. Default: $DRAGOMAN_CONFIG, ./dragoman.toml, then the user's own.",
)


def read_settings(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings as every start reads them. Raises ConfigError."""
    return load_settings(path, os.environ, overrides or {})


def hush_log() -> None:
    """Keeps warnings off the terminal where the command says itself what they are about."""
    logging.getLogger("dragoman").addHandler(logging.NullHandler())


def open_session(settings: Settings, name: str, provider: ProviderSettings) -> requests.Session:
    """A session to the issuer of a provider's login, with the server's own proxies. Raises ConfigError."""
    from app.providers.registry import find_transport
    from app.routing.build import transport_settings
    from app.transport import Transport

    return find_transport(name, provider, Transport(transport_settings(settings))).session


def open_routing(settings: Settings) -> Routing:
    """The routing that the server would have. Raises ConfigError."""
    # Imported here: most commands do not need it.
    from app.routing.build import build_routing

    check_hooks(settings)
    return build_routing(settings, os.environ, Path.home())


def check_hooks(settings: Settings) -> None:
    """Raises ConfigError if a required hook is missing. Loads no package otherwise."""
    if settings.hooks.required:
        from app.gateway.recording.hooks import load_hooks

        load_hooks(settings.hooks.off, settings.hooks.required)


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Says at a terminal what is being waited for, if that takes longer than a second."""
    if not sys.stderr.isatty():
        yield
        return
    message = f"waiting for {what} …"
    shown = threading.Event()

    def tell() -> None:
        shown.set()
        echo(message, nl=False, err=True)

    timer = threading.Timer(_LONG, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if shown.is_set():
            click.echo(f"\r{' ' * len(message)}\r", nl=False, err=True)


def write_private(path: Path, text: str, *, over: bool = False) -> None:
    """Writes a file that only its user may read, because it may contain keys. An existing file is overwritten if
    `over`; otherwise, and if writing fails, the command ends, as for a file or link that another user has put there."""
    try:
        if over and os.path.lexists(path) and path.lstat().st_uid not in (0, os.geteuid()):
            raise click.ClickException(f"{path} belongs to another user; name another file")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if over else os.O_EXCL), 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            close_to_others(descriptor)
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{path} already exists") from error
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error


json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")


def print_json(value: Any) -> None:
    echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def complete_models(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Shell completion for a model's name: only names in the settings, because a shell cannot wait."""
    try:
        settings = load_settings(None, os.environ, {})
    except ConfigError:
        return []
    models = settings.models
    offered = [name for name in models.routes if "*" not in name and "?" not in name]
    offered += [name for name in (models.default, models.small, models.big) if name]
    for name, provider in settings.providers.items():
        offered += [f"{name}/{model}" for model in provider.models] or [f"{name}/"]
    return [name for name in dict.fromkeys(offered) if name.startswith(typed)]


def complete_providers(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Shell completion for a provider with a login."""
    try:
        configured = load_settings(None, os.environ, {}).providers
    except ConfigError:
        configured = {}
    return [name for name in dict.fromkeys(("oca", "claude", "codex", *configured)) if name.startswith(typed)]
