"""`dragoman usage`: shows usage and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from app.accounts.accounts import Accounts
from app.accounts.keys import list_keys
from app.accounts.reports import ALONE, COUNTS, GROUPS, report_usage
from app.cli.accounts.reading import (
    ask,
    csv_option,
    format_count,
    format_dollars,
    format_time,
    open_accounts,
    print_csv,
    print_table,
    since_option,
)
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.terminal import echo
from app.gateway.client_access.client_keys import read_key
from app.gateway.use_limits.in_force import LimitUse, find_limited, format_use, read_use
from app.rate_limits.shared_counts import SharedCounts
from app.settings import data_folder


@click.command()
@click.option(
    "--by",
    "groups",
    type=click.Choice([*GROUPS, *ALONE]),
    multiple=True,
    default=("model",),
    show_default=True,
    help="Group by this; repeat it to group by a second property.",
)
@click.option(
    "--limits", "of_limits", is_flag=True, help="Show the limits in force and how much of each is used instead."
)
@since_option
@json_option
@csv_option
@config_option
def usage(
    groups: tuple[str, ...], of_limits: bool, since: float, as_json: bool, as_csv: bool, path: Path | None
) -> None:
    """Show requests, tokens and list prices, summed by model, key, client and so on.

    Costs are list prices in US dollars; subscription logins are not billed at these prices.
    """
    if of_limits:
        _show_limits(path, as_json=as_json, as_csv=as_csv)
        return
    groups = tuple(dict.fromkeys(groups))
    alone = next((group for group in groups if group in ALONE), None)
    if alone is not None and len(groups) > 1:
        raise click.UsageError(f"--by {alone} cannot be combined with another --by")
    accounts = open_accounts(path)
    rows = ask(accounts, lambda connection: report_usage(connection, groups, since))
    names = [name for name in rows[0] if name not in COUNTS] if rows else [*groups]
    for row in rows:
        row.update({name: _format_period(name, row[name]) for name in names if name in ("day", "hour")})
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(rows, (*names, *COUNTS))
    else:
        _print_usage(rows, names)


def _show_limits(path: Path | None, *, as_json: bool, as_csv: bool) -> None:
    uses = read_uses(path)
    if as_json:
        print_json(uses)
    elif as_csv:
        print_csv([msgspec.structs.asdict(use) for use in uses], LimitUse.__struct_fields__)
    elif not uses:
        echo("No limits are set for any key or provider.")
    else:
        cells = [
            (use.owner, use.name, use.limit, format_use(use), f"{use.share:.0%}",
             "-" if use.resets is None else format_time(use.resets))
            for use in uses
        ]  # fmt: skip
        print_table(cells, ("of", "name", "limit", "used", "share", "begins anew"), right=(3, 4))


def _print_usage(rows: list[dict[str, Any]], names: list[str]) -> None:
    if not rows:
        echo("No requests in this period.")
        return
    headings = (*names, "requests", "failed", "input", "cached", "output", "cost $")
    cells = [
        (
            *(str(row[name]) or "-" for name in names),
            format_count(row["requests"]),
            format_count(row["failed"]),
            format_count(row["fresh"] + row["cache_read"] + row["cache_written"]),
            format_count(row["cache_read"]),
            format_count(row["output"]),
            format_dollars(None if row["unpriced"] and not row["cost"] else row["cost"])
            + ("+" if row["unpriced"] else ""),
        )
        for row in rows
    ]
    print_table(cells, headings, right=range(len(names), len(headings)))
    if any(row["unpriced"] for row in rows):
        echo("A plus or a dash: some of these requests have no known price.")


def _format_period(name: str, first: float) -> str:
    """The day or hour that begins at this unix time."""
    return format_time(first)[: 10 if name == "day" else 16]


def read_uses(path: Path | None) -> list[LimitUse]:
    """The limits of all keys, including those made by commands, and of all providers."""
    settings = read_settings(path)
    tables = dict(settings.keys)
    if settings.accounts.enabled:
        made = ask(Accounts(settings.accounts, settings.ledger.url), list_keys)
        tables = {key.name: key.settings for key in made if not key.disabled} | tables
    limited = find_limited([read_key(name, "", table) for name, table in tables.items()], settings.providers)
    counts = SharedCounts(data_folder(), settings.shared)
    try:
        return read_use(limited, counts)
    finally:
        counts.close()
