"""How an agent is started: the gateway's address, and the flags and variables that point the agent there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct


class Connection(Struct, frozen=True):
    """How an agent reaches the gateway. `key` is what the agent sends, `is_secret` whether it must be hidden from other
    users of the machine; `model` is what the user asked for, `main` the default model, `small` the model for small
    tasks; `window` is the smallest context window, in tokens, of the models that may answer."""

    url: str
    key: str
    main: str
    is_secret: bool = False
    model: str | None = None
    small: str | None = None
    window: int | None = None
    # The dialect of the model's upstream.
    upstream_dialect: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.url}, {self.main})"


class Launch(Struct, frozen=True):
    """How an agent is started: `flags` precede the user's own arguments; in `environ`, None removes a variable."""

    flags: tuple[str, ...] = ()
    environ: dict[str, str | None] = {}
    arguments: tuple[str, ...] | None = None


# Arguments: the connection, the user's arguments, a private folder that is removed when the agent ends, and the agent's
# program.
Prepare = Callable[[Connection, Sequence[str], Path, str], Launch]


class Agent(Struct, frozen=True):
    """A program that works with a model: `command` is its name on the PATH, `install` the command that installs it."""

    command: str
    prepare: Prepare
    install: str
    # The model that it uses by default; None if it must be told one.
    default_model: str | None = None


def write_private(path: Path, text: str) -> Path:
    """Writes a file that only its user can read, because it may contain a key."""
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")
    return path
