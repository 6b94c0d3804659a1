"""Renders whole legacy Completions responses, and joins several into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.blocks import Refusal, Text
from app.conversation.capabilities import RenderContext
from app.conversation.response import Response, Usage, add_usages
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat.response_parser import parse_response
from app.dialects.openai_chat.usage import write_usage
from app.dialects.openai_completions.request_parser import read_request
from app.dialects.openai_completions.vocabulary import FINISH_NAMES
from app.errors import InvalidRequest, UpstreamCut
from app.sse import DONE, encode_event


def render_response(response: Response, context: RenderContext) -> bytes:
    """A `text_completion` object. Raises UpstreamCut for a response that broke off."""
    if response.finish_reason is None:
        raise UpstreamCut("the upstream's reply ended before it was complete", began=True)
    text = echoed_prompt(context) + _text_of(response)
    body = {**head_of(context), "choices": [choice_of(text, FINISH_NAMES[response.finish_reason])]}
    if response.usage is not None:
        body["usage"] = write_usage(response.usage)
    return encode_body(body)


def join_responses(bodies: Sequence[bytes], context: RenderContext) -> bytes:
    """One completion with the choices of all our replies, in order; the counts are added up."""
    wires = [parse_response(body) for body in bodies]
    choices = [
        choice_of(_text_of(wire), FINISH_NAMES[wire.finish_reason or "stop"], index) for index, wire in enumerate(wires)
    ]
    total = add_usages([wire.usage for wire in wires if wire.usage is not None]) or Usage()
    return encode_body({**head_of(context), "choices": choices, "usage": write_usage(total)})


def stream_response(body: bytes, *, include_usage: bool) -> bytes:
    """A whole completion as a stream: for each choice a chunk with the text and one with the end."""
    fields: dict[str, Any] = msgspec.json.decode(body)
    choices, usage = fields.pop("choices"), fields.pop("usage", None)
    chunks = [
        {**fields, "choices": [{**choice, **part}]}
        for choice in choices
        for part in ({"finish_reason": None}, {"text": ""})
    ]
    if include_usage:
        chunks.append({**fields, "choices": [], "usage": usage})
    return b"".join(encode_event(encode_body(chunk)) for chunk in chunks) + DONE


def head_of(context: RenderContext) -> dict[str, Any]:
    """The fields that all chunks of a reply share."""
    return {"id": f"cmpl-{context.id}", "object": "text_completion", "created": context.created, "model": context.model}


def choice_of(text: str, finish: str | None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _text_of(response: Response) -> str:
    return "".join([block.text for block in response.blocks if isinstance(block, Text | Refusal)])


def echoed_prompt(context: RenderContext) -> str:
    """The prompt, if the client wants it repeated before the answer."""
    if b'"echo"' not in context.body:
        return ""
    try:
        wire = read_request(context.body)
    except InvalidRequest:
        return ""
    prompt = wire.prompt[0] if isinstance(wire.prompt, list) and wire.prompt else wire.prompt
    return prompt if wire.echo and isinstance(prompt, str) else ""
