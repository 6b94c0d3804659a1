"""Images and documents in the shapes of other dialects, of MCP and of libraries reach every upstream as what they are.

Sources: mcp-use/mcp-use#292 and #1192, vercel/ai#6073, langflow-ai/langflow#12610, lobehub/lobehub#13348,
langchain-ai/langchain-mcp-adapters#107, danny-avila/LibreChat#16054.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asked import read_asked
from tests.field.asking import UPSTREAMS, called, every_upstream, saying
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
URL = f"data:image/png;base64,{PNG}"
IMAGE = f"image image/png;base64,{PNG}"
# By the library, and the dialects on whose paths the shape is met.
IMAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "MCP": ("ACR", {"type": "image", "data": PNG, "mimeType": "image/png"}),
    "AI SDK, an image": ("ACR", {"type": "image", "image": URL}),
    "AI SDK, a file": ("CR", {"type": "file", "mediaType": "image/png", "data": PNG}),
    "AI SDK, a file with a URL": ("CR", {"type": "file", "mediaType": "image/png", "url": URL}),
    "a URL beside its type": ("CR", {"type": "image_url", "url": URL}),
    "LangChain 0": ("ACR", {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": PNG}),
    "LangChain 1": ("ACR", {"type": "image", "base64": PNG, "mime_type": "image/png"}),
    "LangChain for Gemini": ("CR", {"type": "media", "mime_type": "image/png", "data": PNG}),
    "Gemini": ("C", {"inline_data": {"mime_type": "image/png", "data": PNG}}),
    "Gemini in JavaScript": ("C", {"inlineData": {"mimeType": "image/png", "data": PNG}}),
    "Messages": ("CR", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
    "a data URL in place of bytes": (
        "A",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": URL}},
    ),
    "a data URL in place of a URL": ("A", {"type": "image", "source": {"type": "url", "url": URL}}),
    "Chat": ("AR", {"type": "image_url", "image_url": {"url": URL}}),
    "Responses": ("AC", {"type": "input_image", "image_url": URL}),
    "bytes in place of a URL": ("C", {"type": "image_url", "image_url": {"url": PNG}}),
}


@every_upstream
@pytest.mark.parametrize("case", IMAGES)
def test_an_image_in_any_shape_is_seen(every: Client, upstream: FakeUpstream, case: str, to: str) -> None:
    dialects, part = IMAGES[case]
    for dialect in dialects:
        upstream.script(json_reply(whole_reply(to, "t")))
        upstream.seen.clear()
        turns = [{"role": "user", "content": [part]}]

        told = ask(every, dialect, UPSTREAMS[to], **saying(dialect, turns))

        assert told.text == "t", (dialect, told.error)
        assert read_asked(upstream.seen[0].json()).said == [IMAGE], dialect


PDF = "JVBERi0xLjQ="


@pytest.mark.parametrize("to", ["A", "R"])
@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "source_type": "base64", "mime_type": "application/pdf", "data": PDF},
        {"type": "file", "mediaType": "application/pdf", "data": PDF, "filename": "a.pdf"},
        {"type": "file", "mediaType": "application/pdf", "url": f"data:application/pdf;base64,{PDF}"},
        {"type": "media", "mime_type": "application/pdf", "data": PDF},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
    ],
)
def test_a_document_in_any_shape_is_read(every: Client, upstream: FakeUpstream, to: str, part: dict[str, Any]) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))

    assert ask(every, "C", UPSTREAMS[to], messages=[{"role": "user", "content": [part]}]).text == "t"

    assert read_asked(upstream.seen[0].json()).said == [f"file application/pdf;base64,{PDF}"]


def test_text_in_a_document_of_bytes_is_text_at_the_vendor_too(make_client: MakeClient, upstream: FakeUpstream) -> None:
    """danny-avila/LibreChat#16054: the vendor takes only PDF as bytes, and the session ends with its refusal."""
    source = {"type": "base64", "media_type": "text/plain", "data": "d29yZHM="}
    turns = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    upstream.script(json_reply(whole_reply("A", "t")))

    assert ask(make_client(), "A", "messages/claude-opus-5", messages=turns).text == "t"

    assert read_asked(upstream.seen[0].json()).said == ["user: words"]


@pytest.mark.parametrize("dialect", ["A", "R"])
@every_upstream
def test_a_whole_result_of_mcp_is_its_content(every: Client, upstream: FakeUpstream, dialect: str, to: str) -> None:
    """vercel/ai#6073: the image of a screenshot was sent as a megabyte of text."""
    content = [{"type": "text", "text": "r"}, {"type": "image", "data": PNG, "mimeType": "image/png"}]
    result = {"content": content, "isError": False}
    upstream.script(json_reply(whole_reply(to, "t")))

    told = ask(every, dialect, UPSTREAMS[to], **saying(dialect, called(dialect, result=result)))

    assert told.text == "t", told.error
    asked = read_asked(upstream.seen[0].json())
    assert asked.says("call f {}", IMAGE)
    assert any(line.startswith("result f r") for line in asked.said)


@pytest.mark.parametrize("to", ["C", "R"])
@pytest.mark.parametrize(
    "odd",
    [
        {"type": "image", "source": {}},
        {"type": "image", "source": {"media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "base64", "data": PNG}},
        {"type": "document", "source": {"type": "base64", "media_type": ["x"], "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": None}},
        {"type": "input_image", "file_id": "file_1"},
    ],
)
def test_media_without_bytes_or_an_address_in_a_list_stay_text(
    every: Client, upstream: FakeUpstream, to: str, odd: dict[str, Any]
) -> None:
    content = json.dumps([{"type": "image", "data": PNG, "mimeType": "image/png"}, odd])
    upstream.script(json_reply(whole_reply(to, "t")))

    told = ask(every, "A", UPSTREAMS[to], messages=called("A", result=content))

    assert told.text == "t", told.error
    asked = read_asked(upstream.seen[0].json())
    assert asked.says(IMAGE)
    assert any(str(odd["type"]) in line for line in asked.said), asked.said
