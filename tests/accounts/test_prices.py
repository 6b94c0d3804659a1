"""What an answer costs, by the vendors' own examples of a bill."""

from __future__ import annotations

import msgspec
import pytest

from app.accounts.prices import DOLLAR, Prices, Tariff, load_prices
from app.conversation.response import Usage
from app.settings import PriceSettings, PriceStep


class Case(msgspec.Struct, frozen=True):
    """A bill: what was used of which model, and what the vendor says it costs, in dollars."""

    id: str
    model: str
    usage: Usage
    dollars: float


CASES = [
    # Anthropic's pricing page: input, output, and the three prices of its cache.
    Case("a-plain-answer", "claude-sonnet-4-5", Usage(fresh=1_000_000, output=1_000_000), 18.0),
    Case("a-cache-that-is-written-for-five-minutes", "claude-opus-4-1", Usage(cache_written=1_000_000), 18.75),
    Case(
        "a-cache-that-is-written-for-an-hour",
        "claude-opus-4-1",
        Usage(cache_written=1_000_000, cache_written_1h=1_000_000),
        30.0,
    ),
    Case("a-cache-that-is-read", "claude-haiku-4-5", Usage(cache_read=1_000_000), 0.10),
    Case("half-price-in-a-batch", "claude-opus-4-1", Usage(fresh=1_000_000, output=1_000_000, tier="flex"), 45.0),
    Case("fast-mode", "claude-opus-5", Usage(fresh=1_000_000, output=1_000_000, tier="priority"), 60.0),
    Case("a-thousand-searches", "claude-sonnet-4-6", Usage(web_searches=1000), 10.0),
    # OpenAI's pricing page: cached input at a tenth, and long requests at twice the price.
    Case("cached-input-of-openai", "gpt-5.5", Usage(fresh=100_000, cache_read=100_000, output=10_000), 0.85),
    Case("exactly-as-long-as-the-step", "gpt-5.4", Usage(fresh=272_000), 0.68),
    Case("one-token-longer-than-the-step", "gpt-5.4", Usage(fresh=272_001), 1.360005),
    Case("long-by-what-was-cached", "gpt-5.4", Usage(fresh=1, cache_read=272_000, output=1000), 0.158505),
    Case("flex-of-openai", "gpt-5", Usage(fresh=1_000_000, cache_read=1_000_000, tier="flex"), 0.6875),
    Case("flex-of-a-reasoning-model", "o4-mini", Usage(fresh=1_000_000, output=1_000_000, tier="flex"), 2.75),
    Case(
        "priority-of-openai", "gpt-5.5", Usage(fresh=100_000, cache_read=100_000, output=10_000, tier="priority"), 2.125
    ),
    Case(
        "priority-at-nine-fifths", "gpt-5-mini", Usage(cache_read=1_000_000, output=1_000_000, tier="priority"), 3.645
    ),
    Case("priority-at-five-thirds", "gpt-4o-mini", Usage(fresh=1_000_000, output=1_000_000, tier="priority"), 1.25),
    Case("priority-at-twenty-elevenths", "o4-mini", Usage(fresh=1_000_000, output=1_000_000, tier="priority"), 10.0),
    Case("priority-leaves-searches-alone", "gpt-4.1", Usage(fresh=1_000_000, web_searches=100, tier="priority"), 4.5),
    Case("a-class-without-a-price-of-its-own", "o1", Usage(output=1_000_000, tier="priority"), 60.0),
    # Anthropic's data residency: 1.1 times all prices of tokens, and of nothing else.
    Case(
        "inference-in-the-united-states",
        "claude-opus-4-6",
        Usage(fresh=1_000_000, cache_read=1_000_000, cache_written=1_000_000, output=1_000_000, region="us"),
        40.425,
    ),
    Case("searches-cost-the-same-anywhere", "claude-sonnet-4-6", Usage(web_searches=100, region="us"), 1.0),
    Case("a-batch-in-the-united-states", "claude-opus-4-6", Usage(output=1_000_000, tier="flex", region="us"), 13.75),
    Case("a-model-older-than-regions", "claude-opus-4-5", Usage(output=1_000_000, region="us"), 25.0),
    Case("a-haiku-beyond-its-step", "claude-haiku-5-5", Usage(cache_read=100_000, output=1000, fresh=1), 0.0075005),
    Case("cached-input-at-a-twentieth", "gpt-6.1-terra", Usage(cache_read=272_001), 0.0272001),
    Case("a-price-with-three-decimals", "gpt-4o-mini", Usage(cache_read=1), 0.000000075),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bill_is_that_of_the_vendor_to_the_billionth(case: Case) -> None:
    price = load_prices().find("any", case.model)

    assert price is not None
    assert Tariff(price).bill(case.usage) == round(case.dollars * DOLLAR)


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5@20250929",
        "anthropic/claude-sonnet-4.5",
        "claude-sonnet-4-5[1m]",
        "Claude-Sonnet-4-5-latest",
    ],
)
def test_every_spelling_of_a_name_finds_the_same_price(name: str) -> None:
    prices = load_prices()

    assert prices.find("any", name) == prices.rows()["claude-sonnet-4-5"]


@pytest.mark.parametrize("name", ["qwen3:8b", "", "claude", "gpt-5.5-turbo-mini", "claude-sonnet-4-5x"])
def test_a_model_that_nobody_priced_has_no_price(name: str) -> None:
    assert load_prices().find("any", name) is None


def test_the_operators_row_comes_before_the_bundled_one() -> None:
    own = PriceSettings(input=1.0, output=2.0)

    assert load_prices({"gpt-5.5": own}).find("any", "gpt-5.5") is own


def test_the_row_of_a_provider_holds_for_that_provider_alone() -> None:
    own = PriceSettings(input=0.0, output=0.0)
    prices = load_prices({"local/gpt-5.5": own})

    assert prices.find("local", "gpt-5.5") is own
    assert prices.find("openai", "gpt-5.5") == load_prices().rows()["gpt-5.5"]


def test_the_highest_step_that_a_request_reaches_holds() -> None:
    steps = (PriceStep(100, input=2.0, output=2.0), PriceStep(200, input=3.0, output=3.0))
    price = PriceSettings(input=1.0, output=1.0, steps=steps)

    costs = [Tariff(price).bill(Usage(fresh=count)) for count in (100, 101, 200, 201)]

    assert costs == [100_000, 202_000, 400_000, 603_000]


def test_names_of_clients_do_not_fill_the_memory() -> None:
    prices = Prices({})

    for number in range(10_000):
        prices.find("any", f"model-{number}")

    assert len(prices._found) <= 4096


@pytest.mark.parametrize("name", load_prices().rows())
def test_each_bundled_price_says_who_published_it_and_when(name: str) -> None:
    row = load_prices().rows()[name]

    assert row.source
    assert len(row.date) == len("2026-11-30")


MEDIA = PriceSettings(input=1.0, output=2.0, media=30.0)
TEXT = PriceSettings(input=1.0, output=2.0)


def test_images_and_sound_in_an_answer_have_a_price_of_their_own() -> None:
    usage = Usage(fresh=1_000_000, output=1_000_000, media=600_000)

    assert load_prices({"m": MEDIA}).bill("any", "m", usage) == round((1.0 + 0.4 * 2.0 + 0.6 * 30.0) * DOLLAR)


@pytest.mark.parametrize("usage", [Usage(media=1), Usage(images=1), Usage(web_searches=1)], ids=str)
def test_what_has_no_price_leaves_a_reply_without_a_cost_and_a_budget_with_the_rest(usage: Usage) -> None:
    usage = msgspec.structs.replace(usage, fresh=1_000_000, output=1000)
    prices = load_prices({"m": TEXT})

    assert prices.bill("any", "m", usage) is None
    assert prices.bill_known("any", "m", usage) == round(1.002 * DOLLAR)
