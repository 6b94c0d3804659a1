"""Images as clients send them: without a type, with a wrong one, without bytes, and bytes that are no image.

The vendors refuse a request for one of them, and every later one of its session, for the image stays in its history.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.field.asking import CLIENTS
from tests.field.pairs import asked_of
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PAGE = base64.b64encode(b"<!DOCTYPE html><html>not found</html>").decode()
FAULT = base64.b64encode(b'{"error": "no such file"}').decode()


def said(image: dict[str, Any]) -> list[dict[str, Any]]:
    answered = {"role": "assistant", "content": "a"}
    return [
        {"role": "user", "content": [image, {"type": "text", "text": "see"}]},
        answered,
        {"role": "user", "content": "go"},
    ]


def shown_by_a_tool(image: dict[str, Any]) -> list[dict[str, Any]]:
    used = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "see"}, image]}
    return [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result]},
    ]


def asked(every: Client, upstream: FakeUpstream, dialect: str, to: str, **more: Any) -> str:
    """What the upstream is asked, as text."""
    asked_of(every, upstream, dialect, to, **more)
    return upstream.seen[0].body.decode()


# The source, and what of it may reach an upstream.
SOURCES: dict[str, tuple[dict[str, Any], bool]] = {
    "anthropics/claude-code#34887 no type": ({"type": "base64", "data": PNG}, True),
    "anthropics/claude-code#17452 the type of another": (
        {"type": "base64", "media_type": "image/jpeg", "data": PNG},
        True,
    ),
    "anthropics/claude-code#12009 a type with a capital": (
        {"type": "base64", "media_type": "image/PNG", "data": PNG},
        True,
    ),
    "anthropics/claude-code#36712 no bytes": ({"type": "base64", "media_type": "image/png", "data": ""}, False),
    "anthropics/claude-code#34517 a drawing": (
        {"type": "base64", "media_type": "image/svg+xml", "data": base64.b64encode(b"<svg/>").decode()},
        False,
    ),
    "anthropics/claude-code#16169 a type that is not taken": (
        {"type": "base64", "media_type": "image/heic", "data": "AAAAGGZ0eXBoZWlj"},
        False,
    ),
    "anthropics/claude-code#53228 a page": ({"type": "base64", "media_type": "image/png", "data": PAGE}, False),
    "anthropics/claude-code#44542 an error": ({"type": "base64", "media_type": "image/jpeg", "data": FAULT}, False),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("place", [said, shown_by_a_tool])
def test_an_image_that_is_none_ends_no_session(every: Client, upstream: FakeUpstream, name: str, place: Any) -> None:
    source, kept = SOURCES[name]

    for to in ("A", "R"):
        body = asked(every, upstream, "A", to, messages=place({"type": "image", "source": source}))

        assert "see" in body
        assert (PNG in body and "image/png" in body and "jpeg" not in body) if kept else '"image/' not in body


def test_a_sound_image_passes_byte_by_byte(every: Client, upstream: FakeUpstream) -> None:
    turns = said({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})

    assert json.dumps(turns) in asked(every, upstream, "A", "A", messages=turns)


@pytest.mark.parametrize("dialect", ["C", "R"])
@pytest.mark.parametrize("nested", [True, False])
def test_bytes_alone_are_an_image_too(every: Client, upstream: FakeUpstream, dialect: str, nested: bool) -> None:
    """WordPress/php-ai-client#137, Alibaba-NLP/OmniSearch#3, ollama/ollama#7247, openai/openai-agents-js#1070."""
    url = {"url": PNG} if nested else PNG
    part = {"type": "image_url" if dialect == "C" else "input_image", "image_url": url}
    turns = [{"role": "user", "content": [{"type": "text" if dialect == "C" else "input_text", "text": "see"}, part]}]

    for to in CLIENTS:
        body = asked(every, upstream, dialect, to, **{"messages" if dialect == "C" else "input": turns})

        wanted = f'"data": "{PNG}"' if to == "A" else f"data:image/png;base64,{PNG}"
        assert wanted.replace('": "', '":"') in body.replace('": "', '":"')
