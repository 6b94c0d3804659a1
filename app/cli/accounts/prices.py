"""`dragoman prices`: shows the prices in force."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from app.cli.accounts.reading import print_table
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.terminal import echo

HEADINGS = ("model", "input", "cached", "cache write", "1 h", "output", "source", "date")

# What a price may have besides, shown for a single model.
EXTRAS = {
    "batch": "batches and flex: x ",
    "priority": "priority and fast mode: x ",
    "us": "inference in the United States: x ",
    "media": "output of images and sound: $",
    "image": "an image: $",
    "search": "a search: $",
}


@click.command()
@click.argument("model", required=False)
@json_option
@config_option
def prices(model: str | None, as_json: bool, path: Path | None) -> None:
    """Show what models cost, in US dollars per million tokens. With MODEL, show all of that name's price."""
    from app.accounts.prices import load_prices

    table = load_prices(read_settings(path).prices)
    rows = dict(table.rows())
    if model is not None:
        provider, _, name = model.rpartition("/")
        price = table.find(provider, name)
        if price is None:
            raise click.ClickException(
                f"no price is known for {model!r}; [prices] in the configuration file can add one"
            )
        rows = {model: price}
    if as_json:
        print_json({name: msgspec.structs.asdict(row) for name, row in rows.items()})
        return
    cells = []
    for name, row in rows.items():
        figures = (row.input, row.cache_read, row.cache_write, row.cache_write_1h, row.output)
        cells.append((name, *("-" if each is None else f"{each:g}" for each in figures), row.source, row.date))
        for step in row.steps:
            figures = (step.input, step.cache_read, step.cache_write, step.cache_write_1h, step.output)
            shown = ("-" if each is None else f"{each:g}" for each in figures)
            cells.append((f"  above {step.above:,} tokens", *shown, "", ""))
    print_table(cells, HEADINGS, right=(1, 2, 3, 4, 5))
    if model is not None:
        (price,) = rows.values()
        for field, words in EXTRAS.items():
            if (figure := getattr(price, field)) is not None:
                echo(f"{words}{figure:g}")
