"""Servers that accept only some images in one request: a session with more of them goes on with the newest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import UPSTREAMS, every_client, every_upstream, saying
from tests.field.pairs import ask, refuse_once
from tests.field.test_images_of_clients import PNG
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream

WORDS = {
    "At most 2 image(s) may be provided in one prompt.": 2,  # vLLM
    "Too many images provided. This model supports up to 2 images": 2,  # Groq
    "You have too many images in your request, max is 2": 2,
    "too many images and documents: 3 + 0 > 2": 2,  # Anthropic
    "The number of images exceeds the limit of 1": 1,
}


def shown(dialect: str, number: int) -> list[dict[str, Any]]:
    """A turn of the user with an image, and its answer."""
    url = f"data:image/png;base64,{PNG}"
    match dialect:
        case "A":
            image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        case "C":
            image = {"type": "image_url", "image_url": {"url": url}}
        case _:
            image = {"type": "input_image", "image_url": url}
    text = {"type": "input_text" if dialect == "R" else "text", "text": f"see {number}"}
    return [{"role": "user", "content": [text, image]}, {"role": "assistant", "content": "ok"}]


@every_client
@every_upstream
@pytest.mark.parametrize("words", WORDS)
def test_the_newest_images_are_kept(every: Client, upstream: FakeUpstream, dialect: str, to: str, words: str) -> None:
    turns = [turn for number in range(3) for turn in shown(dialect, number)][:-1]
    refuse_once(upstream, to, {"error": {"message": words}})

    told = ask(every, dialect, UPSTREAMS[to], **saying(dialect, turns))

    sent = json.dumps(upstream.seen[-1].json())
    assert (told.text, sent.count(PNG)) == ("t", WORDS[words])
    assert sent.rindex(PNG) > sent.index("see 2")


@pytest.mark.parametrize(
    "words", ["The images must be at most 20 MB each.", "image exceeds 5 MB maximum", "images[0]: max 100 pixels"]
)
def test_a_size_is_no_number_of_images(every: Client, upstream: FakeUpstream, words: str) -> None:
    refuse_once(upstream, "C", {"error": {"message": words}})

    assert words in ask(every, "A", "chat/m", messages=shown("A", 0)[:1]).error
