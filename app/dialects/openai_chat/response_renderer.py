"""Renders whole Chat Completions responses, and joins several into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from app.conversation.blocks import Block, Reasoning, Refusal, ServerTool, Text, ToolCall
from app.conversation.capabilities import RenderContext
from app.conversation.response import Response, add_usages
from app.conversation.thoughts import find_thoughts
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat import reasoning
from app.dialects.openai_chat.replies.citations import place_citations
from app.dialects.openai_chat.replies.steps import note_of, write_image
from app.dialects.openai_chat.usage import find_usage, write_usage
from app.dialects.openai_chat.vocabulary import FINISH_NAMES, REPLY_EXTENSIONS
from app.dialects.openai_shared.logprobs import complete_logprobs
from app.errors import UpstreamCut
from app.json_values import object_decoder

# Separates a commentary from the answer; this dialect has one text for both.
PARAGRAPH = "\n\n"


def render_response(response: Response, context: RenderContext) -> bytes:
    """A `chat.completion` object. Raises UpstreamCut for a response that broke off."""
    if response.finish_reason is None:
        raise UpstreamCut("the upstream's reply ended before it was complete", began=True)
    finish = FINISH_NAMES[response.finish_reason]
    if finish == "tool_calls" and context.legacy:
        finish = "function_call"
    logprobs = {"content": complete_logprobs(response.logprobs), "refusal": None} if response.logprobs else None
    choice = {
        "index": 0,
        "message": _write_message(response, context),
        "logprobs": logprobs,
        "finish_reason": finish,
    }
    body: dict[str, Any] = {
        "id": f"chatcmpl-{context.id}",
        "object": "chat.completion",
        "created": context.created,
        "model": context.model,
        "choices": [choice],
    }
    if response.usage is not None:
        body["usage"] = write_usage(response.usage)
    if response.service_tier is not None:
        body["service_tier"] = response.service_tier
    for name in REPLY_EXTENSIONS:
        if name in response.extensions:
            body[name] = response.extensions[name]
    return encode_body(body)


def join_responses(bodies: Sequence[bytes]) -> bytes:
    """The first of our replies with the choices of all, in order. The counts are added up, because each answer cost its
    prompt again."""
    wholes: list[dict[str, Any]] = [object_decoder.decode(body) for body in bodies]
    choices = [choice for whole in wholes for choice in whole["choices"]]
    joined = {**wholes[0], "choices": [{**choice, "index": index} for index, choice in enumerate(choices)]}
    total = add_usages([usage for body in bodies if (usage := find_usage(body)) is not None])
    if total is not None:
        joined["usage"] = write_usage(total)
    return encode_body(joined)


def _write_message(response: Response, context: RenderContext) -> dict[str, Any]:
    blocks = response.blocks
    texts = [block for block in blocks if type(block) is Text]
    calls = [block for block in blocks if type(block) is ToolCall]
    content, refusal = "".join(_join_texts(texts)), _write_refusal(response)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content or not (calls or refusal) else None,
        "refusal": refusal,
    }
    others = len(texts) + len(calls) < len(blocks)
    if others:
        _write_thoughts(blocks, message)
    if annotations := _place_citations(texts):
        message["annotations"] = annotations
    steps = [block.step for block in blocks if type(block) is ServerTool and block.step is not None] if others else ()
    if images := [write_image(image) for step in steps for image in step.images]:
        message["images"] = images
    if calls and context.legacy:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments or "{}"}
    elif calls:
        message["tool_calls"] = [write_call(call) for call in calls]
    return message


def _write_thoughts(blocks: Sequence[Block], message: dict[str, Any]) -> None:
    """Adds what the model thought, and the proofs of it."""
    if thought := _join_thoughts(blocks):
        message["reasoning_content"] = thought
    proven = [(thought.place, proof) for thought in find_thoughts(blocks) if (proof := thought.block.proof) is not None]
    proofs = [(place, proof) for place, proof in proven if not reasoning.belongs_to_call(proof)]
    for nth, (place, proof) in enumerate(proofs):
        for name, entries in reasoning.write_proof(proof, nth, place).items():
            message.setdefault(name, []).extend(entries)


def _join_texts(texts: Sequence[Text]) -> list[str]:
    """The visible texts, with a paragraph break between a commentary and the answer."""
    if len(texts) == 1:
        return [texts[0].text]
    joined: list[str] = []
    for before, text in zip((None, *texts), texts, strict=False):
        breaks = before is not None and before.phase is not None and text.phase != before.phase
        joined.append(PARAGRAPH + text.text if breaks else text.text)
    return joined


def _place_citations(texts: Sequence[Text]) -> list[dict[str, Any]]:
    """The annotations of all texts, with positions in the whole text."""
    if not [text for text in texts if text.citations]:
        return []
    lengths = map(len, _join_texts(texts))
    return place_citations(
        (length, length - len(text.text), text.citations) for text, length in zip(texts, lengths, strict=True)
    )


def _join_thoughts(blocks: Sequence[Block]) -> str:
    """The thoughts, with notes on what the upstream's own tools did in between."""
    notes = [note_of(block) if isinstance(block, ServerTool) else block.text for block in blocks if _is_beside(block)]
    return "".join(notes)


def _is_beside(block: Block) -> TypeGuard[ServerTool | Reasoning]:
    return isinstance(block, ServerTool | Reasoning)


def _write_refusal(response: Response) -> str | None:
    """The model's refusal, or the vendor's reason for stopping it."""
    refusal = "".join([block.text for block in response.blocks if isinstance(block, Refusal)])
    detail = response.stop_detail
    if not refusal and response.finish_reason == "content_filter" and detail is not None:
        return detail.explanation
    return refusal or None


def write_call(call: ToolCall, *, begins: bool = False) -> dict[str, Any]:
    """A tool call as in messages, or as it `begins` in a stream, without arguments. A call that ends without any has
    `{}`, because clients parse them."""
    arguments = "" if begins else call.arguments
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": arguments}}
    function = {"name": call.name, "arguments": arguments if begins else arguments or "{}"}
    written: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    return written if call.proof is None else written | reasoning.write_call_proof(call.proof)
