"""Normalises model names.

`canonical_name` is for comparing names: Claude Code's `claude-sonnet-4-5[1m]`, OpenRouter's
`anthropic/claude-sonnet-4.5`, Bedrock's `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, Vertex'
`claude-sonnet-4-5@20250929` and Cursor's `claude-4.5-sonnet` are the same. Requests use the name as the upstream lists
it.
"""

from __future__ import annotations

import re

# Names come from clients; no vendor's are longer.
LONGEST_NAME = 200
# Claude Code's picker hides names without "claude" or "anthropic"; with this prefix it shows any name.
CLAUDE_ALIAS = "claude-via/"

# Prefixes with which clients name a model's maker, or its usual host.
VENDORS = frozenset(
    {"anthropic", "openai", "google", "gemini", "meta", "meta-llama", "mistral", "mistralai", "deepseek",
     "deepseek-ai", "qwen", "x-ai", "xai", "moonshotai", "moonshot", "z-ai", "zai", "zai-org", "minimax", "oca",
     "openrouter", "bedrock", "vertex", "vertex_ai", "azure", "github_copilot", "ollama", "models"}
)  # fmt: skip

_MAKER = re.compile(r"^(?:(?:us|eu|apac|global)-)?(?:anthropic|openai|google|meta|mistralai|deepseek-ai|xai)-")
_WINDOW = re.compile(r"\[[0-9]{1,6}[km]\]$")
_EDITION = re.compile(r"(?:-v[0-9]{1,2}:[0-9]{1,2}|:latest|-latest)$")
_DATE = re.compile(r"-(?:20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2})$")
# Claude's older names, and those of other gateways, put the version first.
_VERSION_FIRST = re.compile(r"claude-([0-9]{1,2}(?:-[0-9]{1,2})?)-([a-z]{2,10})$")


def bare_name(model: str) -> str:
    """The name that the globs of models.toml match: lower case, without the vendor, with dashes for dots."""
    return _MAKER.sub("", model.lower().rsplit("/", 1)[-1].replace(".", "-").replace("@", "-"))


def plain_name(name: str) -> str:
    """A name without the parts that only Claude Code uses: the window size, and the prefix for its picker."""
    return _WINDOW.sub("", name).removeprefix(CLAUDE_ALIAS)


def canonical_name(name: str) -> str:
    """The name shared by all spellings of one model."""
    bare = bare_name(_EDITION.sub("", plain_name(name[:LONGEST_NAME].lower())))
    return _VERSION_FIRST.sub(r"claude-\2-\1", _DATE.sub("", bare))


def maker_before(name: str) -> str:
    """What stands before a model's name to say who makes it, such as `openai/` or `us.anthropic.`, or nothing."""
    rest = split_vendor(name)[1]
    found = _MAKER.match(rest.lower().replace(".", "-"))
    return name[: len(name) - len(rest) + (found.end() if found else 0)]


def split_vendor(name: str) -> tuple[str | None, str]:
    """The vendor that a name states, or None, and the rest of the name."""
    vendor, slash, rest = name.partition("/")
    return (vendor, rest) if slash and rest and vendor.lower() in VENDORS else (None, name)
