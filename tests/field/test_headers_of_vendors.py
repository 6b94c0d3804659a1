"""Headers that a vendor wants because of what a request says."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.pairs import CLIENTS, ask, whole_reply
from tests.gateway.conftest import MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE: dict[str, dict[str, Any]] = {
    "A": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    "C": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    "R": {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
}
CALLED: dict[str, list[dict[str, Any]]] = {
    "A": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}, {"type": "text", "text": "a reminder"}]}],
    "C": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c1", "content": "r"}],
    "R": [{"role": "user", "content": "q"}, {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c1", "output": "r"}],
}  # fmt: skip
QUOTED = json.dumps({"role": "tool", "type": "input_image"})


@pytest.mark.parametrize("to", ["openai_chat", "openai_responses"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_copilot_hears_of_images_and_of_who_asks(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, to: str
) -> None:
    """microsoft/vscode#260150 (images are refused without the header), ericc-ch/copilot-api (each request billed)."""
    client = make_client(copilot={"kind": "openai", "dialect": to, "base_url": upstream.url, "profile": "copilot"})
    said = {"role": "user", "content": QUOTED}
    told = {"role": "assistant", "content": "a"}
    turns: dict[str, tuple[list[dict[str, Any]], str, str | None]] = {
        "first": ([said], "user", None),
        "after an answer": ([said, told, said], "user", None),
        "after a call": (CALLED[dialect], "agent", None),
        "after a call and an answer": ([*CALLED[dialect], told, said], "user", None),
        "an image": ([{"role": "user", "content": [IMAGE[dialect]]}], "user", "true"),
    }
    for name, (turn, initiator, vision) in turns.items():
        upstream.script(json_reply(whole_reply("C" if to == "openai_chat" else "R", "t")))

        heard = ask(client, dialect, "copilot/gpt-4.1", **{"input" if dialect == "R" else "messages": turn})

        headers = upstream.seen[-1].headers
        assert heard.text == "t", name
        assert (headers.get("x-initiator"), headers.get("copilot-vision-request")) == (initiator, vision), name
