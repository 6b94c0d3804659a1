"""`dragoman record`: records requests with their content for a while."""

from __future__ import annotations

import click

from app.accounts.reports import read_span
from app.cli.options import WholeNumber
from app.cli.terminal import echo
from app.gateway.inspection.orders import add_order, orders_file, write_orders


@click.command()
@click.option("--for", "span", default="15m", show_default=True, metavar="SPAN", help="How long to record, up to 24h.")
@click.option("--key", default="", help="Record only requests of keys whose name matches this pattern.")
@click.option("--model", default="", help="Record only requests for models that match this pattern, such as 'qwen*'.")
@click.option("--errors", is_flag=True, help="Record only failed requests.")
@click.option(
    "--share", type=WholeNumber(1, 100), default=100, show_default=True, help="Percentage of requests to record."
)
@click.option("--stop", is_flag=True, help="Stop all recording, whether started here or in the dashboard.")
def record(span: str, key: str, model: str, errors: bool, share: int, stop: bool) -> None:
    """Record requests with their content for a while. This user's running gateways notice within a second.

    The dashboard shows what was sent and received, and the differences. Keys, credentials and files are not recorded.
    """
    try:
        if stop:
            write_orders(orders_file(), [])
            echo("recording stopped")
        else:
            order = add_order(read_span(span), key, model, errors=errors, share=share)
            echo(f"recording for {span}: {order.describe()}; see /_/recording")
    except OSError as error:
        raise click.ClickException(f"{orders_file()} cannot be written: {error.strerror}") from error
