"""`dragoman requests` and `dragoman show`: lists recent requests, and shows one in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from app.accounts.queries import Query, find_request, list_requests
from app.cli.accounts.reading import (
    Ago,
    ask,
    csv_option,
    format_count,
    format_dollars,
    format_line,
    format_time,
    open_accounts,
    print_csv,
    print_table,
)
from app.cli.options import WholeNumber, config_option, json_option, print_json
from app.cli.terminal import echo_line

COLUMNS = (
    *("id", "received", "key", "agent", "session", "path", "operation", "model", "provider", "target", "status"),
    *("terminal", "error", "message", "ms", "first_byte_ms", "attempts"),
    *("fresh", "cache_read", "cache_written", "output", "reasoning", "cost"),
)
# The list's columns, and those that are numbers.
NUMBERS = (6, 7, 8, 9)
HEADINGS = ("time", "id", "key", "model", "target", "status", "ms", "in", "out", "cost $", "")


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Keep printing new requests as they finish.")
@click.option("--failed", is_flag=True, help="Show failed requests only.")
@click.option("--key", help="Show requests of this client key only.")
@click.option("--model", help="Show requests for this model only.")
@click.option("--provider", help="Show requests answered by this provider only.")
@click.option("--session", help="Show requests of this session only.")
@click.option("--client", "agent", help="Show requests of this client program only, named as in the list.")
@click.option("--since", type=Ago(), help="How far back to look, for example 2h.")
@click.option("-n", "limit", type=WholeNumber(1, 1000), default=50, show_default=True, help="Maximum number.")
@click.option("--url", help="With -f, the gateway's address. Default: the address in the settings.")
@json_option
@csv_option
@config_option
def requests(
    follow: bool,
    failed: bool,
    since: float | None,
    limit: int,
    url: str | None,
    as_json: bool,
    as_csv: bool,
    path: Path | None,
    **filters: str | None,
) -> None:
    """List requests, newest last.

    With -f, a running gateway streams requests as they end: all of them to an admin, else those of the key in
    $DRAGOMAN_API_KEY. If none runs, the accounts are read every second. Press Ctrl-C to stop.
    """
    where = {column: value for column, value in filters.items() if value is not None}
    query = Query(since=since, failed=failed, where=where, limit=limit)
    if follow:
        # Imported here: a list needs no connection.
        from app.cli.accounts.following import follow_requests
        from app.cli.running_gateway import until_interrupted

        with until_interrupted():
            _print_parts(follow_requests(path, url, query), as_json=as_json, as_csv=as_csv)
    accounts = open_accounts(path)
    rows = ask(accounts, lambda connection: list_requests(connection, query))[::-1]
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(rows, COLUMNS)
    else:
        print_table([format_row(row) for row in rows], HEADINGS, right=NUMBERS)


@click.command()
@click.argument("request_id")
@json_option
@config_option
def show(request_id: str, as_json: bool, path: Path | None) -> None:
    """Show one request: where it went and why, each attempt, tokens, cost and losses."""
    accounts = open_accounts(path)
    found = ask(accounts, lambda connection: find_request(connection, request_id))
    if found is None:
        raise click.ClickException(
            f"no request has the id {request_id!r}; `dragoman requests` lists the most recent ones"
        )
    if as_json:
        print_json(found)
        return
    echo_line(_sentence(found))
    for title, value in _details(found):
        if value not in (None, "", [], {}):
            echo_line(f"  {title:<14}{value}")
    for step in found.get("steps", ()):
        echo_line(f"  {step['name']:<14}{step['about']}  {step['started']}-{step['ended']} ms")
    for position, tried in enumerate(found["tried"], 1):
        waited = f", then waited {tried['waited_ms']} ms" if tried["waited_ms"] else ""
        outcome = f"{tried['error']}: {tried['message']}" if tried["error"] else "answered"
        lasted = f"{tried['started_ms']}-{tried['ended_ms']} ms"
        echo_line(f"  attempt {position}     {tried['target']}  {tried['status'] or '-'}  {lasted}  {outcome}{waited}")


def _print_parts(parts: Iterable[list[dict[str, Any]]], *, as_json: bool, as_csv: bool) -> None:
    """Prints rows as they come: as lines of JSON or CSV, or below a table, in the columns of its first rows."""
    widths: list[int] = []
    for number, rows in enumerate(parts):
        if as_json:
            for row in rows:
                echo_line(msgspec.json.encode(row).decode())
        elif as_csv:
            print_csv(rows, COLUMNS, header=number == 0)
        elif number == 0:
            widths = print_table([format_row(row) for row in rows], HEADINGS, right=NUMBERS)
        else:
            for row in rows:
                echo_line(format_line(format_row(row), widths, NUMBERS))


def format_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A request's cells below HEADINGS."""
    read = None if row["fresh"] is None else row["fresh"] + row["cache_read"] + row["cache_written"]
    return (
        format_time(row["received"]),
        row["id"],
        row["key"] or "-",
        row["model"] or "-",
        row["target"] or "-",
        str(row["status"]),
        str(row["ms"]),
        format_count(read),
        format_count(row["output"]),
        format_dollars(row["cost"]),
        "" if row["terminal"] == "completed" else f"{row['terminal']} {row['error']}".strip(),
    )


def _sentence(row: dict[str, Any]) -> str:
    """The outcome of a request, in one line."""
    asked = f"{row['agent'] or 'A client'} asked for {row['model'] or 'no model'}"
    led = f"; {row['rule'] or 'the route'} leads to {row['target']}" if row["target"] else ""
    ended = {"completed": "answered", "client_closed": "the client left", "upstream_cut": "the upstream broke off"}
    how = ended.get(row["terminal"], f"failed with {row['error']}" if row["error"] else "failed")
    return f"{asked}{led}; {how} after {row['ms'] / 1000:.1f} s."


def _details(row: dict[str, Any]) -> list[tuple[str, Any]]:
    spent = row["fresh"] is not None
    cost = format_dollars(row["cost"]) if spent else None
    tokens = _format_tokens(row) if spent else None
    return [
        ("time", format_time(row["received"])),
        ("id", row["id"]),
        ("status", row["status"]),
        ("message", row.get("message")),
        ("key", row["key"]),
        ("session", row["session"]),
        ("path", row["path"]),
        ("dialects", f"{row['dialect_in']} → {row['dialect_out'] or '-'}"),
        ("first byte", None if row["first_byte_ms"] is None else f"{row['first_byte_ms']} ms"),
        ("tokens", tokens),
        ("cost $", cost if row.get("billed", True) else f"{cost} (list price, not billed)"),
        ("dropped", ", ".join(row.get("losses", []))),
        ("lowered", ", ".join(row.get("lowered", []))),
        ("skipped", "; ".join(row.get("skipped", []))),
        ("upstream id", row.get("upstream_request_id")),
    ]


def _format_tokens(row: dict[str, Any]) -> str:
    counts = {
        "fresh": row["fresh"],
        "cached": row["cache_read"],
        "written to the cache": row["cache_written"],
        "out": row["output"],
        "of them reasoning": row["reasoning"],
    }
    joined = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{joined}, estimated" if row.get("estimated") else joined
