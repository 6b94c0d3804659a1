"""Parses messages into turns, and renders turns as messages.

One message is one turn, except that leading system messages become the instructions. A tool result is a message in this
dialect and a block of a user turn in the neutral model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from app.conversation.blocks import Block, Reasoning, Refusal, Text, ToolCall, ToolKind, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.literals import as_object, is_object
from app.conversation.losses import Loss, Severity
from app.conversation.request import Request, Turn
from app.conversation.thoughts import interleave
from app.dialects.foreign.listed_media import read_output
from app.dialects.foreign.marks import BESIDE
from app.dialects.foreign.pieces import IN_PLACE
from app.dialects.json_bodies import is_set, read_value
from app.dialects.openai_chat import reasoning
from app.dialects.openai_chat.messages.parts import NoteField, read_cache, read_content, write_part, write_text
from app.dialects.openai_chat.response_renderer import write_call
from app.dialects.openai_chat.vocabulary import NAME, ROLES, KnownMessage, WireCall, WireFunction, WireMessage
from app.errors import InvalidRequest
from app.json_values import UNREADABLE, fields_decoder, list_decoder, text_decoder

_known_message = msgspec.json.Decoder(KnownMessage)
_any_message = msgspec.json.Decoder(WireMessage)

# Placeholders for an empty past answer and an empty result, for servers that refuse empty text.
NO_TEXT = "(no text)"
NO_OUTPUT = "(no output)"


class MessageReader:
    """Reads messages in order. Fields without a place in the neutral model are passed to `note`."""

    def __init__(self, note: NoteField) -> None:
        self._note = note
        self.instructions: list[Text] = []
        self.turns: list[Turn] = []
        self._legacy_call = ""  # the id generated for the last `function_call`

    def read(self, messages: msgspec.Raw) -> None:
        """Reads raw messages. Raises InvalidRequest with the path of what is wrong."""
        raws: list[msgspec.Raw] = read_value(messages, list_decoder, "messages")
        for index, raw in enumerate(raws):
            path = f"messages[{index}]"
            self.add(self._decode(raw, path), path)

    def add(self, message: WireMessage, path: str) -> None:
        match message.role:
            case "system" | "developer":
                self._add_system(message, path)
            case "user":
                blocks = self._content(message, path)
                self.turns.append(Turn("user", blocks, message.name, path=path))
            case "assistant":
                blocks = self._read_assistant(message, path)
                self.turns.append(Turn("assistant", blocks, message.name, path=path))
            case "tool":
                if message.tool_call_id is None:
                    raise InvalidRequest(
                        f"{path}.tool_call_id is required in a tool message", param=f"{path}.tool_call_id"
                    )
                self._add_result(str(message.tool_call_id), message, path)
            case "function":
                self._add_result(self._legacy_call or f"call_{message.name}", message, path)
            case unknown:
                text = "is required" if unknown is None else f"{unknown!r} is not one of {', '.join(ROLES)}"
                raise InvalidRequest(f"{path}.role {text}", param=f"{path}.role")

    def _decode(self, raw: msgspec.Raw, path: str) -> WireMessage:
        try:
            return _known_message.decode(raw)
        except UNREADABLE:
            return self._decode_odd(raw, path)

    def _decode_odd(self, raw: msgspec.Raw, path: str) -> WireMessage:
        message = read_value(raw, _any_message, path)
        for name, value in read_value(raw, fields_decoder, path).items():
            if name not in WireMessage.__struct_fields__ and is_set(value):
                if name in BESIDE or (name in IN_PLACE and not is_set(message.content)):
                    raise InvalidRequest(f"{path}.{name}: put it into content", param=f"{path}.{name}")
                self._note(f"{path}.{name}", value)
        return message

    def _add_system(self, message: WireMessage, path: str) -> None:
        blocks = self._content(message, path)
        texts = tuple(block for block in blocks if isinstance(block, Text))
        if len(texts) < len(blocks):
            raise InvalidRequest(f"{path}.content of a system message may contain only text", param=f"{path}.content")
        if self.turns:
            self.turns.append(Turn("system", texts, message.name, path=path))
        else:
            self.instructions.extend(texts)
            if message.name:
                self._note(f"{path}.name", msgspec.Raw(msgspec.json.encode(message.name)))

    def _add_result(self, call_id: str, message: WireMessage, path: str) -> None:
        blocks = self._content(message, path)
        self.turns.append(Turn("user", (ToolResult(call_id, read_output(blocks)),), path=path))

    def _content(self, message: WireMessage, path: str) -> tuple[Block, ...]:
        """The blocks of the content; a cache hint on the message is moved to its last text."""
        blocks = read_content(message.content, f"{path}.content", self._note)
        hint = read_cache(message.cache_control)
        if hint is not None and blocks and isinstance(blocks[-1], Text):
            blocks = (*blocks[:-1], msgspec.structs.replace(blocks[-1], cache=hint))
        return blocks

    def _read_assistant(self, message: WireMessage, path: str) -> tuple[Block, ...]:
        thinking = message.thinking
        text = message.reasoning_content or message.reasoning or ""
        if not text and bytes(memoryview(thinking)[:1]) == b'"':
            text = text_decoder.decode(thinking)
        thoughts = reasoning.read_reasoning(text, message.reasoning_details or (), message.thinking_blocks or ())
        blocks: list[Block] = list(self._content(message, path))
        if message.refusal:
            blocks.append(Refusal(message.refusal))
        in_content = {
            block.id for block in blocks if isinstance(block, ToolCall)
        }  # in the content, the form of Messages
        for index, call in enumerate(message.tool_calls or ()):
            read = _read_call(call, f"{path}.tool_calls[{index}]")
            if read.id not in in_content:
                blocks.append(read)
        if message.function_call is not None:
            self._legacy_call = f"call_{path}".replace("[", "_").replace("]", "")
            call = WireCall(id=self._legacy_call, function=message.function_call)
            blocks.append(_read_call(call, f"{path}.function_call"))
        return interleave(thoughts, blocks)


class MessageWriter:
    """Writes turns as messages for one upstream. What cannot be expressed becomes a loss."""

    def __init__(self, request: Request, capabilities: Capabilities) -> None:
        self._request = request
        self._can = capabilities
        self._called: dict[str, str] = {}  # the names of past calls by id, where results have to name them
        self.losses: list[Loss] = []

    def write(self) -> list[Any]:
        messages: list[Any] = []
        if self._request.instructions:
            content = self._content(self._request.instructions, "instructions", "\n\n")
            messages.append({"role": self._can.system_role, "content": content})
        extensions = self._message_extensions() if self._request.extensions else {}
        for turn in self._request.turns:
            if turn.role == "user":
                self._write_user(turn, messages)
            elif turn.role == "assistant":
                messages.append(self._write_assistant(turn))
            else:
                messages.append(self._write_system(turn))
            if extensions and turn.path in extensions:
                messages[-1].update(extensions.pop(turn.path))
        for path, fields in extensions.items():
            self.losses.extend(Loss("ignorable", f"{path}.{name}", "its message was split") for name in fields)
        return messages

    def _message_extensions(self) -> dict[str, dict[str, Any]]:
        """Fields of messages that only this dialect knows, by the path of the message; those of parts become losses."""
        found: dict[str, dict[str, Any]] = {}
        for extension in self._request.extensions:
            path, dot, name = extension.name.rpartition(".")
            if not (dot and extension.dialect == NAME and path.startswith(("messages[", "input["))):
                continue
            if path.endswith("]") and path.count("[") == 1:
                found.setdefault(path, {})[name] = extension.value
            else:
                self.losses.append(Loss(extension.severity, extension.name, extension.why))
        return found

    def _write_system(self, turn: Turn) -> dict[str, Any]:
        role = self._can.late_system if self._can.late_system != "reminder" else self._can.system_role
        texts = [block for block in turn.blocks if isinstance(block, Text)]
        return _open_message(role, self._text_content(texts, "\n\n"), turn)

    def _write_user(self, turn: Turn, messages: list[Any]) -> None:
        """The messages of a user turn: the results first, each as a separate message, with nothing in between."""
        spoken: list[Block] = []
        for block in turn.blocks:
            if type(block) is ToolResult:
                messages.append(self._write_result(block, turn.path))
            else:
                spoken.append(block)
        if spoken or not turn.blocks:
            messages.append(_open_message("user", self._content(spoken, turn.path, "\n\n"), turn))

    def _write_result(self, result: ToolResult, path: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id}
        if result.call_id in self._called:
            message["name"] = self._called[result.call_id]
        blocks = result.blocks if result.cache is None else result.hinted_blocks
        message["content"] = self._content(blocks, path, "\n") or self._nothing(NO_OUTPUT)
        return message

    def _write_assistant(self, turn: Turn) -> dict[str, Any]:
        spoken: list[Block] = []
        thoughts: list[Reasoning] = []
        calls: list[ToolCall] = []
        refusals: list[str] = []
        for block in turn.blocks:
            if type(block) is ToolCall:
                calls.append(block)
            elif type(block) is Reasoning:
                thoughts.append(block)
            elif type(block) is Refusal:
                refusals.append(block.text)
            else:
                spoken.append(block)
        silent = not spoken and bool(calls or refusals)
        content = None if silent and self._can.null_content else self._content(spoken, turn.path, "\n\n")
        message = _open_message("assistant", self._nothing(NO_TEXT) if content == "" else content, turn)
        if thoughts or self._can.reasoning_required:
            message.update(self._write_reasoning(thoughts, required=bool(calls)))
        if refusals:
            message["refusal"] = "".join(refusals)
        if calls:
            message["tool_calls"] = [write_call(self._with_object_arguments(call, turn.path)) for call in calls]
            if self._can.result_names:
                self._called.update((call.id, call.name) for call in calls)
        return message

    def _nothing(self, words: str) -> str:
        """Empty content, or `words` if the upstream refuses empty content."""
        return "" if self._can.empty_content else words

    def _write_reasoning(self, thoughts: Sequence[Reasoning], *, required: bool) -> dict[str, Any]:
        """Past reasoning in the upstream's field: verbatim if the upstream made it, else the text.

        DeepSeek and others refuse a tool call without the field. They accept empty text; Kimi takes it for a missing
        field, and accepts a space.
        """
        fields: dict[str, Any] = {}
        replay = self._can.reasoning_replay
        for thought in thoughts:
            proof = thought.proof
            if replay != "none" and proof is not None and proof.dialect == NAME and proof.kind in reasoning.FIELDS:
                for name, entries in reasoning.write_proof(proof).items():
                    fields.setdefault(name, []).extend(entries)
        text = "".join([thought.text for thought in thoughts])
        must = self._can.reasoning_required and (required or self._can.reasoning_always)
        if replay in ("reasoning_content", "reasoning") and (text or must):
            fields[replay] = text or self._nothing(" ")
        elif replay == "reasoning_details" and text and not fields:
            fields[replay] = [{"type": "reasoning.text", "text": text, "index": 0}]
        elif must and replay == "none":
            fields["reasoning_content"] = text or self._nothing(" ")
        return fields

    def _with_object_arguments(self, call: ToolCall, path: str) -> ToolCall:
        """The call with arguments that are a JSON object, because servers pass them to a template or a parser."""
        if call.kind == "custom" or is_object(call.arguments):
            return call
        arguments, _ = as_object(call.arguments)
        if arguments != "{}":
            self._lose(f"{path}.tool_calls", "degrading", f"the arguments of {call.name} are not a JSON object")
        return msgspec.structs.replace(call, arguments=arguments)

    def _content(self, blocks: Sequence[Block], path: str, joint: str) -> str | list[Any]:
        """Content as a plain string, which every server accepts, if it is text without cache hints; else as parts."""
        if len(blocks) == 1 and type(block := blocks[0]) is Text and block.cache is None:
            return block.text  # the usual case
        texts = [block for block in blocks if type(block) is Text]
        if len(texts) == len(blocks):
            return self._text_content(texts, joint)
        lose = partial(self._lose, path)
        return [part for block in blocks for part in write_part(block, self._can.cache_hints, lose)] or ""

    def _text_content(self, texts: Sequence[Text], joint: str) -> str | list[Any]:
        hinted = self._can.cache_hints != "none" and any(text.cache is not None for text in texts)
        if hinted and not self._can.string_content:
            return [write_text(text.text, text.cache, self._can.cache_hints) for text in texts]
        return joint.join([text.text for text in texts])

    def _lose(self, path: str, severity: Severity, why: str) -> None:
        self.losses.append(Loss(severity, path, why))


def _read_call(call: WireCall, path: str) -> ToolCall:
    """A past call. Numeric ids become text; the arguments stay unchanged, or become text if they are an object."""
    kind: ToolKind = "function"
    if call.custom is not None:
        kind, name, arguments = "custom", call.custom.name, call.custom.input or ""
    else:
        function = call.function or WireFunction()
        if function.name is not None and not len(function.arguments):
            raise InvalidRequest(f"{path}.function.arguments: a string is required", param=f"{path}.function.arguments")
        name, arguments = function.name, _read_arguments(function.arguments)
    if name is None:
        raise InvalidRequest(f"{path}: the name of the called tool is missing", param=f"{path}.function.name")
    proof = None
    if len(call.extra_content) > len(b"null"):
        proof = reasoning.call_proof(bytes(call.extra_content))
    return ToolCall(str(call.id) if call.id is not None else "", name, arguments, kind, proof=proof)


def _read_arguments(raw: msgspec.Raw) -> str:
    value = bytes(raw)
    if value.startswith(b'"'):
        return text_decoder.decode(value)
    return "" if value in (b"", b"null") else value.decode("utf-8", "replace")


def _open_message(role: str, content: str | list[Any] | None, turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": role, "content": content}
    if turn.name:
        message["name"] = turn.name
    return message
