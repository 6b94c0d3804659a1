"""Is `dragoman record`: keep requests with their content for a while, for the inspector of the dashboard."""

from __future__ import annotations

import secrets
import time

import click

from app.accounts.reports import read_span
from app.cli.options import WholeNumber
from app.gateway.inspection.orders import LONGEST, MOST_ORDERS, RecordingOrder, orders_file, read_orders, write_orders


@click.command()
@click.option("--for", "span", default="15m", show_default=True, metavar="SPAN", help="How long, up to 24h.")
@click.option("--key", default="", help="Only requests of keys whose name is like this pattern.")
@click.option("--model", default="", help="Only requests for models like this pattern, as 'qwen*'.")
@click.option("--errors", is_flag=True, help="Only requests that fail.")
@click.option("--share", type=WholeNumber(1, 100), default=100, show_default=True, help="Of 100 requests so many.")
@click.option("--stop", is_flag=True, help="End all recording that pages and this command have begun.")
def record(span: str, key: str, model: str, errors: bool, share: int, stop: bool) -> None:
    """Keep requests with their content for a while. Running servers of this user notice within a second.

    The dashboard shows what was sent and received, and what differs. Keys, credentials and files are left out.
    """
    now, file = time.time(), orders_file()
    seconds = read_span(span)
    if seconds is None or not 0 < seconds <= LONGEST:
        raise click.ClickException(f"{span!r} is not a span of time such as 15m, up to 24h")
    orders = [] if stop else read_orders(file, now)
    if len(orders) >= MOST_ORDERS:
        raise click.ClickException(f"{MOST_ORDERS} recordings are under way; --stop ends them")
    if not stop:
        only = "errors" if errors else "all"
        orders.append(RecordingOrder(secrets.token_hex(4), now + seconds, key, model, only, share))  # type: ignore[arg-type]
    try:
        write_orders(file, orders)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    click.echo("recording has ended" if stop else f"recording for {span}: {orders[-1].describe()}; see /_/recording")
