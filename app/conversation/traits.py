"""What the rest of the program needs to know about a dialect, as one record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.conversation.blocks import Block, DialectName, Proof
from app.conversation.tokens.image_tokens import UNTOLD, Rule


class DialectTraits(msgspec.Struct, frozen=True, kw_only=True):
    """The habits of a dialect's clients and of its vendor. What a server or a model supports is in Capabilities."""

    name: DialectName

    # clients
    fields: Mapping[str, str] = {}  # their names for fields of the neutral request, where these differ
    path_marks: tuple[str, ...] = ()  # path segments that identify a request without an endpoint as theirs
    header_mark: str | None = None  # a header, in lower case, that all of them send
    forgets_reasoning: bool = False  # many clients drop reasoning because the dialect has no field for it
    resends_summarised: bool = False  # they resend the turns that a summary replaces
    counts_input_first: bool = False  # a stream reports its input tokens at the beginning
    token_mark: re.Pattern[bytes] | None = None  # marks the first output of the model in a stream
    opening: re.Pattern[bytes] | None = None  # matches the events by which a stream begins, before it says anything
    fits_limit: bool = False  # told how much room is left for an answer, they lower their output limit by themselves
    fails_by_events: bool = False  # clients tell failures apart by a stream's events, and by a status only roughly
    custom_tools: Callable[[bytes], frozenset[str]] | None = None  # the names of the custom tools in a request
    echoes_prompt: bool = False  # an answer may echo the prompt, so its renderer needs the body
    limit_header: str = "x-ratelimit-{field}-{what}"  # limit, remaining or reset of requests or tokens
    types_errors: bool = False  # the envelope of an error has the type "error"
    dates_resets: bool = False  # the end of a limit is given as a date, not a duration
    # Proofs of other dialects that its clients send back in their own fields: maps such a proof to its blocks, or to an
    # empty list if it is something else.
    foreign_proofs: Mapping[DialectName, Callable[[Proof], list[Block]]] = {}

    # the vendor
    hosts: tuple[str, ...] = ()
    takes: Mapping[str, Any] = {}  # the first layer of every capability record: fields of Capabilities
    image_rule: Rule = UNTOLD  # tokens of images if the model's name does not decide
    needs_limit: bool = False  # a request without an output limit is refused
    renamed_limit: bool = False  # the output limit has an old and a new name, and servers know either one
    fills_caches: bool = False  # a request with an output limit of 0 fills the prompt cache
    pauses_turns: bool = False  # a turn with the vendor's own tools may pause until the client continues it
    means_empty: bool = False  # an empty answer is valid, not a failure
    keeps_billing: bool = False  # its own servers identify a client by a line in the instructions

    # the form of a request
    idioms: frozenset[str] = frozenset()  # forms of tools and settings shared with other dialects
    hints_known_to: frozenset[DialectName] = frozenset()  # dialects whose servers know its clients' hints by name
    owner: str | None = None  # the vendor: file ids and user names are valid in all dialects of one owner
    needs_turn: bool = False  # instructions alone are refused: a turn is required
    system_speaks: bool = False  # a system turn satisfies `needs_turn`
    strict_turns: bool = False  # the first turn is a user's; a system turn only between a user's and an answer
    answers_follow: bool = False  # after an answer another one follows; its servers never continue the last
    unique_items: bool = False  # two items of one id are refused
    names_allowed_tools: bool = False  # the tool choice may be limited to some of the declared tools
    always_strict: bool = False  # schemas are always enforced, even if the client does not ask
    json_in_turns: bool = False  # JSON output requires the word JSON in a turn
    seals_for_account: bool = False  # reasoning and compactions are encrypted, for one account
    summarised: str = "auto"  # the word for reasoning shown to clients by default
