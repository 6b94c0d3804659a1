"""A refusal, together with the request that was refused."""

from __future__ import annotations

from app.conversation.capabilities import Capabilities
from app.dialects.json_bodies import repair_text
from app.errors import Failure
from app.gateway.messages import ReadOnce
from app.json_values import Fields, decode_or_none, fields_decoder

# Maximum characters of a refusal examined: servers name the field early, and quote what they were sent after it.
LONGEST_REFUSAL = 1000
# Maximum bytes of a request whose top-level fields are read, and of a part of it that is searched.
LONGEST_REQUEST = 16 * 1024 * 1024
LONGEST_WALK = 2 * 1024 * 1024


class Refusal:
    """`said` is what the upstream says, `text` the same in lower case; `param` and `code` are its structured hints,
    empty if it gives none. `capabilities` are those with which the request was made."""

    def __init__(self, failure: Failure, message: str, capabilities: Capabilities, body: bytes) -> None:
        """`message` is the failure's, or the upstream's own part of it."""
        self.said = message[:LONGEST_REFUSAL]
        self.text = self.said.lower()
        self.param = (failure.param or "")[:LONGEST_REFUSAL]
        self.code = failure.code or ""
        self.capabilities = capabilities
        self._body = body

    @ReadOnce
    def sent(self) -> bytes:
        """The refused body, with invalid characters replaced."""
        return repair_text(self._body)

    @ReadOnce
    def fields(self) -> Fields:
        """Its top-level fields; empty if it is too long or unreadable."""
        return (decode_or_none(self.sent, fields_decoder) or {}) if len(self._body) <= LONGEST_REQUEST else {}

    def field(self, name: str) -> bytes:
        """A top-level field as it was sent; empty if it was not."""
        return bytes(self.fields.get(name, b""))
