"""What the rest of the program needs to know about a dialect, as one record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.conversation.blocks import Block, DialectName, Proof
from app.conversation.tokens.image_tokens import UNTOLD, Rule


class DialectTraits(msgspec.Struct, frozen=True, kw_only=True):
    """The habits of a dialect's clients and of its vendor. What a server or a model can take is in Capabilities."""

    name: DialectName

    # clients
    fields: Mapping[str, str] = {}  # what they call fields of the neutral request, where it is another name
    path_marks: tuple[str, ...] = ()  # parts of a path by which a request without an endpoint is known as theirs
    header_mark: str | None = None  # a header, in lower case, that all of them send
    forgets_reasoning: bool = False  # many clients keep no reasoning, for the dialect has no field for it
    resends_summarised: bool = False  # they keep sending the turns that a summary stands for
    counts_input_first: bool = False  # a stream tells the tokens of its input at its beginning
    token_mark: re.Pattern[bytes] | None = None  # what of a stream shows that the model has begun to say something
    echoes_prompt: bool = False  # an answer may repeat what was asked, so that its renderer needs the body
    limit_header: str = "x-ratelimit-{field}-{what}"  # limit, remaining or reset of requests or tokens
    dates_resets: bool = False  # the end of a limit is told as a date, not as a span
    # Proofs of other dialects that its clients send back in fields of their own: the blocks that such a proof stands
    # for, none if it is no such proof.
    foreign_proofs: Mapping[DialectName, Callable[[Proof], list[Block]]] = {}

    # the vendor
    hosts: tuple[str, ...] = ()
    takes: Mapping[str, Any] = {}  # the first layer of every capability record: fields of Capabilities
    image_rule: Rule = UNTOLD  # what images cost where the model's name does not tell
    needs_limit: bool = False  # a request without a limit of its answer is refused
    renamed_limit: bool = False  # that limit has an old and a new name, and servers know the one or the other
    fills_caches: bool = False  # a request for an answer of no tokens fills the prompt cache
    pauses_turns: bool = False  # a turn with the vendor's own tools may stop until the client asks on
    means_empty: bool = False  # an answer without content is one, not a failure
    keeps_billing: bool = False  # its own servers know a client by a line in its instructions

    # the form of a request
    idioms: frozenset[str] = frozenset()  # forms of tools and settings that it shares with other dialects
    hints_known_to: frozenset[DialectName] = frozenset()  # dialects whose servers know its clients' hints by name
    owner: str | None = None  # whose dialect it is: ids of files and names of users hold in all dialects of one owner
    needs_turn: bool = False  # instructions alone are refused: something must be said
    system_speaks: bool = False  # a system turn is enough of that
    strict_turns: bool = False  # a user speaks first, and a system turn stands only between a user's and an answer
    names_allowed_tools: bool = False  # the choice of tools may be limited to some of those declared
    always_strict: bool = False  # schemas are always enforced, whether the client asks for it or not
    json_in_turns: bool = False  # the word JSON must stand in a turn before the model may be held to it
    summarised: str = "auto"  # the word for reasoning that clients are shown without asking
