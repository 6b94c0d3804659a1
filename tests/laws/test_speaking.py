"""The laws over random conversations and answers: whatever was said arrives, however it is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adaptation.adapt import adapt
from app.conversation.blocks import (
    Block,
    File,
    Image,
    Inline,
    PlainText,
    Reasoning,
    Refusal,
    SearchResult,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.request import Request
from app.conversation.streams.fold import fold, unfold
from app.sse import SseDecoder
from tests.laws import speaking
from tests.laws.cases import (
    CONTEXT,
    every_dialect,
    form_of,
    generous,
    leaves,
    parse_stream,
    payloads,
    spoken,
    without_searches,
)
from tests.laws.test_streams import PARTED

# What an upstream may be without, and what a Chat server may insist on; nothing that was said is lost for it.
LACKING = {
    "messages": ("text_documents", "strict_tools", "error_flag"),
    "chat": ("text_documents", "custom_tools", "tool_result_media", "refusals", "user_after_results"),
    "items": ("text_documents", "custom_tools", "namespaces", "tool_result_media", "refusals"),
}
STRICT = ("alternate", "string_content", "merge_system")

thorough = settings(max_examples=40, deadline=None)
clients = pytest.mark.parametrize("client", every_dialect())
upstreams = pytest.mark.parametrize("upstream", every_dialect())


@clients
@thorough
@given(data=st.data())
def test_a_conversation_is_the_same_after_it_was_written_and_read(client: ModuleType, data: st.DataObject) -> None:
    first = _read(client, data.draw(speaking.requests(client.NAME)))

    again = _read(client, first)

    assert again == first


@clients
@upstreams
@thorough
@given(data=st.data())
def test_whatever_a_client_said_reaches_every_upstream(
    client: ModuleType, upstream: ModuleType, data: st.DataObject
) -> None:
    said = data.draw(speaking.requests(client.NAME))
    request = _read(client, said)
    can = generous(upstream, request)
    lacking = dict.fromkeys(data.draw(st.sets(st.sampled_from(LACKING[form_of(upstream.NAME)]))), False)
    strict = {name: True for name in data.draw(st.sets(st.sampled_from(STRICT))) if form_of(upstream.NAME) == "chat"}
    capabilities = msgspec.structs.replace(can, **lacking, **strict)

    adapted = adapt(request, capabilities)
    rendered = upstream.render_request(adapted.request, capabilities)

    body = json.loads(rendered.body)
    arrived = "\0".join(str(leaf) for leaf in _unpacked(body))
    blocks = [*said.instructions, *(block for turn in said.turns for block in turn.blocks)]
    assert [word for block in blocks for word in _words(block) if word not in arrived] == []
    assert rendered == upstream.render_request(adapt(request, capabilities).request, capabilities)
    _check_pairs(upstream.NAME, body)


@clients
@upstreams
@thorough
@given(data=st.data())
def test_whatever_an_upstream_said_reaches_every_client_wherever_it_is_cut(
    client: ModuleType, upstream: ModuleType, data: st.DataObject
) -> None:
    response = data.draw(speaking.responses(upstream.NAME))
    stream = _stream(upstream, response)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    decoder, parser = SseDecoder(), upstream.StreamParser()

    events = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in parser.feed(decoder.feed(stream[start:end]))
    ] + parser.close()
    heard = fold(events)
    told = fold(parse_stream(client, payloads(_stream(client, heard))))
    whole = client.parse_response(client.render_response(heard, CONTEXT))

    assert spoken(heard) == spoken(response, parted=PARTED.get(form_of(upstream.NAME), ""))
    assert (heard.usage, heard.finish_reason) == (response.usage, response.finish_reason)
    assert _without_ids(heard) == _without_ids(upstream.parse_response(upstream.render_response(response, CONTEXT)))
    for answer in (told, whole):
        expected = spoken(heard, parted=PARTED.get(form_of(client.NAME), ""), noted=form_of(client.NAME) == "chat")
        assert _order(client, spoken(answer)) == _order(client, expected)
        assert without_searches(answer.usage) == without_searches(heard.usage)


@upstreams
@thorough
@given(data=st.data())
def test_what_needs_no_repair_passes_byte_by_byte(upstream: ModuleType, data: st.DataObject) -> None:
    response = data.draw(speaking.responses(upstream.NAME))
    stream, whole = _stream(upstream, response), upstream.render_response(response, CONTEXT)
    can = generous(upstream, Request(dialect=upstream.NAME, model="m", turns=()))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    passing = upstream.StreamPassthrough(CONTEXT, can)

    out = b"".join(passing.feed(stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True))

    assert out + passing.close() == stream
    assert passing.usage == response.usage
    assert upstream.pass_response(whole, CONTEXT, can)[0] == whole


def _read(client: ModuleType, request: Request) -> Request:
    """A request as it is read from the wire, without the places of its turns."""
    rendered = client.render_request(request, generous(client, request))
    read: Request = client.parse_request(rendered.body, rendered.headers)
    turns = tuple(msgspec.structs.replace(turn, path="") for turn in read.turns)
    return msgspec.structs.replace(read, turns=turns, betas=(), include_usage=False)


def _stream(dialect: ModuleType, response: Any) -> bytes:
    renderer = dialect.StreamRenderer(CONTEXT)
    stream: bytes = renderer.feed(unfold(response)) + renderer.close()
    return stream


def _order(client: ModuleType, said: list[tuple[str, str]]) -> Any:
    """What was said, in the order that a dialect can tell: Chat has one text and calls behind it."""
    if form_of(client.NAME) != "chat":
        return said
    calls = [(kind, words) for kind, words in said if kind.startswith("call")]
    return ["".join(words for kind, words in said if kind == one) for one in ("reasoning", "text")], calls


def _words(block: Block) -> Iterator[str]:
    """What of a block every model can be told."""
    match block:
        case Text(text=text) | Refusal(text=text) | File(source=PlainText(text=text)):
            yield text
        case ToolCall(kind="custom", arguments=text):
            yield text
        case ToolCall(arguments=arguments):
            yield json.loads(arguments)["b"]
        case ToolResult(blocks=inner):
            for part in inner:
                yield from _words(part)
        case SearchResult(blocks=inner):
            for part in inner:
                yield part.text
        case Image(source=Inline(data=data)) | File(source=Inline(data=data)):
            yield data
        case Image(source=Url(url=url)):
            yield url
        case _:
            pass


def _unpacked(body: Any) -> Iterator[Any]:
    """All scalars of a body, those in texts of JSON too."""
    for leaf in leaves(body):
        yield leaf
        if isinstance(leaf, str) and leaf.startswith("{"):
            try:
                yield from leaves(json.loads(leaf))
            except ValueError:
                continue


def _check_pairs(dialect: str, body: Any) -> None:
    """Each call has its result where the dialect wants it, and no result is without its call."""
    if form_of(dialect) == "items":
        ids = [(item["type"], item["call_id"]) for item in body["input"] if "call_id" in item]
        called = [call_id for kind, call_id in ids if kind.endswith("_call")]
        answered = [call_id for kind, call_id in ids if kind.endswith("_output")]
        assert sorted(called) == sorted(answered)
        return
    for before, after in zip(body["messages"], [*body["messages"][1:], {}], strict=True):
        if form_of(dialect) == "messages":
            parts = before["content"] if isinstance(before["content"], list) else []
            called = [part["id"] for part in parts if part["type"] == "tool_use"]
            following = after.get("content") if isinstance(after.get("content"), list) else []
            assert [part["tool_use_id"] for part in following[: len(called)]] == called
        else:
            called = [call["id"] for call in before.get("tool_calls", ())]
            place = body["messages"].index(before) + 1
            following = body["messages"][place : place + len(called)]
            assert [message["tool_call_id"] for message in following] == called


def _without_ids(response: Any) -> Any:
    return [block for block in response.blocks if not isinstance(block, Reasoning)]
