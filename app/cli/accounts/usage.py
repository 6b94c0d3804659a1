"""The command `dragoman usage`: who used how much, at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from app.cli.accounts.reading import (
    ask,
    csv_option,
    json_option,
    open_accounts,
    print_csv,
    print_json,
    print_table,
    since_option,
    spell_count,
    spell_dollars,
    spell_time,
)
from app.cli.options import config_option

# What users call the columns of the sums.
GROUPS = {
    "key": "key",
    "model": "model",
    "target": "target",
    "provider": "provider",
    "client": "agent",
    "day": "day",
    "hour": "hour",
}
COLUMNS = ("requests", "failed", "fresh", "cache_read", "cache_written", "output", "reasoning", "cost", "unpriced")


@click.command()
@click.option(
    "--by",
    "groups",
    type=click.Choice([*GROUPS, "session"]),
    multiple=True,
    default=("model",),
    show_default=True,
    help="What to sum by; may be given twice.",
)
@since_option
@json_option
@csv_option
@config_option
def usage(groups: tuple[str, ...], since: float, as_json: bool, as_csv: bool, path: Path | None) -> None:
    """Show requests, tokens and list prices, summed by model, key, client and so on.

    Costs are list prices in US dollars; a login of a subscription is not billed by them.
    """
    from app.accounts.queries import MOST_ROWS, list_sessions, sum_usage

    accounts = open_accounts(path)
    if "session" in groups:
        if len(groups) > 1:
            raise click.UsageError("--by session cannot be combined with another --by")
        rows = ask(accounts, lambda connection: list_sessions(connection, since=since, limit=MOST_ROWS))
        names = {"session": "session", "key": "key", "client": "agent"}
    else:
        by = list(dict.fromkeys(GROUPS[group] for group in groups))
        rows = ask(accounts, lambda connection: sum_usage(connection, by, since))
        names = {group: GROUPS[group] for group in groups}
    if as_json:
        print_json([{**_groups(row, names), **{column: row[column] for column in COLUMNS}} for row in rows])
    elif as_csv:
        print_csv([{**_groups(row, names), **row} for row in rows], (*names, *COLUMNS))
    else:
        _print_usage(rows, names)


def _print_usage(rows: list[dict[str, Any]], names: dict[str, str]) -> None:
    if not rows:
        click.echo("No requests in this time.")
        return
    headings = (*names, "requests", "failed", "input", "cached", "output", "cost $")
    cells = [
        (
            *(str(value) or "-" for value in _groups(row, names).values()),
            spell_count(row["requests"]),
            spell_count(row["failed"]),
            spell_count(row["fresh"] + row["cache_read"] + row["cache_written"]),
            spell_count(row["cache_read"]),
            spell_count(row["output"]),
            spell_dollars(None if row["unpriced"] and not row["cost"] else row["cost"])
            + ("+" if row["unpriced"] else ""),
        )
        for row in rows
    ]
    print_table(cells, headings, right=range(len(names), len(headings)))
    if any(row["unpriced"] for row in rows):
        click.echo("A plus or a dash: some of these requests have no known price.")


def _spell_cost(row: dict[str, Any]) -> str:
    """The sum of what has a price, with a plus where something has none."""
    if not row["unpriced"]:
        return spell_dollars(row["cost"])
    return spell_dollars(row["cost"] or None) + "+"


def _groups(row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The groups of a row under the users' names."""
    return {
        name: spell_time(row[column])[: 10 if name == "day" else 16] if name in ("day", "hour") else row[column]
        for name, column in names.items()
    }
