"""Which words of an error are the upstream's own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from app.gateway.failures.repairs.own_words import LONGEST_REQUEST, MAX_FOREIGN, MAX_LETTERS, own_words

NAME = "Unsupported temperature"


def sent(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "temperature": 0.2, **fields}).encode()


@pytest.mark.parametrize(
    ("message", "request_body"),
    [
        (f"tool '{NAME}' is not a name", sent(tools=[{"function": {"name": NAME}}])),
        (f"tool {NAME.upper()} is not a name", sent(tools=[{"function": {"name": NAME}}])),
        ("tool 'Unsupported\ttemperature' is not a name", sent(tools=[{"function": {"name": NAME}}])),
        ("no property 'unsupported-temperature'", sent(tools=[{"parameters": {"unsupported.temperature": {}}}])),
        ("key 'Unsupported temperature' is odd", sent(metadata={NAME: "x"})),
        ("field 'Unsupported temperature' is odd", sent(**{NAME: "x"})),
        ("a clash: 'Unsupported', 'temperature'", sent(tools=[{"name": "Unsupported"}, {"name": "temperature"}])),
        ("odd: …is this an Unsupported temperature or…", sent(messages=[{"content": f"is this an {NAME} or not?"}])),
        ("odd: Unsupported temperature", json.dumps({"stop": [NAME]}).replace(" t", r"\u0020t").encode()),
        ("odd: Unsupported\u00a0temperature", sent(user="Unsupported\u00a0temperature")),
        ("odd: Unsupported temperature", sent(user="UNSUPPORTED\n\nTEMPERATURE")),
    ],
)  # fmt: skip
def test_what_the_client_wrote_is_left_out(message: str, request_body: bytes) -> None:
    left = own_words(message, request_body).lower()

    assert "unsupported" not in left or "temperature" not in left
    assert left != message.lower()


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "Unrecognized request argument supplied: temperature",
        "temperature: Extra inputs are not permitted",
    ],
)
def test_what_the_server_says_of_a_field_stays(message: str) -> None:
    prompt = "Set the temperature of the oven; parameters that are unsupported by it are permitted."
    request_body = sent(messages=[{"role": "user", "content": prompt}], tools=[{"name": "get_temperature"}])

    assert own_words(message, request_body) == message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"' + b"x" * LONGEST_REQUEST + b'"'])
def test_a_request_that_cannot_be_searched_leaves_no_words(body: bytes) -> None:
    assert own_words("Unsupported parameter: temperature", body) == ""


@pytest.mark.parametrize(
    "text", ["é" * (MAX_FOREIGN + 1), "".join(chr(0x4E00 + number) for number in range(MAX_LETTERS + 1))]
)
def test_a_request_that_would_take_long_to_search_leaves_no_words(text: str) -> None:
    assert own_words("Unsupported parameter: temperature", sent(user=text)) == ""


# Whole texts of a megabyte or so, and messages of which each word is nearly there.
CRAFTED = {
    "letters with marks": ("e\u0301 " * 160, "e\u0301 \u00e9 "),
    "letters that become sentences": ("\ufdfa " * 160, "\ufdfa"),
    "jamo": ("\uac00 " * 160, "\u1100\u1161 "),
    "one letter": (" ".join("中" * length + "b" for length in range(1, 30)), "中"),
    "pairs": (" ".join(f"中中中中{number % 10}" for number in range(80)), "中"),
    "words of two letters": (" ".join("abababab"[: n % 7 + 1] + "bcdefghijkl"[n % 11] for n in range(80)), "ab"),
    "all there is": ("é " * 160, "".join(map(chr, range(0x4E00, 0x4E00 + MAX_LETTERS - 99)))),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_no_crafted_message_takes_long(name: str) -> None:
    message, piece = CRAFTED[name]
    length = 900_000 if piece.isascii() else MAX_FOREIGN - 500
    body = json.dumps({"user": (piece * (length // len(piece) + 1))[:length], "x": "é"}, ensure_ascii=False).encode()
    taken = []
    for _ in range(3):
        began = time.thread_time()
        assert own_words(message, body) != "", "it was searched"
        taken.append(time.thread_time() - began)

    assert min(taken) <= 0.2, "0.1 s where nothing else runs"


def words(text: str) -> list[str]:
    return re.findall(r"[a-z_]+", text.lower())


QUOTED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "as JSON": lambda text: json.dumps(text)[1:-1],
    "as JSON, twice": lambda text: json.dumps(json.dumps(text))[1:-1],
    "in a URL": quote,
    "in a URL, twice": lambda text: quote(quote(text)),
    "in a form": quote_plus,
    "in HTML": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "with lines below": lambda text: text.replace(" ", "_"),
    "with dashes": lambda text: text.replace(" ", "-"),
    "without spaces": lambda text: text.replace(" ", ""),
    "in lines": lambda text: text.replace(" ", "\n"),
    "without its end": lambda text: text[:-2],
    "without its beginning": lambda text: text[2:],
    "in wide letters": lambda text: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text),
}
MARKS = (
    "{}",
    "'{}'",
    "«{}»",
    "「{}」",
    "„{}“",
    "<{}>",
    "…{}…",
    "参数 “{}” 无效",
    "ungültig: {}",
    "tool name={} (at 0)",
)
SAID = ("Unsupported temperature", "unsupported value: temperature", "temperature is not supported with this model",
        "不支持 temperature 参数 unsupported", "temperature недопустимо unsupported")  # fmt: skip


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("way", QUOTED)
def test_no_way_to_quote_a_clients_text_makes_it_the_upstreams_own(way: str, said: str) -> None:
    places = (
        {"tools": [{"type": "function", "function": {"name": said}}]},
        {"tools": [{"function": {"name": "f", "parameters": {"properties": {"x": {"description": said}}}}}]},
        {"tools": [{"function": {"name": "f", "parameters": {"properties": {said: {}}}}}]},
        {"model": said},
        {"messages": [{"role": "system", "content": said}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": f"{said}.pdf"}}]}]},
        {"messages": [{"role": "user", "content": f"what is {said} about?"}]},
    )

    left = [
        (place, mark)
        for place in places
        for mark in MARKS
        if "temperature" in words(own_words(mark.format(QUOTED[way](said)), json.dumps(place).encode()))
    ]

    assert left == []
