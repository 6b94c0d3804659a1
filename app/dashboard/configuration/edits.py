"""Edits the configuration file: proposes, validates, shows and writes a change.

Comments and order are kept; only the named keys change. Nothing is written if the file differs from the one shown.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from app.credentials.stores.private_files import write_private
from app.errors import ConfigError, Conflict, InvalidRequest
from app.known_secrets import known_secrets
from app.routing.build import build_routing
from app.settings.loading import check_text
from app.settings.places import home_folder
from app.settings.texts import change_texts

# Maximum backup copies kept beside the file.
MAX_BACKUPS = 10
AROUND = 3


class Edit(msgspec.Struct, frozen=True):
    """`path` is the path to a key through tables; `value` None removes it."""

    path: tuple[str, ...]
    value: Any = None


class Proposal(msgspec.Struct, frozen=True):
    """`before` is the current file, `mark` its hash; `diff` contains no secrets."""

    source: Path
    before: str
    after: str
    mark: str
    diff: list[str]


def propose(source: Path, edits: Sequence[Edit], environ: Mapping[str, str]) -> Proposal:
    """The changed file, validated. Raises InvalidRequest or ConfigError."""
    before = _read(source)
    try:
        document = tomlkit.parse(before)
    except TOMLKitError as error:
        raise InvalidRequest(f"the file is not valid TOML; fix it in an editor first: {error}") from error
    for edit in edits:
        _apply(document, edit)
    after = tomlkit.dumps(document)
    settings = check_text(after, source, environ)
    build_routing(settings, environ, home_folder(environ)).transport.close()
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=AROUND)
    diff = [known_secrets.mask(line) for number, line in enumerate(lines) if number > 1]
    return Proposal(source, before, after, find_mark(before), diff)


def apply(proposal: Proposal, mark: str) -> Path:
    """Writes the proposal and returns the path of the backup. Raises Conflict if the file no longer matches `mark`,
    InvalidRequest if it cannot be written."""
    if proposal.mark != mark or find_mark(_read(proposal.source)) != mark:
        raise Conflict("the file has changed in the meantime; review the change again")
    target = proposal.source.resolve()
    try:
        backup = _back_up(target)
        if not os.access(target, os.W_OK):
            raise PermissionError(13, "it is read-only")
        write_private(target, proposal.after.encode(), target.stat().st_mode & 0o777)
    except OSError as error:
        message = f"{proposal.source} is not writable ({error.strerror}); change these lines by hand"
        raise InvalidRequest(message) from error
    return backup


def find_mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{source} cannot be read: {error}") from error


def _apply(document: Any, edit: Edit) -> None:
    *tables, name = edit.path
    table = document
    for each in tables:
        if each not in table:
            if edit.value is None:
                return
            table[each] = tomlkit.table()
        table = table[each]
        if not isinstance(table, dict):
            raise ConfigError("it is not a table in the file", key=".".join(edit.path))
    value, held = _format(edit.value), table.get(name)
    if value is None:
        table.pop(name, None)
    elif isinstance(value, dict) and isinstance(held, dict):
        _change_table(held, value)
    elif isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update(value)
        table[name] = inline
    else:
        table[name] = value


def _change_table(held: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    """Makes a table of the file contain what is wanted, and leaves what is the same as it is."""
    for key in held.keys() - wanted.keys():
        held.pop(key)
    for key, value in wanted.items():
        if held.get(key) != value:
            held[key] = value


def _format(value: Any) -> Any:
    """A value as written in the file, with `${` escaped, because `${NAME}` would insert an environment variable and
    could show the page what only the file's owner may know."""
    return change_texts(value, lambda text, _name, _path: text.replace("${", "$${"))


def _back_up(target: Path) -> Path:
    """A copy beside the file, named by the time; the oldest copies are removed."""
    stamp = time.strftime("%Y-%m-%dT%H%M%S", time.gmtime())
    backup = target.with_name(f"{target.name}.{stamp}")
    descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(target.read_bytes())
    known = sorted(target.parent.glob(f"{target.name}.[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T*"))
    for old in known[:-MAX_BACKUPS]:
        with contextlib.suppress(OSError):
            old.unlink()
    return backup
