"""Headers that a vendor wants because of what a request says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import called, every_client, image, saying
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
QUOTED = json.dumps({"role": "tool", "type": "input_image"})


@pytest.mark.parametrize("to", ["openai_chat", "openai_responses"])
@every_client
def test_copilot_hears_of_images_and_of_who_asks(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, to: str
) -> None:
    """microsoft/vscode#260150 (images are refused without the header), ericc-ch/copilot-api (each request billed)."""
    client = make_client(copilot={"kind": "openai", "dialect": to, "base_url": upstream.url, "profile": "copilot"})
    said = {"role": "user", "content": QUOTED}
    told = {"role": "assistant", "content": "a"}
    past = called(dialect)
    if dialect == "A":
        past[-1]["content"].append({"type": "text", "text": "a reminder"})
    histories: dict[str, tuple[list[dict[str, Any]], str, str | None]] = {
        "first": ([said], "user", None),
        "after an answer": ([said, told, said], "user", None),
        "after a call": (past, "agent", None),
        "after a call and an answer": ([*past, told, said], "user", None),
        "an image": ([{"role": "user", "content": [image(dialect, PIXEL)]}], "user", "true"),
    }
    for name, (turn, initiator, vision) in histories.items():
        upstream.script(json_reply(whole_reply("C" if to == "openai_chat" else "R", "t")))

        heard = ask(client, dialect, "copilot/gpt-4.1", **saying(dialect, turn))

        headers = upstream.seen[-1].headers
        assert heard.text == "t", name
        assert (headers.get("x-initiator"), headers.get("copilot-vision-request")) == (initiator, vision), name
