"""This file is the specification of the local estimate of tokens."""

from __future__ import annotations

import base64
import struct
import time
from pathlib import Path

import pytest

from app.conversation.blocks import (
    Block,
    Compaction,
    File,
    Image,
    Inline,
    Opaque,
    PlainText,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.image_sizes import image_size
from app.conversation.request import CustomTool, FunctionTool, NativeTool, OutputFormat, Request, Tool, Turn
from app.conversation.tokens import count_text, estimate_tokens

TEXTS = Path(__file__).with_name("texts")

# What the tokenizer o200k_base makes of each text.
REAL = {
    "prose": 77,
    "python": 154,
    "json": 119,
    "tool-schema": 111,
    "chinese": 62,
    "japanese": 64,
    "german": 54,
    "russian": 60,
    "log": 104,
}
WORDS = "the quick brown fox jumps over the lazy dog " * 50  # 450 words, 450 tokens


def read(name: str) -> str:
    return (TEXTS / f"{name}.txt").read_text(encoding="utf-8")


def estimate(*blocks: Block, tools: tuple[Tool, ...] = (), **fields: object) -> int:
    turns = (Turn("user", blocks),)
    return estimate_tokens(Request(dialect="anthropic_messages", model="m", turns=turns, tools=tools, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", REAL)
def test_a_short_text_is_estimated_near_the_truth_and_rather_high(name: str) -> None:
    assert 0.9 < count_text(read(name)) / REAL[name] < 1.35


def test_many_texts_are_estimated_nearer() -> None:
    assert sum(count_text(read(name)) for name in REAL) == pytest.approx(sum(REAL.values()), rel=0.1)


@pytest.mark.parametrize("name", ["prose", "python", "json", "chinese"])
def test_a_long_text_is_estimated_from_pieces_of_it(name: str) -> None:
    whole = count_text(read(name)) * 500

    assert count_text(read(name) * 500) == pytest.approx(whole, rel=0.05)


def test_chinese_is_not_undercounted() -> None:
    assert count_text(("我們今天討論語言模型的網關實現方法" * 600)[:10_000]) >= 5000


@pytest.mark.parametrize(
    "text", ["9" * 3000, "A" * 3000, "a" * 3000, "😀" * 500, "สวัสดี" * 300, "مرحبا " * 300, "新" * 500]
)
def test_no_text_is_nearly_free(text: str) -> None:
    assert count_text(text) > len(text) / 8


def test_a_megabyte_takes_no_time() -> None:
    text = Text("the quick brown fox jumps over the lazy dog. " * 23_000)

    start = time.perf_counter()
    estimate(text)

    assert time.perf_counter() - start < 0.1


def test_nothing_is_still_one() -> None:
    assert estimate() >= 1


def test_a_lone_surrogate_is_counted() -> None:
    assert estimate(Text("a \ud800 b")) > 1


@pytest.mark.parametrize(
    "block",
    [
        Text(WORDS),
        Reasoning(WORDS),
        Refusal(WORDS),
        Compaction(WORDS),
        ToolCall("c", "f", f'{{"a": "{WORDS}"}}'),
        ToolResult("c", (Text(WORDS),)),
        File(PlainText(WORDS)),
        File(None, blocks=(Text(WORDS),)),
        SearchResult("t", "s", (Text(WORDS),)),
        ServerTool("anthropic_messages", "web_search", b"{}", WORDS),
        Opaque("anthropic_messages", "x", WORDS.encode()),
    ],
    ids=lambda block: type(block).__name__,
)
def test_each_kind_of_block_counts(block: Block) -> None:
    assert 400 < estimate(block) - estimate() < 600


def test_instructions_tools_and_formats_count() -> None:
    tool = FunctionTool("read_file", WORDS, {"type": "object", "properties": {"path": {"type": "string"}}})
    custom = CustomTool("patch", WORDS, ("lark", "start: /.*/"))
    native = NativeTool("openai_responses", "mcp", "docs", {"type": "mcp", "server_description": WORDS}, server=True)
    format_ = OutputFormat("json_schema", {"description": WORDS})

    alone = estimate()

    assert estimate(instructions=(Text(WORDS),)) - alone > 400
    assert all(estimate(tools=(each,)) - alone > 400 for each in (tool, custom, native))
    assert estimate(output_format=format_) - alone > 400


def test_twenty_small_tools_count_as_such() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string", "description": "the path of the file"}}}
    tools = tuple(FunctionTool(f"tool_number_{n}", "reads a file and gives back its lines", schema) for n in range(20))

    assert 400 < estimate(tools=tools) - estimate() < 2000


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return base64.b64encode(head + bytes(1_000_000)).decode()


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(600, 580, 464), (1000, 1000, 1333), (8000, 8000, 1600), (8, 8, 60)]
)
def test_an_image_counts_by_its_size_and_not_by_its_bytes(width: int, height: int, tokens: int) -> None:
    image = Image(Inline("image/png", png(width, height)))

    assert estimate(image) - estimate() == tokens
    assert estimate(ToolResult("c", (image,))) - estimate(ToolResult("c", ())) == tokens


def test_an_image_of_unknown_size_counts_like_a_usual_one() -> None:
    assert estimate(Image(Url("https://example.com/a.png"))) - estimate() == 1200


def test_a_document_counts_by_its_length() -> None:
    page, book = (File(Inline("application/pdf", "A" * length)) for length in (1000, 10_000_000))

    assert estimate(page) - estimate() == pytest.approx(2000, abs=2)
    assert 100_000 < estimate(book) - estimate() < 400_000


JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xe1\x20\x00" + bytes(0x1FFE)  # a preview before the frame
    + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", 480, 640) + bytes(12)
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 640, 480), (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480), (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + struct.pack("<I", 639 | 479 << 14), (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x7f\x02\x00\xdf\x01\x00", (640, 480)),
        (JPEG, (640, 480)),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", None),
        (b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), None),
        (b"BM", None),
        (b"", None),
    ],
    ids=["png", "gif", "webp", "webp-lossless", "webp-extended", "jpeg", "jpeg-cut", "jpeg-broken", "bmp", "none"],
)
def test_the_size_of_an_image_is_read_from_its_head(data: bytes, size: tuple[int, int] | None) -> None:
    assert image_size(base64.b64encode(data).decode()) == size


def test_damaged_data_has_no_size() -> None:
    assert image_size("\u00fc!") is None
