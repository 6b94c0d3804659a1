"""A request and an answer on their way between two dialects, without a network: what the reports of the field are
tried with."""

from __future__ import annotations

import json
from typing import Any

from app.adaptation.adapt import adapt
from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.losses import Loss, settle
from app.conversation.streams.fold import fold, unfold
from app.conversation.streams.stages import chain
from app.dialects.registry import DIALECTS
from app.providers.profiles import capabilities_for

MESSAGES: DialectName = "anthropic_messages"
CHAT: DialectName = "openai_chat"
RESPONSES: DialectName = "openai_responses"

CONTEXT = RenderContext(model="asked", id="0123456789abcdef", created=1_760_000_000)
URL = "http://127.0.0.1:9000/v1"
LETTERS = {MESSAGES: "A", CHAT: "C", RESPONSES: "R"}
_MODELS = {MESSAGES: "claude-sonnet-4-5", CHAT: "some-model", RESPONSES: "gpt-5-mini"}


def upstream(dialect: DialectName, profile: str = "generic", model: str = "") -> Capabilities:
    return capabilities_for(dialect, URL, model or _MODELS[dialect], profile, {})


def send(client: DialectName, body: dict[str, Any], to: Capabilities) -> tuple[dict[str, Any], list[Loss]]:
    """What the upstream is asked, and what was lost. Raises what the client would be refused with."""
    body = {"model": "m", **({"max_tokens": 100} if client == MESSAGES else {}), **body}
    adapted = adapt(DIALECTS[client].parse_request(json.dumps(body).encode(), {}), to)
    rendered = DIALECTS[to.dialect].render_request(adapted.request, to)
    losses = settle([*adapted.losses, *rendered.losses])
    asked: dict[str, Any] = json.loads(rendered.body)
    return asked, losses


def answer(
    client: DialectName, body: dict[str, Any], to: Capabilities, reply: dict[str, Any], *, stream: bool
) -> dict[str, Any]:
    """What the client of a request gets of a whole reply, in one piece or as a stream that is put together again."""
    body = {"model": "m", **({"max_tokens": 100} if client == MESSAGES else {}), **body}
    dialect = DIALECTS[client]
    request = dialect.parse_request(json.dumps(body).encode(), {})
    stages = [make() for make in adapt(request, to).stages]
    response = DIALECTS[to.dialect].parse_response(json.dumps(reply).encode())
    events = chain(stages, unfold(response))
    if not stream:
        whole: dict[str, Any] = json.loads(dialect.render_response(fold(events), CONTEXT))
        return whole
    renderer = dialect.StreamRenderer(CONTEXT)
    return join(client, renderer.feed(events) + renderer.close())


def join(client: DialectName, events: bytes) -> dict[str, Any]:
    """The message that a client's SDK makes of a stream."""
    payloads = [json.loads(line[6:]) for line in events.decode().splitlines() if line.startswith("data: {")]
    if client == RESPONSES:
        last: dict[str, Any] = payloads[-1]["response"]
        return last
    if client == CHAT:
        return _join_chunks(payloads)
    return _join_blocks(payloads)


def _join_chunks(payloads: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"content": ""}
    logprobs: list[Any] = []
    for payload in payloads:
        for choice in payload["choices"]:
            logprobs += (choice.get("logprobs") or {}).get("content") or []
            for name, value in choice["delta"].items():
                if isinstance(value, str) and name != "role":
                    message[name] = message.get(name, "") + value
                elif isinstance(value, list):
                    message.setdefault(name, []).extend(value)
    return {"choices": [{"message": message, "logprobs": {"content": logprobs}}]}


def _join_blocks(payloads: list[dict[str, Any]]) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    stop = None
    for payload in payloads:
        match payload:
            case {"type": "content_block_start", "content_block": block}:
                content.append(dict(block))
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
                content[-1]["text"] += text
            case {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": citation}}:
                content[-1].setdefault("citations", []).append(citation)
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": partial}}:
                content[-1]["input"] = json.loads(partial)
            case {"type": "content_block_delta", "delta": {"type": "compaction_delta", **told}}:
                content[-1] |= told
            case {"type": "message_delta"}:
                usage, stop = payload["usage"], payload["delta"]["stop_reason"]
    return {"content": content, "usage": usage, "stop_reason": stop}


def texts(value: Any) -> str:
    """All of a request or an answer as text, to look for words in."""
    return json.dumps(value, ensure_ascii=False)


def spoken_by(role: str, asked: dict[str, Any]) -> str:
    """What a request has somebody say."""
    turns = asked.get("messages") or asked.get("input") or []
    return texts([turn for turn in turns if turn.get("role") == role])
