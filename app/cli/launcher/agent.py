"""How an agent is started: the gateway's address, and the flags and variables that point the agent there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct


class Connection(Struct, frozen=True):
    """The way to the gateway. `key` is what the agent shows, `is_secret` whether it must be kept from other users of
    the machine; `model` is what the user asked for, `main` what is asked for when nothing else is said, `small` the
    model for small work; `window` is the smallest context window, in tokens, of the models that may answer."""

    url: str
    key: str
    main: str
    is_secret: bool = False
    model: str | None = None
    small: str | None = None
    window: int | None = None
    # What the model itself is asked in.
    upstream_dialect: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.url}, {self.main})"


class Launch(Struct, frozen=True):
    """How an agent is started: `flags` stand before the user's own arguments; of `environ`, None takes a variable
    away."""

    flags: tuple[str, ...] = ()
    environ: dict[str, str | None] = {}
    arguments: tuple[str, ...] | None = None


# The connection, the arguments of the user, a private folder that ends with the agent, the agent's program.
Prepare = Callable[[Connection, Sequence[str], Path, str], Launch]


class Agent(Struct, frozen=True):
    """A program that works with a model: `command` is its name on the path, `install` how a user gets it."""

    command: str
    prepare: Prepare
    install: str
    # What it asks for by itself; None where it has to be told a model.
    default_model: str | None = None


def write_private(path: Path, text: str) -> Path:
    """Writes a file that only its user can read, for it may hold a key."""
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")
    return path
