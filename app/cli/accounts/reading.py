"""Opens the accounts for commands; shared options and tables."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from app.accounts.accounts import Accounts
from app.accounts.keys import STAMP_NAME, list_keys
from app.accounts.reports import guard_cell, read_span
from app.cli.options import read_settings
from app.cli.terminal import echo
from app.logs import escape_odd
from app.logs.console import wants_colours
from app.settings import Settings
from app.sql import Connection, DatabaseFailed

T = TypeVar("T")

# Costs are in billionths of a dollar.
_DOLLAR = 1e9


class Ago(click.ParamType[float]):
    """A time before now, given as `90s`, `30m`, `12h`, `7d` or `2w`; the value is unix time."""

    name = "span"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        span = read_span(str(value))
        if span is None:
            self.fail(f"{value!r} is not a time span such as 30m, 12h, 7d or 2w", parameter, context)
        return time.time() - span


since_option = click.option("--since", type=Ago(), default="7d", show_default=True, help="How far back to look.")
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")


def open_accounts(path: Path | None) -> Accounts:
    """The accounts of the server with this configuration."""
    settings = read_settings(path)
    if not settings.accounts.enabled:
        raise click.ClickException(
            "accounts.enabled is false, so nothing is recorded; set it to true to record requests"
        )
    return Accounts(settings.accounts, settings.ledger.url)


def ask(accounts: Accounts, work: Callable[[Connection], T]) -> T:
    """The result of `work`; an unreadable database ends the command with the reason."""
    try:
        return accounts.read(work)
    except (DatabaseFailed, OSError) as error:
        raise click.ClickException(f"cannot read the accounts: {error}") from error


def requires_key(settings: Settings) -> bool:
    """Whether the gateway asks its clients for keys: those of the settings, or those created by command."""
    return bool(settings.server.api_keys or settings.keys) or _has_made_keys(settings)


def _has_made_keys(settings: Settings) -> bool:
    """Where no key was ever created by command, no database is opened."""
    accounts = Accounts(settings.accounts, settings.ledger.url)
    place = accounts.place
    if not settings.accounts.enabled or (isinstance(place, Path) and not place.with_name(STAMP_NAME).exists()):
        return False
    return bool(ask(accounts, list_keys))


def print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, header: bool = True) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([guard_cell(row.get(column)) for column in columns] for row in rows)
    echo(out.getvalue(), nl=False)


def print_table(rows: Sequence[Sequence[str]], headings: Sequence[str], right: Sequence[int] = ()) -> list[int]:
    """Prints columns as wide as their widest cell, and returns the widths; those at the positions `right` are
    right-aligned."""
    rows = [[escape_odd(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    line = format_line(headings, widths, right)
    echo(click.style(line, bold=True) if sys.stdout.isatty() and wants_colours(os.environ) else line)
    for row in rows:
        echo(format_line(row, widths, right))
    return widths


def format_line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int] = ()) -> str:
    """A table's line; a cell that is too long for its column moves those after it."""
    aligned = (
        cell.rjust(width) if position in right else cell.ljust(width)
        for position, (cell, width) in enumerate(zip(map(escape_odd, cells), widths, strict=True))
    )
    return "  ".join(aligned).rstrip()


def format_dollars(cost: int | None) -> str:
    """A cost in dollars; a dash if there is no price."""
    if cost is None:
        return "-"
    return f"{cost / _DOLLAR:.4f}" if cost < _DOLLAR else f"{cost / _DOLLAR:,.2f}"


def format_count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def format_time(unix: float) -> str:
    """Local time to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))
