"""Parses tool calls written as text, in the formats of each model family.

A server that knows its model's template converts these marks to calls; one that does not leaves them in the text. Each
row reads one format. All readers pass over a text once, from beginning to end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from app.conversation.schemas import Schema
from app.json_values import UNREADABLE, any_decoder, decode_or_none


class WrittenCall(NamedTuple):
    """`arguments` is the text of a JSON object, or a map from names to values as they were written."""

    name: str
    arguments: str | dict[str, str]


class Writing(NamedTuple):
    """One format: `read` parses the text between `opening` and `closing` and returns an empty list if it is no call.
    Without a `closing` it extends to the end of the text."""

    opening: str
    closing: str
    read: Callable[[str], list[WrittenCall]]


class _Json(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"")
    parameters: msgspec.Raw = msgspec.Raw(b"")


_decode_call = msgspec.json.Decoder(_Json).decode
_decode_calls = msgspec.json.Decoder(list[_Json]).decode
# DeepSeek's marks contain a full-width bar and a low line, which no other text has.
_BAR, _RULE = "\uff5c", "\u2581"
_DSML = f"{_BAR}DSML{_BAR}"
_PLAIN_DSML = "|DSML|"
_GEMMA_CALL = re.compile(r"call:([\w.-]{1,128})(\{.*\})", re.DOTALL)
_GEMMA_WORD = re.compile(r'<\|"\|>(.*?)<\|"\|>|(?<![\w.-])([A-Za-z_][\w.-]*+)(?=\s*+:)', re.DOTALL)
_HARMONY_CALL = "<|channel|>commentary to=functions."
_HARMONY_NAME = re.compile(r"[\w.-]{1,128}")


def _deepseek(words: str) -> str:
    return f"<{_BAR}{words.replace(' ', _RULE)}{_BAR}>"


def encode_arguments(call: WrittenCall, schema: Schema | None) -> str | None:
    """The JSON text of the arguments; None if they are no object. A value is a text if the schema says so, otherwise
    its JSON."""
    if isinstance(call.arguments, str):
        text = call.arguments.strip() or "{}"
        return text if isinstance(decode_or_none(text, any_decoder), dict) else None
    properties = (schema or {}).get("properties")
    kinds = properties if isinstance(properties, dict) else {}
    values = {name: _value_of(text, kinds.get(name)) for name, text in call.arguments.items()}
    try:
        return msgspec.json.encode(values).decode()
    except UnicodeEncodeError:
        return json.dumps(values)  # escapes a half of a surrogate pair, which UTF-8 cannot hold


def _value_of(text: str, schema: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind == "string":
        return text
    value = decode_or_none(text, any_decoder)
    return text if value is None and text.strip() != "null" else value


def _read_json(text: str) -> list[WrittenCall]:
    """An object with a name and its arguments, or a list of them."""
    text = text.strip()
    try:
        calls = _decode_calls(text) if text.startswith("[") else [_decode_call(text)]
    except UNREADABLE:
        return []
    return [WrittenCall(call.name, _json_text(call.arguments or call.parameters)) for call in calls]


def _json_text(raw: msgspec.Raw) -> str:
    """Arguments given as an object, or as a JSON string of one."""
    text = bytes(raw).decode()
    return str(any_decoder.decode(text)) if text.startswith('"') else text


def _read_tags(text: str) -> list[WrittenCall]:
    """Hermes' JSON, Qwen's tags or GLM's pairs, which all use the same marks."""
    begun = text.lstrip()
    if begun.startswith("{"):
        return _read_json(text)
    return _read_functions(text) if begun.startswith("<function=") else _read_pairs(text)


def _read_functions(text: str) -> list[WrittenCall]:
    return [
        WrittenCall(name, _read_values(body, "<parameter=", "</parameter>"))
        for name, body in _elements(text, "<function=", "</function>")
    ]


def _read_one_function(text: str) -> list[WrittenCall]:
    """The text after `<function=`."""
    return _read_functions(f"<function={text}</function>")


def _read_invocations(text: str) -> list[WrittenCall]:
    text = text.replace(_DSML, "").replace(_PLAIN_DSML, "")
    return [
        WrittenCall(name, _read_values(body, '<parameter name="', "</parameter>"))
        for name, body in _elements(text, '<invoke name="', "</invoke>")
    ]


def _read_values(body: str, opening: str, closing: str) -> str | dict[str, str]:
    if body.lstrip().startswith("{"):
        return body
    return {name: _unframe(value) for name, value in _elements(body, opening, closing)}


def _read_pairs(text: str) -> list[WrittenCall]:
    name, mark, _ = text.partition("<arg_key>")
    keys = [*_between(text, "<arg_key>", "</arg_key>")]
    values = [*_between(text, "<arg_value>", "</arg_value>")]
    if mark and len(keys) == len(values):
        return [WrittenCall(name.strip(), dict(zip(keys, values, strict=True)))]
    return [] if mark or not name.strip() else [WrittenCall(name.strip(), "{}")]


def _read_gemma(text: str) -> list[WrittenCall]:
    """One call, with names without quotes, and a mark of its own around texts."""
    call = _GEMMA_CALL.fullmatch(text.strip())
    if call is None:
        return []
    arguments = _GEMMA_WORD.sub(lambda word: json.dumps(word[1] if word[2] is None else word[2]), call[2])
    return [WrittenCall(call[1], arguments)]


def _read_deepseek(text: str) -> list[WrittenCall]:
    calls = []
    for body in _between(text, _deepseek("tool call begin"), _deepseek("tool call end")):
        name, _, arguments = body.partition(_deepseek("tool sep"))
        if name.strip() == "function":
            name, _, arguments = arguments.partition("\n")
        arguments = arguments.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
        calls.append(WrittenCall(name.strip(), arguments))
    return calls


def _read_kimi(text: str) -> list[WrittenCall]:
    calls = []
    for body in _between(text, "<|tool_call_begin|>", "<|tool_call_end|>"):
        name, _, arguments = body.partition("<|tool_call_argument_begin|>")
        name = name.strip().removeprefix("functions.")
        calls.append(WrittenCall(name.rpartition(":")[0] or name, arguments))
    return calls


def _read_harmony(text: str) -> list[WrittenCall]:
    """gpt-oss' messages to functions, behind the mark of the first."""
    calls = []
    for message in text.split(_HARMONY_CALL):
        name = _HARMONY_NAME.match(message)
        begin, end = message.find("{"), message.rfind("}")
        if name is None or begin < 0:
            return []
        calls.append(WrittenCall(name[0], message[begin : end + 1]))
    return calls


def _read_mistral(text: str) -> list[WrittenCall]:
    if text.lstrip().startswith(("[{", "{")):
        return _read_json(text)
    name, brace, arguments = text.partition("{")
    return [WrittenCall(name.strip().removesuffix("[ARGS]"), brace + arguments)] if brace else []


WRITINGS = (
    Writing("<tool_call>", "</tool_call>", _read_tags),  # Hermes, Qwen, GLM
    Writing("<function=", "</function>", _read_one_function),  # Llama, and Qwen without its outer mark
    Writing(f"<{_DSML}function_calls>", f"</{_DSML}function_calls>", _read_invocations),  # DeepSeek 3.2
    Writing(f"<{_DSML}tool_calls>", f"</{_DSML}tool_calls>", _read_invocations),  # and 4
    Writing(f"<{_PLAIN_DSML}function_calls>", f"</{_PLAIN_DSML}function_calls>", _read_invocations),
    Writing(f"<{_PLAIN_DSML}tool_calls>", f"</{_PLAIN_DSML}tool_calls>", _read_invocations),
    Writing("<minimax:tool_call>", "</minimax:tool_call>", _read_invocations),
    Writing("<function_calls>", "</function_calls>", _read_invocations),  # models that learned from Claude
    Writing("<|tool_call>", "<tool_call|>", _read_gemma),
    Writing("<seed:tool_call>", "</seed:tool_call>", _read_functions),
    Writing("<tool_calls>", "</tool_calls>", _read_json),  # Hunyuan, Jamba
    Writing("<TOOLCALL>", "</TOOLCALL>", _read_json),  # Nemotron
    Writing(_deepseek("tool calls begin"), _deepseek("tool calls end"), _read_deepseek),  # DeepSeek before
    Writing("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _read_kimi),
    Writing(_HARMONY_CALL, "", _read_harmony),
    Writing("[TOOL_CALLS]", "", _read_mistral),
    Writing("<|python_tag|>", "", _read_json),  # Llama
    Writing("<|tool_call|>", "", _read_json),  # Granite
)


def _elements(text: str, opening: str, closing: str) -> Iterator[tuple[str, str]]:
    """Name and body of each element whose opening tag contains its name."""
    for inside in _between(text, opening, closing):
        head, mark, body = inside.partition(">")
        if mark:
            yield head.partition('"')[0].strip(), body


def _between(text: str, opening: str, closing: str) -> Iterator[str]:
    """Each text between two marks."""
    position = 0
    while (start := text.find(opening, position)) >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            return
        yield text[start:end]
        position = end + len(closing)


def _unframe(value: str) -> str:
    """A value without the line ends that separate it from its tags."""
    return value.removeprefix("\n").removesuffix("\n")
