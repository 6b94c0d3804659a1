"""The command `dragoman` itself: the list of what it can do."""

from __future__ import annotations

# ruff: noqa: E402
from app.log_target import fill_standard_descriptors

# Before anything is opened, which importing does.
fill_standard_descriptors()

import os

# A container's user may have neither; libraries give up where they look for it, and nothing is found below this.
if not os.environ.get("HOME") and os.path.expanduser("~") == "~":
    os.environ["HOME"] = "/nonexistent"

from importlib import metadata

import click

from app.cli.accounts.prices import prices
from app.cli.accounts.requests import requests, show
from app.cli.accounts.usage import usage
from app.cli.auth import auth
from app.cli.completion import completion
from app.cli.config import config
from app.cli.explain import explain
from app.cli.login import login
from app.cli.logout import logout
from app.cli.models import models
from app.cli.serve import serve
from app.cli.status import status
from app.cli.version import version


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("dragoman"), "-V", "--version", prog_name="dragoman")
def main() -> None:
    """Let any LLM client speak to any LLM provider."""


COMMANDS = (
    *(serve, login, logout, status, auth, models, explain),
    *(usage, requests, show, prices),
    *(config, version, completion),
)

for command in COMMANDS:
    main.add_command(command)
