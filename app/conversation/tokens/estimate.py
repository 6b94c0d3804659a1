"""Estimates a request's input tokens when no upstream has counted them.

No vocabulary is needed: how a tokenizer splits a text depends on a few properties that can be counted fast. Each letter
is mapped to one of a handful of classes (small letter, capital, digit, mark, blank …), and short patterns of classes
are counted: a blank before a small letter is a word, a small letter before a capital a hump. Letters of other scripts
are counted by script.

The weights were fitted to OpenAI's `o200k_base`, which the vocabularies of most open models resemble, over code, JSON,
tool schemas, logs, manuals and text in fifty languages. Clients use these numbers to decide when to compact a
conversation, better early than late, so they are a little high, most of all for scripts that other vocabularies cover
less well. Claude's vocabularies make more tokens of the same text; the model's name selects their factor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import mul

import msgspec

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
)
from app.conversation.request import CustomTool, FunctionTool, Request, Tool
from app.conversation.tokens.document_pages import count_pages
from app.conversation.tokens.image_sizes import first_bytes, image_size
from app.conversation.tokens.image_tokens import UNTOLD, Rule, count_image, find_rule

# Tokens for structure: roles, separators and field names.
PER_TURN = 4
PER_CALL = 8
PER_TOOL = 12

# Bytes per token where nobody reads them: an event of a stream holds one or two tokens.
STREAM_BYTES, WHOLE_BYTES = 100, 4
_ENCODED = re.compile(rb";base64,[A-Za-z0-9+/=]++")

PER_SOUND = 1000
PER_PAGE = 2250  # per PDF page, text and picture; Anthropic names 1,500 to 3,000 for the text
TEXT_READ = 65_536  # bytes read of a text file

# A long text is sampled: this many pieces of this many characters.
PIECES = 64
PIECE = 80

# Factor by which the vocabularies of some models make more tokens than o200k_base, at the median of code and prose.
FACTORS: tuple[tuple[re.Pattern[str], float], ...] = (
    (re.compile(r"claude-(opus-4[-.][7-9]|[a-z]+-[5-9])"), 1.5),
    (re.compile(r"claude"), 1.2),
)

# Minimum tokens per character of any text.
LEAST = 1 / 8

# Lines drawn with one mark, and indenting blanks, are few tokens however long they are.
RUNS: dict[bytes, bytes] = {bytes([mark]) * 8: bytes([mark]) for mark in b"-=.#*~ "} | {b"\t\t": b"\t"}

# Tokens per occurrence of these letters. They are rare in English and in code, and frequent in other languages written
# in Latin letters, whose words split into more tokens.
LETTERS: dict[bytes, float] = {
    b"ka": 2.0,
    b"ko": 2.0,
    b"za": 2.0,
    b"ij": 1.56,
    b"ja": 2.0,
    b"kk": 2.0,
    b"i ": 0.8,
}

# Tokens per occurrence of a pattern of classes: small letter, capital, digit, blank, tab, newline, mark, and x for a
# letter of another script.
SHAPES: dict[bytes, float] = {
    b"  ": 0.54,
    b" .": 0.31,
    b" .a": 0.56,
    b" a": 1.09,
    b". ": 0.94,
    b"...": 0.86,
    b".Aa": 0.89,
    b".a": 1.36,
    b".aaaaaaaa": 0.55,
    b"A.": 0.73,
    b"AAAA": 1.2,
    b"AAa": 2.81,
    b"Aa": 1.1,
    b"aaaaaaaaaaaaaaaa": 7.22,
    b"n ": 0.77,
    b"n.": 0.72,
    b"nA": 1.36,
    b"na": 1.63,
    b"t": 2.04,
    b"x x": 0.86,
}

# The same with everything but digits blanked: three digits are one token at most.
DIGITS: dict[bytes, float] = {
    b" 0": 2.17,
    b"0000": 1.09,
}

# Tokens per accent on a Latin letter.
ACCENT = 0.92


class Script(msgspec.Struct, frozen=True):
    """Letters of another script, by the upper byte of their code points, and the tokens per letter.

    `telling` are letters that only some of its languages have, whose words split into more tokens: each costs `more`
    extra.
    """

    first: int
    last: int
    weight: float
    telling: str = ""
    more: float = 0.0


SCRIPTS: tuple[Script, ...] = (
    Script(0x01, 0x02, 0.77),  # Latin with rarer accents
    Script(0x03, 0x03, 0.31),  # Greek
    Script(0x04, 0x04, 0.17, "іїјъ", 1.6),  # Cyrillic
    Script(0x05, 0x05, 0.35),  # Hebrew, Armenian
    Script(0x06, 0x08, 0.24),  # Arabic
    Script(0x09, 0x09, 0.19),  # Devanagari, Bengali
    Script(0x0A, 0x0B, 0.32),  # Gujarati, Tamil
    Script(0x0C, 0x0C, 0.42),  # Telugu, Kannada
    Script(0x0D, 0x0D, 0.33),  # Malayalam, Sinhala
    Script(0x0E, 0x0E, 0.43),  # Thai, Lao
    Script(0x10, 0x10, 0.37),  # Burmese, Georgian
    Script(0x11, 0x13, 2.05),  # Ethiopic
    Script(0x17, 0x17, 0.64),  # Khmer
    Script(0x1E, 0x1E, -0.5),  # Vietnamese, whose syllables are single tokens
    Script(0x20, 0x2F, 0.92),  # symbols
    Script(0x30, 0x33, 0.71),  # kana
    Script(0x34, 0x9F, 0.84, "這們個說為時會來國對過與後從無應", 2.0),  # Han; simplified unless it has telling letters
    Script(0xAC, 0xD7, 0.59),  # Hangul
    Script(0xD8, 0xDF, 1.3),  # halves of an emoji
    Script(0xE0, 0xFF, 0.3),  # full width
)


def estimate_tokens(request: Request, model: str | None = None, images: Rule = UNTOLD) -> int:
    """Input tokens of a request, at least 1: instructions, turns and tools, images and documents by their size.

    `model` is the upstream's name for the model, if it differs from the request's. `images` is the rule for images if
    the model's name decides none. Takes under a millisecond however long the request is, because a long one is sampled.
    """
    model = model or request.model
    rule = find_rule(model, images)
    texts: list[str] = [text.text for text in request.instructions]
    fixed = PER_TURN * (1 + len(request.turns))
    for turn in request.turns:
        fixed += _read_blocks(turn.blocks, texts, rule)
    for tool in request.tools:
        fixed += PER_TOOL
        texts += _texts_of(tool)
    output = request.output_format
    if output is not None and output.schema is not None:
        texts.append(msgspec.json.encode(output.schema).decode())
    return max(1, round(fixed + count_texts(texts) * _factor(model)))


def estimate_body(body: bytes) -> int:
    """Input tokens of a request that is not parsed, by its bytes without media."""
    media = sum(map(len, _ENCODED.findall(body))) if b";base64," in body else 0
    return (len(body) - media) // WHOLE_BYTES


def estimate_output(blocks: Iterable[Block]) -> int:
    """Output tokens of an answer; 0 if it has no content."""
    texts: list[str] = []
    fixed = _read_blocks(blocks, texts, UNTOLD)
    return round(fixed + count_texts(texts)) if texts else fixed


def count_text(text: str) -> float:
    """Approximate tokens of a text."""
    return count_texts([text])


def count_texts(texts: Sequence[str]) -> float:
    """Approximate tokens of consecutive texts."""
    length = sum(map(len, texts))
    if length <= PIECES * PIECE:
        return _weigh("\n".join(texts))
    sample = "".join(_pick_pieces(texts, length))
    return _weigh(sample) * length / len(sample)


def _pick_pieces(texts: Sequence[str], length: int) -> list[str]:
    """Pieces at equal distances, none spanning two texts."""
    step = length / PIECES
    pieces = []
    begin, wanted = 0, 0.0
    for text in texts:
        end = begin + len(text)
        while wanted < end:
            at = int(wanted) - begin
            pieces.append(text[at : at + PIECE])
            wanted += step
        begin = end
    return pieces


def _weigh(text: str) -> float:
    # The leading blank makes the first word look like all others.
    data = b" " + text.encode("latin-1", "replace")
    for run, mark in RUNS.items():
        data = data.replace(run, mark)
    tokens = (
        _count(data, LETTERS) + _count(data.translate(_SHAPE_OF), SHAPES) + _count(data.translate(_DIGIT_OF), DIGITS)
    )
    if not text.isascii():
        tokens += ACCENT * len(data.translate(None, _UNACCENTED)) + _weigh_scripts(text)
    return max(tokens, LEAST * len(text))


def _count(data: bytes, weights: dict[bytes, float]) -> float:
    tokens: float = sum(map(mul, map(data.count, weights), weights.values()))
    return tokens


def _weigh_scripts(text: str) -> float:
    tokens = 0.0
    scripts = text.encode("utf-16-le", "surrogatepass")[1::2].translate(_SCRIPT_OF, b"\0")
    for index, script in enumerate(SCRIPTS):
        count = scripts.count(index)
        if count:
            tokens += script.weight * count + script.more * sum(map(text.count, script.telling))
    return tokens


def _shape_of(byte: int) -> str:
    character = chr(byte)
    if character.isalpha():
        return "A" if character.isupper() else "a"
    if character.isdecimal():
        return "0"
    if character == "?":
        return "x"  # the replacement that encoding writes for a letter of another script
    return {" ": " ", "\t": "t", "\r": "n", "\n": "n"}.get(character, ".")


_SHAPE_OF = "".join(map(_shape_of, range(256))).encode()
_DIGIT_OF = bytes(shape if shape == ord("0") else ord(" ") for shape in _SHAPE_OF)
_UNACCENTED = bytes(range(0xC0))
_SCRIPT_OF = bytes(
    next((index for index, script in enumerate(SCRIPTS) if script.first <= upper <= script.last), 0xFF)
    for upper in range(256)
)


@lru_cache(maxsize=256)
def _factor(model: str) -> float:
    return next((factor for pattern, factor in FACTORS if pattern.search(model)), 1.0)


def _read_blocks(blocks: Iterable[Block], texts: list[str], rule: Rule) -> int:
    """Adds the texts of blocks to `texts`; returns the tokens of everything else."""
    fixed = 0
    for block in blocks:
        match block:
            case Text() | Reasoning() | Refusal():
                texts.append(block.text)
            case ToolCall():
                fixed += PER_CALL
                texts += (block.name, block.arguments)
            case ToolResult():
                fixed += PER_CALL + _read_blocks(block.blocks, texts, rule)
            case Image():
                fixed += _count_image(block, rule)
            case File():
                fixed += _read_file(block, texts, rule)
            case SearchResult():
                texts += (block.title, block.source, *(text.text for text in block.blocks))
            case Compaction():
                texts.append(block.text or "")
            case ServerTool():
                texts.append(block.text or block.raw.decode("utf-8", "replace"))
            case Opaque():
                texts.append(block.raw.decode("utf-8", "replace"))
            case Audio():
                fixed += PER_SOUND
    return fixed


def _count_image(image: Image, rule: Rule) -> int:
    size = image_size(image.source.data) if isinstance(image.source, Inline) else None
    return count_image(rule, size, image.detail)


def _read_file(file: File, texts: list[str], rule: Rule) -> int:
    texts += (file.name or "", file.context or "")
    match file.source:
        case PlainText():
            texts.append(file.source.text)
            return 0
        case Inline():
            return _count_document(file.source.data)
        case None:
            return _read_blocks(file.blocks, texts, rule)
        case _:
            return PER_PAGE


def _count_document(data: str) -> int:
    head = first_bytes(data, TEXT_READ)
    if head.startswith(b"%PDF") or b"\0" in head:
        return PER_PAGE * count_pages(data)
    size = len(data) * 3 // 4
    return round(count_text(head.decode("utf-8", "replace")) * max(1.0, size / max(1, len(head))))


def _texts_of(tool: Tool) -> list[str]:
    match tool:
        case FunctionTool():
            schema = msgspec.json.encode((tool.schema, *tool.examples)).decode()
            return [tool.name, tool.description or "", schema]
        case CustomTool():
            return [tool.name, tool.description or "", *(tool.grammar or ())]
        case _:
            return [msgspec.json.encode(tool.definition).decode()]
