"""`dragoman run`: starts an agent on the gateway."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from app.cli.launcher.agent import Connection
from app.cli.launcher.agents import AGENTS
from app.cli.launcher.gateway import open_gateway
from app.cli.launcher.plan import plan_connection
from app.cli.launcher.process import run_agent
from app.cli.options import complete_models, config_option, read_settings, waiting_for
from app.cli.running_gateway import ask_model
from app.cli.terminal import echo

# Requests to this machine bypass proxies.
_NO_PROXY = ("127.0.0.1", "localhost", "::1")
_PROMPT = "Answer with the word: ready"
# Enough for one word of any model, and the minimum that some upstreams accept.
_MAX_TOKENS = 64


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@config_option
@click.option("--model", help="Model to use, as the gateway names it.", shell_complete=complete_models)
@click.option("--no-check", is_flag=True, help="Start the agent without a test request to the model.")
@click.argument("name", metavar="AGENT", type=click.Choice(list(AGENTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS...]")
def run(path: Path | None, model: str | None, no_check: bool, name: str, arguments: tuple[str, ...]) -> None:
    """Start AGENT on the gateway: claude, codex, opencode, cline, aider, qwen or goose.

    Uses the gateway that is running with these settings, or starts one that stops with the agent. Points the agent at
    it for this run only. Passes ARGUMENTS to the agent, and exits with the agent's exit code.
    """
    agent = AGENTS[name]
    named, unchecked, words = _take_own_options(arguments)
    program = shutil.which(agent.command)
    if program is None:
        raise click.ClickException(f"{agent.command} is not on the PATH; install it: {agent.install}")
    settings = read_settings(path)
    with tempfile.TemporaryDirectory(prefix="dragoman-") as name_of_folder:
        folder = Path(name_of_folder)
        with open_gateway(settings, path, folder) as url:
            connection = plan_connection(settings, agent, named or model, url)
            answered = connection.main
            if not (no_check or unchecked):
                with waiting_for(f"an answer from {connection.main}"):
                    answered = try_model(connection) or answered
            window = f", context window {connection.window} tokens" if connection.window else ""
            echo(f"dragoman: {name} asks {connection.main}, answered by {answered}{window}", err=True)
            launch = agent.prepare(connection, words, folder, program)
            rest = words if launch.arguments is None else list(launch.arguments)
            sys.exit(run_agent([program, *launch.flags, *rest], apply_variables(os.environ, launch.environ)))


def apply_variables(environ: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The agent's environment: the user's own, with the changes, and no proxy for this machine."""
    changed = {name: value for name, value in {**environ, **changes}.items() if value is not None}
    return changed | bypass_proxies(environ)


def bypass_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables by which requests to this machine use no proxy."""
    known = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    without = ",".join(dict.fromkeys([*filter(None, known.split(",")), *_NO_PROXY]))
    return {"NO_PROXY": without, "no_proxy": without}


def _take_own_options(arguments: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    """Our own options after the agent's name: the model, whether the test request is skipped, and the remaining
    arguments.

    Everything after `--` belongs to the agent.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    model, unchecked, kept = None, False, list[str]()
    words = iter(arguments[:end])
    for word in words:
        if word == "--model":
            model = next(words, None)
        elif word.startswith("--model="):
            model = word.partition("=")[2]
        elif word == "--no-check":
            unchecked = True
        else:
            kept.append(word)
    return model, unchecked, [*kept, *arguments[end + 1 :]]


def try_model(connection: Connection) -> str:
    """Asks the model for one word and returns the upstream that answered. A refusal ends the command with the gateway's
    message."""
    messages = [{"role": "user", "content": _PROMPT}]
    body = {"model": connection.main, "max_tokens": _MAX_TOKENS, "stream": True, "messages": messages}
    answer = ask_model(connection.url, connection.key, body, until_speaks=True)
    if answer.problem is not None:
        raise click.ClickException(
            f"{connection.main} does not work: {answer.problem}\nto find out why, run: dragoman doctor"
        )
    return answer.upstream
