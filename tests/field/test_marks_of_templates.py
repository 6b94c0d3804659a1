"""Marks of a model's template that a server leaves in what the model said: around thoughts, in the names of tools, in
place of calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import every_client
from tests.field.pairs import ask, chat_events, delta
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, Reply


@pytest.fixture
def local(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    """A client of a gateway with a server of local models."""
    return make_client(local={"kind": "openai", "profile": "lmstudio", "base_url": f"{upstream.url}/v1"})


def said(*pieces: dict[str, Any], finish: str = "stop") -> Reply:
    return chat_events(*map(delta, pieces), delta({}, finish), "[DONE]")


@every_client
@pytest.mark.parametrize(
    "name", ["f<|channel|>commentary", "f<|constrain|>json", "functions.f<|channel|>commentary", "f<|end|>"]
)
def test_marks_in_the_name_of_a_called_tool_are_dropped(
    local: Client, upstream: FakeUpstream, dialect: str, name: str
) -> None:
    """vllm-project/vllm#32587, vllm-project/vllm#35906."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"x": 1}'}}
    upstream.script(said({"role": "assistant", "tool_calls": [call]}, finish="tool_calls"))

    assert ask(local, dialect, "local/m", stream=True).calls == [("f", {"x": 1})]


@every_client
@pytest.mark.parametrize(
    "text",
    [
        '<|channel|>commentary to=functions.f<|message|>{"x": 1}<|call|>',
        '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": 1}',
        "<|channel|>analysis<|message|>plan<|end|><|start|>assistant<|channel|>commentary to=functions.f"
        '<|message|>{"x": 1}<|call|>',
    ],
)
def test_a_message_to_a_function_is_its_call(local: Client, upstream: FakeUpstream, dialect: str, text: str) -> None:
    """odysseus-dev/odysseus#4522, raullenchai/Rapid-MLX#480, ml-explore/mlx-lm#1867."""
    upstream.script(said(*({"content": piece} for piece in text)))

    told = ask(local, dialect, "local/m", stream=True)

    assert (told.text, told.calls, told.finish) == ("", [("f", {"x": 1})], "tool_calls")


def test_two_messages_to_functions_are_two_calls(local: Client, upstream: FakeUpstream) -> None:
    text = "".join(
        f'<|channel|>commentary to=functions.f<|message|>{{"x": {x}}}<|call|><|start|>assistant' for x in (1, 2)
    )
    upstream.script(said({"content": text}))

    assert ask(local, "A", "local/m", stream=True).calls == [("f", {"x": 1}), ("f", {"x": 2})]


@every_client
@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>analysis<|message|>plan<|end|><|start|>assistant<|channel|>final<|message|>answer",
        "<|channel|>analysis<|message|>plan<|end|>\n<|channel|>final<|message|>answer",
        "<thinking>plan</thinking>answer",
        "<reasoning>plan</reasoning>answer",
        "<thought>plan</thought>answer",
        "<|channel>thought\nplan<channel|>answer",
        "[THINK]plan[/THINK]answer",
        "<seed:think>plan</seed:think>answer",
        "\u25c1think\u25b7plan\u25c1/think\u25b7answer",
    ],
)
def test_thoughts_in_the_tags_of_any_template_are_thoughts(
    local: Client, upstream: FakeUpstream, dialect: str, text: str
) -> None:
    """kekzl/imp#768, Augustas11/macprovider#743."""
    upstream.script(said(*({"content": piece} for piece in text)))

    told = ask(local, dialect, "local/m", stream=True)

    assert (told.thought, told.text) == ("plan", "answer")


@every_client
def test_a_thought_that_comes_as_such_and_in_tags_is_told_once(
    local: Client, upstream: FakeUpstream, dialect: str
) -> None:
    """earendil-works/pi#5605: MiniMax M3."""
    upstream.script(
        said({"reasoning_content": "the "}, {"reasoning_content": "plan"}, {"content": "<think>the plan</think>answer"})
    )

    told = ask(local, dialect, "local/m", stream=True)

    assert (told.thought, told.text) == ("the plan", "answer")


@every_client
def test_another_thought_in_tags_is_told_too(local: Client, upstream: FakeUpstream, dialect: str) -> None:
    upstream.script(said({"reasoning_content": "a plan"}, {"content": "<think>, refined</think>answer"}))

    told = ask(local, dialect, "local/m", stream=True)

    assert (told.thought, told.text) == ("a plan, refined", "answer")
