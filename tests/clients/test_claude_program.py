"""The genuine Claude program as an upstream: any client's conversation reaches the vendor through it unchanged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.clients.claude_code import ask_claude
from tests.clients.conftest import Pair
from tests.clients.gateways import KEY, gateway
from tests.clients.programs import CLAUDE_CODE, install_npm
from tests.clients.standins import stand_in
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.workspace import MARKER, Workspace

MODEL = "cli/claude-sonnet-4-6"
LARGE = "cli/claude-sonnet-5"  # takes a million tokens
# The program has a tool of this name too.
BASH = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
BASH_OF_CHAT: ChatCompletionToolParam = {"type": "function", "function": {"name": "Bash", "parameters": BASH}}


@pytest.fixture(scope="module")
def claude() -> Path:
    return install_npm(CLAUDE_CODE, "claude")


@pytest.fixture(scope="module")
def kept(claude: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("gateway")
    with AnthropicStandIn(ScriptedModel()) as upstream:
        table = {"kind": "claude_cli", "command": [str(claude)], "base_url": upstream.url, "api_key": stand_in.KEY}
        with gateway({"cli": table}, MODEL, folder) as served:
            yield Pair(upstream, served)


@pytest.fixture
def pair(kept: Pair) -> Iterator[Pair]:
    kept.upstream.play(ScriptedModel())
    yield kept
    assert kept.upstream.refused == []


@pytest.mark.parametrize("streamed", [True, False])
def test_a_conversation_reaches_the_vendor_as_it_is(pair: Pair, *, streamed: bool) -> None:
    said = "Once more, in Zürich's dialect."
    body: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 77,
        "system": "You are a parrot.",
        "messages": [
            {"role": "user", "content": "Say hello."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": said}]},
        ],
        "extra_body": {"stop_sequences": ["END"], "temperature": 0.3},
    }

    with anthropic.Anthropic(base_url=pair.gateway.url, api_key=KEY, max_retries=0) as client:
        if streamed:
            with client.messages.stream(**body) as stream:
                answer = stream.get_final_message()
        else:
            answer = client.messages.create(**body)

    assert [block.text for block in answer.content if block.type == "text"] == ["There is nothing to do."]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 12)
    (asked,) = [asked.body for asked in pair.upstream.asked if asked.path == "/v1/messages"]
    # The program only streams: a whole answer is asked for through the conversation, which writes a lone text as a
    # string. What is to be streamed passes as the client wrote it.
    last = body["messages"][-1] if streamed else {"role": "user", "content": said}
    assert asked["messages"] == [*body["messages"][:-1], last]
    assert asked["system"][-1]["text"] == "You are a parrot."
    assert (asked["max_tokens"], asked["stop_sequences"], asked["temperature"]) == (77, ["END"], 0.3)
    assert {"tools": asked["tools"], "thinking": asked.get("thinking")} == {"tools": [], "thinking": None}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_run_by_the_client_alone(pair: Pair, workspace: Workspace, *, streamed: bool) -> None:
    trace = workspace.project / "trace.txt"
    command = f"touch {trace}"
    pair.upstream.play(ScriptedModel(Call("Bash", {"command": command})))
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Leave a trace."}]

    with openai.OpenAI(base_url=f"{pair.gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        if streamed:
            with client.chat.completions.stream(model=MODEL, messages=messages, tools=[BASH_OF_CHAT]) as stream:
                called = stream.get_final_completion().choices[0]
        else:
            whole = client.chat.completions.create(model=MODEL, messages=messages, tools=[BASH_OF_CHAT])
            called = whole.choices[0]
        (call,) = called.message.tool_calls or []
        assert call.type == "function"
        messages.append({"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]})
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "left"})
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[BASH_OF_CHAT])

    assert (called.finish_reason, json.loads(call.function.arguments)) == ("tool_calls", {"command": command})
    assert not trace.exists()
    assert answer.choices[0].message.content == "The tool said: left"


def test_a_client_of_responses_is_answered(pair: Pair) -> None:
    with openai.OpenAI(base_url=f"{pair.gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        answer = client.responses.create(model=MODEL, input="Say hello.", instructions="Be short.")

    assert answer.output_text == "There is nothing to do."


def test_a_prompt_larger_than_the_settings_goes_by_the_input(pair: Pair) -> None:
    prompt = "word " * 480_000

    with anthropic.Anthropic(base_url=pair.gateway.url, api_key=KEY, max_retries=0) as client:
        client.messages.create(model=LARGE, max_tokens=100, messages=[{"role": "user", "content": prompt}])

    (asked,) = [asked.body for asked in pair.upstream.asked if asked.path == "/v1/messages"]
    assert json.dumps(asked["messages"]).count(prompt) == 1


def test_a_prompt_larger_than_the_model_is_told_as_such(pair: Pair) -> None:
    prompt = "word " * 480_000

    with (
        anthropic.Anthropic(base_url=pair.gateway.url, api_key=KEY, max_retries=0) as client,
        pytest.raises(anthropic.BadRequestError, match="prompt is too long"),
    ):
        client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": prompt}])

    assert pair.upstream.asked == []


def test_what_the_vendor_refuses_is_told_with_its_status(pair: Pair) -> None:
    # A field that is refused would be left out and the rest asked again; a message cannot be left out.
    odd: list[Any] = [{"role": "user", "content": [{"type": "hologram", "text": "?"}]}]

    with (
        anthropic.Anthropic(base_url=pair.gateway.url, api_key=KEY, max_retries=0) as client,
        pytest.raises(anthropic.BadRequestError, match="unknown block type hologram"),
    ):
        client.messages.create(model=MODEL, max_tokens=100, messages=odd, stream=True)

    pair.upstream.refused.clear()


def test_claude_code_works_through_the_program_as_through_the_vendor(
    pair: Pair, claude: Path, workspace: Workspace
) -> None:
    pair.upstream.play(ScriptedModel(Call("Bash", {"command": f"cat {MARKER}", "description": "Read the marker"})))

    printed = ask_claude(claude, workspace, pair.gateway)

    assert printed.strip() == f"The tool said: {workspace.secret}"


@pytest.mark.parametrize("system", ["You are a parrot.", None])
def test_a_program_that_was_started_ahead_asks_the_same(claude: Path, tmp_path: Path, system: str | None) -> None:
    with AnthropicStandIn(ScriptedModel()) as upstream:
        table = {"kind": "claude_cli", "command": [str(claude)], "base_url": upstream.url, "api_key": stand_in.KEY}
        with gateway({"cli": {**table, "warm_programs": 1}}, MODEL, tmp_path) as served:
            took = []
            for number in range(3):
                start = time.monotonic()
                with anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0) as client:
                    answer = client.messages.create(
                        model=MODEL,
                        max_tokens=77,
                        system=system if system is not None else anthropic.omit,
                        messages=[{"role": "user", "content": f"Say hello, {number}."}],
                        extra_body={"stop_sequences": ["END"], "temperature": 0.3},
                    )
                took.append(time.monotonic() - start)
                assert answer.stop_reason == "end_turn"
                time.sleep(4)  # until the next program waits
        asked = [each.body for each in upstream.asked if each.path == "/v1/messages"]

    print(f"seconds to an answer: {', '.join(f'{each:.2f}' for each in took)}")
    assert [json.dumps(each["messages"]).count(f"hello, {number}") for number, each in enumerate(asked)] == [1, 1, 1]
    for each in asked:
        each.pop("messages")
        each.pop("metadata", None)
    assert asked[1] == asked[0]
    assert asked[2] == asked[0]
