"""The tables of quirks: ours beside the program, and rows of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConfigError
from app.providers.quirk_tables import read_fields, read_user_rows
from app.providers.registry import build_providers
from app.settings import ProviderSettings
from app.transport import Transport
from app.transport.transport import TransportSettings

ROW = '[[rows]]\nnames = ["my-model-*"]\nimages = false\nstop_limit = "any"\n'


def write(folder: Path, text: str) -> str:
    path = folder / "quirks.toml"
    path.write_text(text)
    return str(path)


def test_a_row_of_the_users_own_goes_before_ours_and_the_providers_quirks_before_it(tmp_path: Path) -> None:
    rows = read_user_rows(write(tmp_path, ROW + "temperature_max = 0.5\n"))
    settings = ProviderSettings(kind="openai", base_url="http://u/v1", quirks={"temperature_max": 0.7})
    provider = build_providers({"p": settings}, {}, tmp_path, Transport(TransportSettings()), rows)["p"]

    changed, usual = provider.capabilities("vendor/My-Model.2"), provider.capabilities("other")

    assert (changed.images, changed.stop_limit, changed.temperature_max) == (False, None, 0.7)
    assert (usual.images, usual.stop_limit, usual.temperature_max) == (True, 4, 0.7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[rows]]\nnames = ['a']\nimage = false\n", "images"),
        ("[[rows]]\nnames = ['a']\nimages = 7\n", "images"),
        ("[[rows]]\nnames = 'a'\n", "names"),
        ("[rows]\nimages = false\n", "[[rows]]"),
        ("[hosts]\n", "[[rows]]"),
        ("rows = [", "cannot be read"),
    ],
)
def test_a_row_that_is_wrong_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_user_rows(write(tmp_path, text))

    assert told in str(refused.value)


def test_no_limit_is_said_in_a_word_where_there_may_be_one() -> None:
    assert read_fields({"stop_limit": "any", "tool_id": "any"}, "x") == {"stop_limit": None, "tool_id": "any"}
