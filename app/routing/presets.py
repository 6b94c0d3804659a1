"""Presets of model aliases for clients of other proxies.

`[models] presets` switches a preset on. The configuration's own rules take precedence. Names are lower case and may be
globs, which are tried in order. A value is a model, or a name that resolves to a tier (`small`, `big`, `opus` …) if the
configuration sets that tier.
"""

from __future__ import annotations

OPUS = "claude-opus-5-5"
SONNET = "claude-sonnet-5-5"
HAIKU = "claude-haiku-5-5"

PRESETS: dict[str, dict[str, str]] = {
    # Maps any name to the model that every Oracle Code Assist account has.
    "oca": {"*": "oca/gpt-4.1"},
    # OpenAI's names, by class of model, for clients that cannot be configured to send others. Longer prefixes first;
    # common names are spelled out, because globs are not listed.
    "openai-to-claude": {
        "gpt-4o": SONNET,
        "gpt-4o-mini": HAIKU,
        "gpt-4-turbo": SONNET,
        "gpt-4": SONNET,
        "gpt-3.5-turbo": HAIKU,
        "o1": OPUS,
        "o1-mini": SONNET,
        "o1-preview": OPUS,
        "gpt-5-mini*": HAIKU,
        "gpt-5-nano*": HAIKU,
        "gpt-5*": SONNET,
        "gpt-4o-mini*": HAIKU,
        "gpt-4o*": SONNET,
        "gpt-4*": SONNET,
        "gpt-3.5*": HAIKU,
        "o1-mini*": SONNET,
        "o1*": OPUS,
        "o3*": OPUS,
        "text-davinci-00?": SONNET,
        "gpt*": SONNET,
    },
    # The same names with the different classes that a wrapper around the Claude CLI uses.
    "openai-to-cli": {
        "gpt-4o-mini": HAIKU,
        "gpt-4o": SONNET,
        "gpt-4-turbo": SONNET,
        "gpt-4": OPUS,
        "gpt-3.5-turbo": HAIKU,
        "o1": OPUS,
        "o1-mini": HAIKU,
        "o1-preview": OPUS,
    },
    # Claude's older and informal names, each to the current model of its class.
    "claude-classes": {
        "claude-opus-4-5-20251101": OPUS,
        "claude-sonnet-4-5-20250929": SONNET,
        "claude-haiku-4-5-20251001": HAIKU,
        "claude-opus-4-20250514": OPUS,
        "claude-sonnet-4-20250514": SONNET,
        "claude-4": SONNET,
        "claude-4-sonnet": SONNET,
        "claude-4-opus": OPUS,
        "claude-4.5": SONNET,
        "claude-4.5-sonnet": SONNET,
        "claude-4.5-opus": OPUS,
        "claude-4.5-haiku": HAIKU,
        "claude-3.5-sonnet": SONNET,
        "claude-3.5-haiku": HAIKU,
        "claude-3-7-sonnet-*": SONNET,
        "claude-3-5-sonnet-*": SONNET,
        "claude-3-5-haiku-*": HAIKU,
        "claude-3-opus": OPUS,
        "claude-3-opus-*": OPUS,
        "claude-3-sonnet": SONNET,
        "claude-3-sonnet-*": SONNET,
        "claude-3-haiku": HAIKU,
        "claude-3-haiku-*": HAIKU,
    },
    # Any name that is not Claude's own. Claude's names lead to Anthropic without a preset.
    "unknown-to-sonnet": {"[!c]*": SONNET, "c[!l]*": SONNET},
}
