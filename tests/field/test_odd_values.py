"""Values that programs write where a dialect has others: each reaches every upstream as what it means, also where client
and upstream speak the same dialect and the vendor would refuse the value."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asked import read_asked
from tests.field.asking import UPSTREAMS, both_modes, every_client, every_upstream, saying
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

Q = {"role": "user", "content": "q"}


def _called(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def _call(arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def _uses(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}, **more}]}


def _results(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": content, **more}]}


def _item(**more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", **more}


def _output(output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c", "output": output}


TOOL = {"role": "tool", "tool_call_id": "c"}
SAID = {"role": "assistant", "content": "a"}
AGAIN = {"role": "user", "content": "z"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = f"image image/png;base64,{PNG}"
# What is sent, and what the upstream has to be told, in this order.
CASES: dict[str, tuple[str, list[Any], list[str]]] = {
    # langchain-ai/deepagents#202, ComposioHQ/composio#1441: results that are no text
    "a number as a result, of Chat": ("C", [Q, _called(_call()), {**TOOL, "content": 7}], ["call f {}", "result f 7"]),
    "true as a result, of Chat": ("C", [Q, _called(_call()), {**TOOL, "content": True}], ["result f true"]),
    "an object as a result, of Chat": ("C", [Q, _called(_call()), {**TOOL, "content": {"k": 1}}], ['result f {"k": 1}']),
    "objects as a result, of Chat": ("C", [Q, _called(_call()), {**TOOL, "content": [{"k": 1}]}], ['result f {"k": 1}']),
    "no result, of Chat": ("C", [Q, _called(_call()), {**TOOL, "content": None}], ["call f {}", "result f "]),
    "a number as a result, of Messages": ("A", [Q, _uses(), _results(7)], ["call f {}", "result f 7"]),
    "an object as a result, of Messages": ("A", [Q, _uses(), _results({"k": 1})], ['result f {"k": 1}']),
    "texts as a result, of Messages": ("A", [Q, _uses(), _results(["r", "s"])], ["result f r\ns"]),
    "a number as a result, of Responses": ("R", [Q, _item(), _output(7)], ["call f {}", "result f 7"]),
    "false as a result, of Responses": ("R", [Q, _item(), _output(False)], ["result f false"]),
    "an object as a result, of Responses": ("R", [Q, _item(), _output({"k": 1})], ['result f {"k": 1}']),
    "texts as a result, of Responses": ("R", [Q, _item(), _output(["r"])], ["result f r"]),
    "a result without output, of Responses": ("R", [Q, _item(), {"type": "function_call_output", "call_id": "c"}], ["result f "]),
    # pydantic/pydantic-ai#822 in the other direction: arguments as they were read
    "arguments as an object, of Chat": ("C", [Q, _called(_call({"x": 1})), {**TOOL, "content": "r"}], ['call f {"x": 1}', "result f r"]),
    "no arguments, of Chat": ("C", [Q, _called(_call(None)), {**TOOL, "content": "r"}], ["call f {}", "result f r"]),
    "arguments as an object, of Responses": ("R", [Q, _item(arguments={"x": 1}), _output("r")], ['call f {"x": 1}', "result f r"]),
    "no arguments, of Responses": ("R", [Q, _item(arguments=None), _output("r")], ["call f {}", "result f r"]),
    "input as a text, of Messages": ("A", [Q, _uses(input='{"x": 1}'), _results("r")], ['call f {"x": 1}', "result f r"]),
    "no input, of Messages": ("A", [Q, _uses(input=None), _results("r")], ["call f {}", "result f r"]),
    # router-for-me/CLIProxyAPI#1009, mistralai/client-js#69, ollama/ollama-python#667: calls without ids
    "calls without ids, of Chat": ("C", [Q, _called(_call(id=None), _call('{"x": 1}', id=None)), {"role": "tool", "name": "f", "content": "1"}, {"role": "tool", "name": "f", "content": "2"}], ["call f {}", 'call f {"x": 1}', "result f 1", "result f 2"]),
    "calls without ids, of Messages": ("A", [Q, _uses(id=None), _results("r", tool_use_id=None)], ["call f {}", "result f r"]),
    # lucoiso/UEHttpGPT#57, openai/openai-dotnet#394: names of enumerations as roles
    "roles with capitals, of Chat": ("C", [{"role": "System", "content": "s"}, {"role": "User", "content": "q"}, {"role": "Assistant", "content": "a"}, {"role": "USER", "content": "z"}], ["system: s", "user: q", "assistant: a", "user: z"]),
    "roles with capitals, of Messages": ("A", [{"role": "User", "content": "q"}, {"role": "Assistant", "content": "a"}, {"role": "User", "content": "z"}], ["user: q", "assistant: a", "user: z"]),
    "roles with capitals, of Responses": ("R", [{"role": "User", "content": "q"}, {"role": "Assistant", "content": "a"}, {"role": "User", "content": "z"}], ["user: q", "assistant: a", "user: z"]),
    # open-webui/open-webui#12441, mistralai/mistral-common#324, TQZHR/grok2api#41: null where nothing was said
    "a text of null, of Chat": ("C", [{"role": "user", "content": [{"type": "text", "text": None}, {"type": "text", "text": "q"}]}], ["user: q"]),
    "a text of null, of Messages": ("A", [{"role": "user", "content": [{"type": "text", "text": None}, {"type": "text", "text": "q"}]}], ["user: q"]),
    "an answer of null, of Messages": ("A", [Q, {"role": "assistant", "content": None}, {"role": "user", "content": "z"}], ["user: q", "user: z"]),
    "an answer of null, of Responses": ("R", [Q, {"role": "assistant", "content": None}, {"role": "user", "content": "z"}], ["user: q", "user: z"]),
    # microsoft/agent-framework#3795: one part without its list, or without its message
    "a part without its list, of Chat": ("C", [{"role": "user", "content": {"type": "text", "text": "q"}}], ["user: q"]),
    "a part without its list, of Messages": ("A", [{"role": "user", "content": {"type": "text", "text": "q"}}], ["user: q"]),
    "a part without its list, of Responses": ("R", [{"role": "user", "content": {"type": "input_text", "text": "q"}}], ["user: q"]),
    "a part without its message": ("R", [{"type": "input_text", "text": "q"}], ["user: q"]),
}  # fmt: skip
# The same, but servers of the client's own dialect get it as it is.
ABROAD: dict[str, tuple[str, list[Any], list[str]]] = {
    # what stands beside a content, or in its place: Ollama's images, those of an answer of ours, the AI SDK's files
    "images beside a content, of Chat": ("C", [{**Q, "images": [PNG]}], ["user: q", IMAGE]),
    "images beside a content, of Messages": ("A", [{**Q, "images": [PNG]}], ["user: q", IMAGE]),
    "images beside a content, of Responses": ("R", [{**Q, "images": [PNG]}], ["user: q", IMAGE]),
    "images beside an answer": ("C", [Q, {**SAID, "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}, AGAIN], ["user: q", IMAGE, "user: z"]),
    "an image in an answer, of Responses": ("R", [Q, {**SAID, "content": [{"type": "output_text", "text": "a"}, {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]}, AGAIN], ["user: q", IMAGE, "user: z"]),
    "an image before a call": ("A", [Q, {"role": "assistant", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, *_uses()["content"]]}, _results("r")], ["call f {}", "result f r", IMAGE]),
    "an image of the developer": ("R", [{"role": "developer", "content": [{"type": "input_text", "text": "s"}, {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]}, Q], [IMAGE, "user: q"]),
    "attachments beside a content": ("C", [{**Q, "experimental_attachments": [{"name": "n", "contentType": "image/png", "url": f"data:image/png;base64,{PNG}"}]}], ["user: q", IMAGE]),
    "parts in place of a content, of Chat": ("C", [{"role": "user", "parts": [{"type": "text", "text": "q"}]}, {"role": "assistant", "parts": [{"text": "a"}]}, AGAIN], ["user: q", "assistant: a", "user: z"]),
    "parts in place of a content, of Messages": ("A", [{"role": "user", "parts": [{"type": "text", "text": "q"}]}], ["user: q"]),
    "parts in place of a content, of Responses": ("R", [{"role": "user", "parts": [{"type": "text", "text": "q"}]}], ["user: q"]),
    "parts beside a content": ("C", [{**Q, "parts": [{"type": "text", "text": "q"}]}], ["user: q"]),
    "output in place of a content": ("C", [Q, _called(_call()), {**TOOL, "output": "r"}], ["result f r"]),
    "a text under another name": ("R", [{"role": "user", "content": [{"type": "input_text", "content": "q"}]}], ["user: q"]),
    "numbers among a result's values": ("C", [Q, _called(_call()), {**TOOL, "content": [1, "x"]}], ['result f [1, "x"]']),
    "a refusal of Chat, of Messages": ("A", [Q, {"role": "assistant", "content": None, "refusal": "no"}, AGAIN], ["assistant: no", "user: z"]),
    "a refusal of Chat, of Responses": ("R", [Q, {"role": "assistant", "content": None, "refusal": "no"}, AGAIN], ["assistant: no", "user: z"]),
    # arguments under the names of LangChain, Messages and Gemini
    "arguments under another name": ("C", [Q, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "args": {"x": 1}}}]}, {**TOOL, "content": "r"}], ['call f {"x": 1}', "result f r"]),
    "input in place of arguments": ("C", [Q, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "input": {"x": 1}}}]}, {**TOOL, "content": "r"}], ['call f {"x": 1}', "result f r"]),
    "no arguments at all": ("C", [Q, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}, {**TOOL, "content": "r"}], ["call f {}", "result f r"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "to"),
    [(case, to) for to in UPSTREAMS for case in (*CASES, *ABROAD) if case in CASES or ABROAD[case][0] != to],
)
@both_modes
def test_an_odd_value_reaches_the_upstream_as_what_it_means(
    every: Client, upstream: FakeUpstream, case: str, to: str, stream: bool
) -> None:
    dialect, turns, lines = (CASES | ABROAD)[case]
    upstream.script(json_reply(whole_reply(to, "t")))

    told = ask(every, dialect, UPSTREAMS[to], stream=stream, **saying(dialect, turns))

    assert told.text == "t", told.error
    asked = read_asked(upstream.seen[0].json())
    if to == "C" and "user: z" in lines and dialect == "C":
        assert [line for line in asked.said if line.startswith("user: ")] == ["user: q", "user: z"]
    assert asked.says(*lines), asked.said


@pytest.mark.parametrize("instructions", [["i"], [{"role": "system", "content": "i"}]])
@every_upstream
def test_instructions_in_a_list_are_one_text(
    every: Client, upstream: FakeUpstream, to: str, instructions: list[Any]
) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))

    assert ask(every, "R", UPSTREAMS[to], instructions=instructions).text == "t"

    assert read_asked(upstream.seen[0].json()).says("system: i", "user: hi")


@pytest.mark.parametrize("system", [{"type": "text", "text": "s"}, ["s"], [{"type": "text", "text": "s"}]])
@every_upstream
def test_a_system_prompt_in_any_wrapping_is_one(every: Client, upstream: FakeUpstream, to: str, system: Any) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))

    assert ask(every, "A", UPSTREAMS[to], system=system).text == "t"

    assert read_asked(upstream.seen[0].json()).says("system: s", "user: hi")


CALL_OF_RESPONSES = {"id": "c", "type": "function", "name": "f", "arguments": "{}"}


@every_client
@pytest.mark.parametrize("call", [_call(), CALL_OF_RESPONSES])
@pytest.mark.parametrize("content", [None, "a"])
def test_the_thought_beside_a_call_in_another_shape_is_kept(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, call: Any, content: Any
) -> None:
    """DeepSeek and Kimi refuse a call without its thought."""
    client = make_client(chat={"profile": "deepseek"})
    answer = {"role": "assistant", "content": content, "reasoning_content": "hm", "tool_calls": [call]}
    upstream.script(json_reply(whole_reply("C", "t")))

    told = ask(client, dialect, "chat/deepseek-reasoner", **saying(dialect, [Q, answer, {**TOOL, "content": "r"}]))  # fmt: skip

    assert told.text == "t", told.error
    sent = upstream.seen[0].json()["messages"][1]
    assert (sent["reasoning_content"], len(sent["tool_calls"])) == ("hm", 1)


@pytest.mark.parametrize("name", ["audio", "files", "toolInvocations"])
def test_what_a_message_says_outside_its_content_is_not_lost_in_silence(
    every: Client, upstream: FakeUpstream, name: str
) -> None:
    upstream.script(json_reply(whole_reply("A", "t")))

    told = every.chat("messages/m", messages=[Q, {**SAID, name: [{"id": "1"}]}, AGAIN])

    assert f"messages[1].{name}" in told.headers["x-dragoman-dropped"]
