"""The specification of what images cost."""

from __future__ import annotations

import pytest

from app.conversation.tokens.image_tokens import CLAUDE, count_image, find_rule

STANDARD = "claude-sonnet-4-6"
FINE = "claude-opus-4-8"


@pytest.mark.parametrize(
    ("size", "standard", "fine"),
    [
        ((200, 200), 64, 64),
        ((1000, 1000), 1296, 1296),
        ((1092, 1092), 1521, 1521),
        ((1920, 1080), 1560, 2691),
        ((1080, 1920), 1560, 2691),
        ((2000, 1500), 1564, 3888),
        ((3840, 2160), 1560, 4784),
        ((8, 8), 1, 1),
        ((8000, 1), 56, 92),
    ],
)
def test_anthropic_counts_patches_of_what_the_model_sees(size: tuple[int, int], standard: int, fine: int) -> None:
    assert count_image(find_rule(STANDARD, CLAUDE), size) == standard
    assert count_image(find_rule(FINE, CLAUDE), size) == fine


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4.1", (512, 512), None, 255),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4o-mini", (1024, 1024), None, 25501),
        ("gpt-4o-mini", (1024, 1024), "low", 2833),
        ("gpt-5", (1024, 1024), "auto", 630),
        ("gpt-5-chat-latest", (1024, 1024), "low", 70),
        ("o3", (1024, 1024), None, 675),
        ("computer-use-preview", (1024, 1024), None, 581),
    ],
)
def test_the_older_models_of_openai_count_tiles(
    model: str, size: tuple[int, int], detail: str | None, tokens: int
) -> None:
    assert count_image(find_rule(model), size, detail) == tokens


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4.1-mini", (1024, 1024), None, 1659),
        ("gpt-4.1-mini", (1800, 2400), None, 2353),
        ("gpt-4.1-nano", (1024, 1024), None, 2520),
        ("gpt-5-mini-2025-08-07", (32, 33), None, 4),
        ("o4-mini", (1024, 1024), None, 1762),
        ("gpt-5.1-codex", (1800, 2400), "high", 1452),
        ("gpt-5.4", (1024, 1024), "low", 256),
        ("gpt-5.4", (3200, 3200), "original", 10_000),
        ("gpt-5.4", (3200, 3200), None, 2500),
        ("gpt-5.5", (3200, 3200), None, 10_000),
        ("gpt-5.6-sol", (4000, 4000), "auto", 15_625),
        ("gpt-5.6-sol", (4000, 4000), "high", 2500),
    ],
)
def test_the_newer_models_of_openai_count_scaled_patches(
    model: str, size: tuple[int, int], detail: str | None, tokens: int
) -> None:
    assert count_image(find_rule(model), size, detail) == tokens


def test_a_model_without_a_rule_is_counted_by_that_of_the_dialect() -> None:
    assert count_image(find_rule("qwen3-vl", CLAUDE), (1000, 1000)) == 1296
    assert count_image(find_rule("qwen3-vl"), (1000, 1000)) == 765


def test_no_size_is_the_usual_size() -> None:
    rule = find_rule(STANDARD, CLAUDE)

    assert count_image(rule, None) == count_image(rule, (1024, 1024)) > 1000


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (100_000, 1), (1, 100_000), (100_000, 100_000)])
@pytest.mark.parametrize("model", [STANDARD, FINE, "gpt-4o", "gpt-5-mini", "gpt-5.4", "gpt-5.6"])
@pytest.mark.parametrize("detail", [None, "low", "high", "original"])
def test_odd_sizes_cost_something_and_not_too_much(size: tuple[int, int], model: str, detail: str | None) -> None:
    assert 1 <= count_image(find_rule(model), size, detail) <= 30_000
