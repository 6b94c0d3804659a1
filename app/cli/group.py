"""The `dragoman` command and its list of subcommands."""

from __future__ import annotations

# ruff: noqa: E402
from app.log_target import fill_standard_descriptors

# Before anything is opened, because imports open files.
fill_standard_descriptors()

import os

# A container's user may have neither, and libraries fail when they look for a home; nothing is found below this one.
if not os.environ.get("HOME") and os.path.expanduser("~") == "~":
    os.environ["HOME"] = "/nonexistent"

from importlib import import_module
from typing import Any

import click

# The module of each command, and its name there if it differs. It is imported on use, because the other commands and
# the help do not need its imports.
COMMANDS = {
    **{
        name: f"app.cli.{name}"
        for name in (
            *("completion", "config", "dashboard", "explain", "keys", "logs", "models", "permissions", "plugins"),
            *("record", "version"),
        )
    },
    **{name: f"app.cli.logins.{name}" for name in ("auth", "login", "status")},
    "logout": "app.cli.logins.login",
    "serve": "app.cli.serving.serve",
    "usage": "app.cli.accounts.usage",
    "prices": "app.cli.accounts.prices",
    "top": "app.cli.accounts.top",
    **dict.fromkeys(("requests", "show"), "app.cli.accounts.requests"),
    **{name: f"app.cli.launcher.{name}" for name in ("run", "env")},
    "doctor": "app.cli.doctor.doctor",
    **dict.fromkeys(("configure", "unconfigure"), "app.cli.configuring.configure"),
    "import": "app.cli.importing.import_file:import_file",
    "service": "app.cli.service.service",
}


class LazyGroup(click.Group):
    """Commands that are imported individually."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if "_DRAGOMAN_COMPLETE" in os.environ:
            import_module("app.cli.completion")  # a shell that click does not know may ask
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A shell that completes the first word needs all commands.
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["serve"])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name or cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            # click looks for similar names among the commands that are imported.
            if near := get_close_matches(args[0][:100], COMMANDS, 1):
                error.message += f" Did you mean {near[0]}?"  # type: ignore[misc]
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            from app.cli.terminal import clean_text

            error.message = clean_text(error.message)  # type: ignore[misc]
            raise
        except Exception as error:
            # What the rooms below refuse ends any command with their message.
            from app.cli.terminal import clean_text
            from app.errors import DragomanError

            if not isinstance(error, DragomanError):
                raise
            raise click.ClickException(clean_text(str(error))) from error


def _show_version(context: click.Context, _option: click.Parameter, wanted: Any) -> None:
    if wanted and not context.resilient_parsing:
        from importlib import metadata

        click.echo(f"dragoman, version {metadata.version('dragoman')}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-v", "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def main(context: click.Context) -> None:
    """Let any LLM client speak to any LLM provider. Without a command, runs `serve`."""
    if context.invoked_subcommand != "run":  # an agent creates its files as its user wants them
        # Nobody else may write what is created here. A private file in a folder that others can write may be replaced.
        os.umask(os.umask(0o077) | 0o022)
