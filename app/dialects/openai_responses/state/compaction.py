"""Renders and parses a compaction by summary.

The summary is carried in the `encrypted_content` of a compaction item, in our envelope, and becomes a developer message
when the item comes back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.blocks import Proof, Text
from app.conversation.envelope import seal
from app.conversation.literals import literal
from app.conversation.request import SUMMARY_PROMPT
from app.dialects.json_bodies import encode_body, read_body
from app.dialects.openai_responses.response_parser import parse_response
from app.dialects.openai_responses.state.history import input_items
from app.dialects.openai_responses.vocabulary import NAME, mint_id, response_decoder
from app.errors import UpstreamMalformed

# Fields of the client's request that also apply to the summary.
_KEPT_FIELDS = ("model", "instructions", "reasoning", "service_tier", "prompt_cache_key")


class _Head(msgspec.Struct):
    type: str | None = None
    role: str | None = None


_head_decoder = msgspec.json.Decoder(_Head)


def ask_summary(body: bytes, *, name_previous: bool) -> bytes:
    """The request for a summary of a compaction request's input, and of the response that it continues, if the upstream
    knows that one itself. Raises InvalidRequest."""
    kept = (*_KEPT_FIELDS, "previous_response_id") if name_previous else _KEPT_FIELDS
    fields: dict[str, Any] = {name: raw for name, raw in read_body(body).items() if name in kept}
    asked = {"type": "message", "role": "user", "content": SUMMARY_PROMPT}
    fields["input"] = [*(msgspec.Raw(item) for item in input_items(body)), asked]
    return encode_body({**fields, "store": False, "stream": False})


def render_compaction(body: bytes, answer: bytes, response_id: str, created: int) -> bytes:
    """The compacted history: the user's messages unchanged, then one item that replaces the rest.

    `answer` is the response object with the summary. Raises UpstreamMalformed if it has no text.
    """
    summary = "".join(block.text for block in parse_response(answer).blocks if isinstance(block, Text))
    if not summary.strip():
        raise UpstreamMalformed("the upstream returned no summary of the conversation")
    proof = Proof(NAME, "compaction", (literal(summary),))
    item = {"id": mint_id("compaction", response_id), "type": "compaction", "encrypted_content": seal(proof)}
    usage = response_decoder.decode(answer).usage
    return msgspec.json.encode(
        {
            "id": response_id,
            "object": "response.compaction",
            "created_at": created,
            "output": [*(msgspec.Raw(item) for item in input_items(body) if _is_of_user(item)), item],
            "usage": usage,
        }
    )


def _is_of_user(item: bytes) -> bool:
    head = _head_decoder.decode(item)
    return head.role == "user" and head.type in (None, "message")
