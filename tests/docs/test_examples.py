"""The example files are what they say."""

from __future__ import annotations

from app.credentials.formats.oca_file import parse_login
from tests.docs.blocks import ROOT


def test_the_example_of_a_token_file_holds_both_tokens() -> None:
    tokens = parse_login((ROOT / "docs" / "secrets.json.example").read_bytes())

    assert tokens.access_token is not None
    assert tokens.access_token.startswith("the access token")
    assert tokens.refresh_token is not None
