"""Words in errors that make Claude Code show its login page, whatever the status."""

from __future__ import annotations

import re

# What the program looks for in the text of an error, and what says the same to a human.
_WORDS = {
    "x-api-key": "API key",
    "oauth token has been revoked": "OAuth token was revoked",
    "oauth authentication is currently not allowed for this organization": (
        "OAuth authentication is not allowed for this organization at present"
    ),
}
_PATTERN = re.compile("|".join(map(re.escape, _WORDS)), re.IGNORECASE)


def has_login_words(text: str) -> bool:
    return _PATTERN.search(text) is not None


def replace_login_words(text: str) -> str:
    """The same sentence, in words that the program shows instead of its own."""
    return _PATTERN.sub(lambda found: _WORDS[found[0].lower()], text)
