"""Names the client program by its User-Agent."""

from __future__ import annotations

import functools

from app.logs import hide_secrets

# Maximum characters of a header examined, and of a name.
LONGEST_HEADER = 200
LONGEST_NAME = 60


@functools.lru_cache(1024)
def name_agent(header: str) -> str:
    """Returns `claude-cli/2.1` for `claude-cli/2.1 (external, cli)`, `OpenAI-Python/3.52` for `OpenAI/Python 3.52`, and
    an empty string for an empty header. Anything that looks like a credential is masked."""
    words = hide_secrets(header[:LONGEST_HEADER]).split()
    if not words:
        return ""
    product, _, version = words[0].partition("/")
    # The vendors' SDKs put their language where others put the version.
    if version and not any(map(str.isdigit, version)) and len(words) > 1 and words[1][:1].isdigit():
        product, version = f"{product}-{version}", words[1]
    named = f"{product}/{version}" if version else product
    return "".join(character if character.isprintable() else "?" for character in named[:LONGEST_NAME])
