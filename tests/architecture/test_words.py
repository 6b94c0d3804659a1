"""One word for one thing: names that were given up stay away, in code, documents and tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What stands here now: CONTRIBUTING.md says what each word means.
RETIRED = {
    "Inbound": "ClientRequest",
    "Outbound": "ClientResponse",
    "Outgoing": "UpstreamRequest",
    "Rendered": "RenderedRequest",
    "Opened": "StartedResponse",
    "House": "Services",
    "Household": "Runtime",
    "household": "runtime",
    "ResponseState": "ResponseContinuation",
    "Archive": "StoredResponses",
    "Recollection": "ReasoningStore",
    "recollection": "reasoning store",
    "Remembrance": "ReasoningRecall",
    "remembrance": "reasoning recall",
    "Bystander": "observed stream",
    "LoginDesk": "WebLogins",
    "Journal": "RenewalLock",
    "extras": "extensions",
    "Extras": "extensions",
    "Abroad": "in other dialects",
    "abroad": "in other dialects",
    "PATIENCE": "what the limit is for",
    "rescue_calls": "text_tool_calls",
    "early_head": "stream_start_timeout",
    "Lane": "ProviderQueue",
    "lane": "queue",
    "Ways": "Routing",
}
# Where the old name of a setting is still read, and said to be.
STILL_READ = {"early_head": {"app/settings/checking.py", "docs/configuration.md", "tests/settings/test_writing.py"}}
PLACES = ("app", "docs", "tests", "README.md", "CONTRIBUTING.md")
# Data of others, and this list.
FOREIGN = ("tests/wire/", "tests/conversation/", "tests/golden/", "tests/architecture/test_words.py")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text of ours, by its path."""
    places = [ROOT / place for place in PLACES]
    files = [path for place in places for path in (place.rglob("*") if place.is_dir() else (place,))]
    paths = [path.relative_to(ROOT).as_posix() for path in files if path.suffix in (".py", ".md", ".toml")]
    ours = [path for path in paths if not path.startswith(FOREIGN)]
    assert len(ours) > 500
    return {path: (ROOT / path).read_text() for path in ours}


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_name_does_not_come_back(word: str, texts: dict[str, str]) -> None:
    before = "(?<![A-Za-z0-9])" if word.isupper() else r"\b"
    pattern = re.compile(rf"{before}{word}\b")

    found = {path for path, text in texts.items() if pattern.search(text)}

    assert found - STILL_READ.get(word, set()) == set(), f"the word is: {RETIRED[word]}"
