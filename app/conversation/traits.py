"""What the rest of the program must know of a dialect beside its code: one record, which its folder fills in."""

from __future__ import annotations

import re

import msgspec


class DialectTraits(msgspec.Struct, frozen=True, kw_only=True):
    """The habits of a dialect's clients and of its vendor. What a server or a model can take is in Capabilities."""

    # clients
    forgets_reasoning: bool = False  # many clients keep no reasoning, for the dialect has no field for it
    counts_input_first: bool = False  # a stream tells the tokens of its input at its beginning
    token_mark: re.Pattern[bytes] | None = None  # what of a stream shows that the model has begun to say something
    echoes_prompt: bool = False  # an answer may repeat what was asked, so that its renderer needs the body
    limit_header: str = "x-ratelimit-{field}-{what}"  # limit, remaining or reset of requests or tokens
    dates_resets: bool = False  # the end of a limit is told as a date, not as a span

    # the vendor
    needs_limit: bool = False  # a request without a limit of its answer is refused
    renamed_limit: bool = False  # that limit has an old and a new name, and servers know the one or the other
    fills_caches: bool = False  # a request for an answer of no tokens fills the prompt cache
    pauses_turns: bool = False  # a turn with the vendor's own tools may stop until the client asks on
