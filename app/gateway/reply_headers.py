"""Says which parts of an upstream's reply a client may see as they are."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# When to come back is of use to every client; the rest is said in the words of one dialect.
ALWAYS = ("retry-after", "retry-after-ms", "x-should-retry")
SAME_DIALECT_PREFIXES = ("anthropic-ratelimit-", "anthropic-priority-", "x-ratelimit-", "x-codex-")
SAME_DIALECT = ("anthropic-organization-id", "openai-processing-ms", "openai-version", "openai-model")


class _ErrorObject(msgspec.Struct):
    message: str
    type: str


class _Envelope(msgspec.Struct):
    error: _ErrorObject


_envelope = msgspec.json.Decoder(_Envelope)


def relayed_headers(headers: Mapping[str, str], *, same_dialect: bool) -> dict[str, str]:
    """The upstream's headers that a client gets. Never cookies, CORS, hop-by-hop headers or anything unknown."""
    kept = {name: headers[name] for name in ALWAYS if name in headers}
    if same_dialect:
        for name, value in headers.items():
            if name.startswith(SAME_DIALECT_PREFIXES) or name in SAME_DIALECT:
                kept[name] = value
    return kept


def clean_error(body: bytes) -> bool:
    """Whether an error body is the envelope of both dialect families: clients can read it as it is."""
    try:
        _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def mask(text: str, secret: str) -> str:
    """Text without the credential, which some upstreams quote in their errors."""
    return text.replace(secret, "[credential]") if secret else text
