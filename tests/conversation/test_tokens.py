"""The specification of the local estimate of tokens."""

from __future__ import annotations

import base64
import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.conversation.blocks import (
    Audio,
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
from app.conversation.request import CustomTool, FunctionTool, NativeTool, OutputFormat, Request, Tool, Turn
from app.conversation.tokens.estimate import count_text, count_texts, estimate_tokens
from app.conversation.tokens.image_sizes import image_size
from app.dialects import anthropic_messages, openai_chat, openai_responses
from app.dialects.registry import traits_of

HERE = Path(__file__).parent
# What real tokenizers make of the texts and requests beside this file; its README tells how they were counted.
COUNTS = msgspec.json.decode((HERE / "counts.json").read_bytes())
WORDS = "the quick brown fox jumps over the lazy dog " * 50  # 450 words, 450 tokens

PARSERS = {
    "analysis-of-many-files": anthropic_messages,
    "coding-agent-anthropic": anthropic_messages,
    "coding-agent-chat": openai_chat,
    "coding-agent-responses": openai_responses,
    "conversation-in-chinese": openai_chat,
    "short-question": anthropic_messages,
}


def read(name: str) -> str:
    return (HERE / "texts" / f"{name}.txt").read_bytes().decode()


def estimate(*blocks: Block, tools: tuple[Tool, ...] = (), model: str = "m", **fields: Any) -> int:
    turns = (Turn("user", blocks),)
    fields.setdefault("dialect", "anthropic_messages")
    return estimate_tokens(
        Request(model=model, turns=turns, tools=tools, **fields), images=traits_of(fields["dialect"]).image_rule
    )


def test_each_text_and_each_request_has_been_counted() -> None:
    assert {path.stem for path in (HERE / "texts").iterdir()} == set(COUNTS["texts"])
    assert {path.stem for path in (HERE / "requests").iterdir()} == set(COUNTS["requests"]) == set(PARSERS)


@pytest.mark.parametrize("name", COUNTS["texts"])
def test_a_text_is_estimated_within_fifteen_percent(name: str) -> None:
    assert count_text(read(name)) == pytest.approx(COUNTS["texts"][name]["o200k_base"], rel=0.15)


def test_most_texts_are_estimated_within_twelve_percent_and_rather_high() -> None:
    ratios = [count_text(read(name)) / counts["o200k_base"] for name, counts in COUNTS["texts"].items()]

    assert sum(abs(ratio - 1) <= 0.12 for ratio in ratios) >= 0.9 * len(ratios)
    assert 1 < sum(ratios) / len(ratios) < 1.05


def test_a_text_that_both_vocabularies_cut_alike_is_near_both() -> None:
    alike = [counts for counts in COUNTS["texts"].values() if counts["cl100k_base"] < 1.05 * counts["o200k_base"]]
    names = [name for name, counts in COUNTS["texts"].items() if counts in alike]

    assert len(names) > 30
    assert all(0.83 < count_text(read(name)) / COUNTS["texts"][name]["cl100k_base"] < 1.17 for name in names)


@pytest.mark.parametrize("name", PARSERS)
def test_a_request_is_estimated_within_fifteen_percent(name: str) -> None:
    body = (HERE / "requests" / f"{name}.json").read_bytes()

    request = PARSERS[name].parse_request(body, {})

    assert estimate_tokens(request) == pytest.approx(COUNTS["requests"][name]["o200k_base"], rel=0.15)


def test_a_long_mixture_of_all_texts_is_estimated_within_fifteen_percent() -> None:
    texts = [read(name) for name in COUNTS["texts"]]
    counted = COUNTS["all texts"]["o200k_base"]

    assert counted > 20_000
    assert count_text("\n\n".join(texts)) == pytest.approx(counted, rel=0.15)
    assert count_texts(texts * 20) == pytest.approx(20 * counted, rel=0.15)


@pytest.mark.parametrize("name", COUNTS["texts"])
def test_a_long_text_is_estimated_from_pieces_of_it(name: str) -> None:
    counted = COUNTS["texts"][name]["o200k_base"]

    assert count_text(read(name) * 100) == pytest.approx(100 * counted, rel=0.18)


def test_what_several_texts_share_does_not_depend_on_how_they_are_cut() -> None:
    text = read("markdown") * 10
    cut = [text[begin : begin + 700] for begin in range(0, len(text), 700)]

    assert count_texts(cut) == pytest.approx(count_text(text), rel=0.08)


def test_the_models_of_claude_make_more_tokens_of_the_same_text() -> None:
    text = Text(read("python-module"))

    plain, elder, newer = (
        estimate(text, model=model) for model in ("qwen3", "anthropic/claude-sonnet-4.5", "claude-opus-4-8")
    )

    assert elder == pytest.approx(1.2 * plain, rel=0.01)
    assert newer == pytest.approx(1.5 * plain, rel=0.01)


def test_the_upstreams_name_of_the_model_is_the_one_that_counts() -> None:
    request = Request(dialect="anthropic_messages", model="claude-opus-4-8", turns=(Turn("user", (Text(WORDS),)),))

    assert estimate_tokens(request, "gpt-5") < estimate_tokens(request)


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


def test_an_image_counts_by_its_size_and_not_by_its_bytes() -> None:
    image = Image(Inline("image/png", png(600, 580)))

    assert estimate(image) - estimate() == 22 * 21
    assert estimate(ToolResult("c", (image,))) - estimate(ToolResult("c", ())) == 22 * 21


@pytest.mark.parametrize(
    ("dialect", "model", "detail", "tokens"),
    [
        ("anthropic_messages", "claude-sonnet-4-5", None, 1296),
        ("anthropic_messages", "m", "low", 1296),
        ("openai_chat", "m", None, 765),
        ("openai_chat", "m", "low", 85),
        ("openai_responses", "gpt-5", "high", 630),
        ("openai_responses", "gpt-5-mini", None, 1659),
        ("openai_chat", "claude-sonnet-4-5", "low", 1296),
    ],
)
def test_an_image_counts_by_the_rule_of_the_model(dialect: str, model: str, detail: str, tokens: int) -> None:
    image = Image(Inline("image/png", png(1000, 1000)), detail)

    assert estimate(image, model=model, dialect=dialect) - estimate(model=model, dialect=dialect) == tokens


def test_an_image_of_unknown_size_counts_like_a_usual_one() -> None:
    assert estimate(Image(Url("https://example.com/a.png"))) - estimate() == 37 * 37


def pdf(pages: int, padding: int = 0) -> str:
    data = b"%PDF-1.4\n" + b"x" * padding + b"\n1 0 obj\n<</Type /Pages /Kids [] /Count %d>>\nendobj\n%%%%EOF" % pages
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(("pages", "padding"), [(1, 0), (12, 0), (12, 3_000_000), (12, 3_000_001), (12, 3_000_002)])
def test_a_pdf_counts_by_its_pages(pages: int, padding: int) -> None:
    document = File(Inline("application/pdf", pdf(pages, padding)))

    assert estimate(document) - estimate() == pytest.approx(2250 * pages, abs=2)


def test_a_document_that_hides_its_pages_counts_by_its_length() -> None:
    page, book = (File(Inline("application/pdf", "A" * length)) for length in (1000, 10_000_000))

    assert estimate(page) - estimate() == pytest.approx(2250, abs=2)
    assert 100_000 < estimate(book) - estimate() < 400_000


def test_a_document_elsewhere_counts_as_a_page() -> None:
    assert estimate(File(Url("https://example.com/a.pdf"))) - estimate() == pytest.approx(2250, abs=2)


@pytest.mark.parametrize("times", [1, 40])
def test_a_text_that_comes_as_a_file_counts_as_text(times: int) -> None:
    text = read("python-module") * times
    data = base64.b64encode(text.encode()).decode()

    file = File(Inline("application/octet-stream", data))

    counted = COUNTS["texts"]["python-module"]["o200k_base"] * times
    assert estimate(file) - estimate() == pytest.approx(counted, rel=0.15)


@pytest.mark.parametrize(
    "block", [Image(Inline("image/png", "")), File(Inline("text/plain", "")), Audio("openai_chat", b"{}")]
)
def test_a_request_without_words_is_positive(block: Block) -> None:
    assert estimate(block) >= 1


def test_all_dialects_count_the_same_conversation_alike() -> None:
    text = read("english-manual")
    chat = {"model": "m", "messages": [{"role": "user", "content": text}]}
    responses = {"model": "m", "input": text}

    counts = {
        estimate_tokens(anthropic_messages.parse_count_request(msgspec.json.encode(chat), {})),
        estimate_tokens(openai_chat.parse_request(msgspec.json.encode(chat), {})),
        estimate_tokens(openai_responses.parse_request(msgspec.json.encode(responses), {})),
    }

    assert len(counts) == 1


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
