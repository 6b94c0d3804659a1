"""`dragoman serve`: checks the settings, shows the start screen and becomes gunicorn."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from gevent import monkey

from app.cli.options import WholeNumber, config_option, open_routing, read_settings
from app.cli.serving.start_screen import ANY_KEY, KEY_VARIABLE, base_url, describe_start
from app.cli.terminal import echo
from app.credentials.credential import SourceStatus
from app.credentials.formats.login_format import check_tokens
from app.credentials.formats.oca_file import parse_login
from app.credentials.oauth.login_choice import list_logins
from app.credentials.stores.login_store import FileStore
from app.log_target import guard_standard_streams
from app.server import ports
from app.settings import Settings
from app.settings.loading import HANDED_ON

if TYPE_CHECKING:
    from app.providers.provider import Provider


@click.command()
@config_option
@click.option("-H", "--host", help="Address to listen on. Default: 127.0.0.1.")
@click.option("-p", "--port", type=WholeNumber(0, 65535), help="Port to listen on. Default: 8080.")
@click.option("--workers", type=WholeNumber(1), help="Number of processes, each of which uses one core. Default: 1.")
@click.option("--token", type=click.Path(path_type=Path), help="File with an Oracle Code Assist token.")
@click.option("--small-model", metavar="PROVIDER/MODEL", help='Model for names with "haiku".')
@click.option("--big-model", metavar="PROVIDER/MODEL", help="Model for other Claude names.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warn", "error"]), help="Default: info.")
@click.option("--log-file", type=click.Path(dir_okay=False), help="Log file. Default: standard output.")
@click.option("--allow-open", is_flag=True, help="Allow listening beyond this machine without a key.")
@click.option("--no-browser", is_flag=True, help="Do not open the login page when a provider has no login.")
@click.option(
    "--auth-token", metavar="KEY", help="Client key, instead of server.api_keys. Prefer the variable PROXY_API_KEY."
)
@click.option(
    "--plugin-setting",
    "plugin_settings",
    multiple=True,
    metavar="PROVIDER.KEY=VALUE",
    help="A setting of a provider; repeat it for more.",
)
@click.option("--reload", is_flag=True, help="Restart the workers when the program's code changes.")
@click.option("--for-agent", is_flag=True, hidden=True)
def serve(
    path: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    token: Path | None,
    small_model: str | None,
    big_model: str | None,
    log_level: str | None,
    log_file: str | None,
    allow_open: bool,
    no_browser: bool,
    auth_token: str | None,
    plugin_settings: tuple[str, ...],
    reload: bool,
    for_agent: bool,
) -> None:
    """Start the gateway in the foreground.

    Stop it with Ctrl-C or SIGTERM; running streams may finish. On SIGHUP it reloads its configuration and logins.
    """
    server: dict[str, Any] = {
        "host": host,
        "port": port,
        "workers": workers,
        "log_level": log_level,
        "log_file": log_file or None,
        "allow_open": allow_open or None,
        "open_browser": False if no_browser else None,
        "api_keys": [auth_token] if auth_token else None,
    }
    overrides: dict[str, Any] = {
        "server": _given(server),
        "models": _given({"small": small_model, "big": big_model}),
        "providers": _read_provider_settings(plugin_settings),
    }
    if token:
        check_token_file(token)
        name = _oca_provider(read_settings(path, {"server": overrides["server"]}))
        overrides["providers"].setdefault(name, {})["token_file"] = str(token.expanduser().absolute())
        # Then a bare name is one of Oracle's, as in earlier proxies.
        overrides["models"] = {
            tier: model if "/" in model else f"{name}/{model}" for tier, model in overrides["models"].items()
        }
    settings = read_settings(path, overrides)
    _check_temporary_folder()
    providers = open_routing(settings).providers
    ports.check_port(settings.server)
    known = describe_sources(providers)
    missing = [name for name in list_logins(settings.providers) if name in known and known[name].kind == "none"]
    say(describe_start(settings, token, missing, known, key=name_key(settings)))
    options = [*(["--reload"] if reload else []), *(["--for-agent"] if for_agent else [])]
    if settings.server.open_browser and at_terminal() and missing:
        options += ["--open", f"{base_url(settings.server)}/login"]
    _become_gunicorn(settings, overrides, options, afresh=reload)


def at_terminal() -> bool:
    """Whether a user sees the output and can answer."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def name_key(settings: Settings) -> str:
    """What a client gives as its key, without naming a secret."""
    from app.cli.accounts.reading import requires_key

    try:
        keyed = requires_key(settings)
    except click.ClickException:
        keyed = True  # Accounts that cannot be read may hold keys.
    return f"${settings.key_variable or KEY_VARIABLE}" if keyed else ANY_KEY


def describe_sources(providers: Mapping[str, Provider]) -> dict[str, SourceStatus]:
    """The state of each provider's credential, for those that have one."""
    sources = {name: provider.source for name, provider in providers.items()}
    return {name: source.describe() for name, source in sources.items() if source is not None}


def say(text: str) -> None:
    """Prints. A terminal or pipe that accepts no output does not prevent the start."""
    if sys.stdout is sys.__stdout__:
        guard_standard_streams()
    echo(text)
    sys.stdout.flush()


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _read_provider_settings(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings by provider. A value is parsed as TOML; anything that is not TOML is a text."""
    settings: dict[str, dict[str, Any]] = {}
    for each in given:
        place, sign, text = each.partition("=")
        name, dot, key = place.rpartition(".")
        if not (sign and dot and name and key):
            raise click.ClickException(f"--plugin-setting {each!r} is not of the form PROVIDER.KEY=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        settings.setdefault(name, {})[key] = value
    return settings


def _oca_provider(settings: Settings) -> str:
    """The provider that `--token` applies to: the configured one, whatever its name, or a new one."""
    return next((name for name, provider in settings.providers.items() if provider.kind == "oca"), "oca")


def _become_gunicorn(settings: Settings, overrides: dict[str, Any], options: list[str], *, afresh: bool) -> None:
    """Continues this process as gunicorn's master, with the same id, terminal and signals. If it must start `afresh`,
    to load changed code, or gevent has not patched it, it replaces itself."""
    os.environ[HANDED_ON] = json.dumps(overrides)
    if settings.source:
        os.environ["DRAGOMAN_CONFIG"] = str(settings.source)
    sys.stdout.flush()
    if not afresh and monkey.is_module_patched("socket"):
        _forget_working_folder()
        from app.server import launch

        launch.main(options)
        return
    script = str(files("app.server") / "launch.py")
    # Ctrl-C between the two programs is held until the script can end without a traceback.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # -P: do not import from the script's folder or the working folder.
    os.execv(sys.executable, [sys.executable, "-P", script, *options])


def _forget_working_folder() -> None:
    """Does what -P does for a script: removes the start folder from the import path, unless our own code is there."""
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(str(files("app"))).parent:
        del sys.path[0]


def _check_temporary_folder() -> None:
    """Ends the command if nothing can be written, because the heartbeats of gunicorn's workers are files."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        message = "no folder for temporary files is writable; mount one at /tmp, or set TMPDIR"
        raise click.ClickException(message) from error


def check_token_file(path: Path) -> None:
    """Ends the command with exit code 1 and the cause if the file named by `--token` is unusable."""
    try:
        content = FileStore((path.expanduser(),)).read()
        if not content.strip():
            raise ValueError("the file is empty")
        check_tokens(parse_login(content))
    except OSError as error:
        raise _fatal(path, error.strerror or "not readable") from error
    except ValueError as error:
        raise _fatal(path, str(error)) from error


def _fatal(path: Path, cause: str) -> click.ClickException:
    return click.ClickException(f"FATAL: Could not perform initial load of token file {path}: {cause}")
