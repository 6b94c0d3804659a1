"""The specification of the presets of aliases."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from app.routing.presets import HAIKU, OPUS, PRESETS, SONNET


def lead(preset: str, name: str) -> str | None:
    """Where a name leads: an exact entry, else the first glob."""
    table = PRESETS[preset]
    return table.get(name) or next((target for glob, target in table.items() if fnmatchcase(name, glob)), None)


@pytest.mark.parametrize(
    ("preset", "name", "target"),
    [
        ("oca", "gpt-4o", "oca/gpt-4.1"),
        ("oca", "anything", "oca/gpt-4.1"),
        ("openai-to-claude", "gpt-5", SONNET),
        ("openai-to-claude", "gpt-4-turbo", SONNET),
        ("openai-to-claude", "gpt-4o-2024-08-06", SONNET),
        ("openai-to-claude", "gpt-4o-mini-2024-07-18", HAIKU),
        ("openai-to-claude", "o1-preview", OPUS),
        ("openai-to-claude", "o1-mini", SONNET),
        ("openai-to-claude", "o3-mini", OPUS),
        ("openai-to-claude", "gpt-3.5-turbo", HAIKU),
        ("openai-to-claude", "text-davinci-003", SONNET),
        ("openai-to-claude", "gpt-next", SONNET),
        ("openai-to-claude", "qwen3", None),
        ("openai-to-cli", "gpt-4o", SONNET),
        ("openai-to-cli", "gpt-4o-mini", HAIKU),
        ("openai-to-cli", "gpt-4-turbo", SONNET),
        ("openai-to-cli", "gpt-4", OPUS),
        ("openai-to-cli", "gpt-3.5-turbo", HAIKU),
        ("openai-to-cli", "o1", OPUS),
        ("openai-to-cli", "o1-mini", HAIKU),
        ("openai-to-cli", "o1-preview", OPUS),
        ("claude-classes", "claude-3-5-sonnet-20241022", SONNET),
        ("claude-classes", "claude-3-5-haiku-latest", HAIKU),
        ("claude-classes", "claude-3-opus-20240229", OPUS),
        ("claude-classes", "claude-4.5-opus", OPUS),
        ("claude-classes", "claude-opus-4-5-20251101", OPUS),
        ("claude-classes", OPUS, None),
        ("unknown-to-sonnet", "gpt-4o", SONNET),
        ("unknown-to-sonnet", "command-r", SONNET),
        ("unknown-to-sonnet", HAIKU, None),
    ],
)
def test_a_name_leads_to_the_model_of_its_class(preset: str, name: str, target: str | None) -> None:
    assert lead(preset, name) == target


def test_names_are_in_lower_case() -> None:
    assert [name for table in PRESETS.values() for name in table if name != name.lower()] == []
