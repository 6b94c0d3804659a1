"""`dragoman record`: records requests with their content for a while."""

from __future__ import annotations

import click

from app.accounts.reports import read_span
from app.cli.options import WholeNumber
from app.errors import InvalidRequest
from app.gateway.inspection.orders import add_order, orders_file, write_orders


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
    try:
        if stop:
            write_orders(orders_file(), [])
            click.echo("recording has ended")
        else:
            order = add_order(read_span(span), key, model, errors=errors, share=share)
            click.echo(f"recording for {span}: {order.describe()}; see /_/recording")
    except InvalidRequest as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{orders_file()} cannot be written: {error.strerror}") from error
