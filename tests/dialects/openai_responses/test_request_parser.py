"""What is understood of a client's request in the Responses dialect, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.conversation.blocks import (
    Compaction,
    File,
    FileId,
    Image,
    Inline,
    Opaque,
    Proof,
    Reasoning,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.envelope import seal
from app.conversation.request import (
    CustomTool,
    FunctionTool,
    NativeTool,
    OutputFormat,
    ReasoningSettings,
    Sampling,
    State,
    ToolChoice,
    Turn,
)
from app.dialects.openai_responses import parse_request, render_request
from app.errors import InvalidRequest
from tests.dialects.openai_responses.request_bodies import USER, rendered
from tests.dialects.openai_responses.wire import UPSTREAM, ask, parse_body


def call(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **more}


def output(call_id: str, value: Any = "r") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def test_a_string_is_one_message_of_the_user() -> None:
    request = parse_body({"model": "gpt-5.4", "input": "hello"})

    assert request.turns == (Turn("user", (Text("hello"),), path="input"),)


def test_instructions_come_before_leading_system_messages() -> None:
    developer = {"role": "developer", "content": [{"type": "input_text", "text": "ignorable"}]}

    request = parse_body(ask(developer, USER, {"role": "system", "content": "later"}, instructions="I"))

    assert request.instructions == (Text("I"), Text("ignorable"))
    assert [turn.role for turn in request.turns] == ["user", "system"]


def test_items_of_the_assistant_are_one_turn_and_results_begin_the_next() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]}

    request = parse_body(ask(USER, said, call("a"), call("b"), output("a", "1"), output("b", "2"), USER))

    assert [(turn.role, turn.path) for turn in request.turns] == [
        ("user", "input[0]"),
        ("assistant", "input[1]"),
        ("user", "input[4]"),
    ]
    assert request.turns[1].blocks == (Text("t"), ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))
    assert request.turns[2].blocks == (ToolResult("a", (Text("1"),)), ToolResult("b", (Text("2"),)), Text("q"))


def test_a_result_that_comes_after_the_user_spoke_leads_the_turn() -> None:
    request = parse_body(ask(call("a"), USER, output("a")))

    assert [type(block) for block in request.turns[1].blocks] == [ToolResult, Text]


@pytest.mark.parametrize(
    "content",
    [
        "a",
        [{"type": "output_text", "text": "a"}],
        [{"type": "text", "text": "a"}],
        [{"type": "input_text", "text": "a"}],
        [{"type": "summary_text", "text": "a"}],
    ],
)
@pytest.mark.parametrize("kind", [{"type": "message"}, {}, {"type": None}])
def test_every_form_of_a_message_says_the_same(content: Any, kind: dict[str, Any]) -> None:
    request = parse_body(ask(USER, {**kind, "role": "assistant", "content": content}))

    assert request.turns[1].blocks == (Text("a"),)


def test_the_phase_of_a_message_stays_with_its_text() -> None:
    message = {"type": "message", "role": "assistant", "phase": "commentary", "content": "looking"}

    request = parse_body(ask(USER, message))

    assert request.turns[1].blocks == (Text("looking", phase="commentary"),)
    assert rendered(request)["input"][1]["phase"] == "commentary"


def test_a_call_inside_a_message_is_a_call() -> None:
    nested = {"type": "function_call", "call_id": "a1", "name": "f", "arguments": '{"x": 1}'}

    request = parse_body(ask(USER, {"role": "assistant", "content": [{"type": "output_text", "text": "a"}, nested]}))

    assert request.turns[1].blocks == (Text("a"), ToolCall("a1", "f", '{"x": 1}'))


def test_a_reference_to_an_item_is_the_assistants_and_goes_nowhere_without_a_store() -> None:
    request = parse_body(ask(USER, {"type": "item_reference", "id": "msg_9"}, USER, store=False))

    result = render_request(request, UPSTREAM)

    assert isinstance(request.turns[1].blocks[0], Opaque)
    assert [item["type"] for item in json.loads(result.body)["input"]] == ["message", "message"]
    assert [loss.severity for loss in result.losses] == ["degrading"]


def test_what_must_be_looked_up_goes_to_no_upstream_that_stores_nothing() -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    request = parse_body(ask(USER, bare, {"type": "item_reference", "id": "msg_9"}, USER))

    items = json.loads(render_request(request, replace(UPSTREAM, store=False)).body)["input"]

    assert [item["type"] for item in items] == ["message", "message"]


def test_native_reasoning_goes_back_byte_by_byte() -> None:
    item = (
        b'{"type":"reasoning", "id":"rs_1","summary":[ {"type":"summary_text","text":"S"}],"encrypted_content":"gAAA"}'
    )
    body = b'{"model":"m","input":[{"role":"user","content":"q"},' + item + b"]}"

    request = parse_request(body, {})

    assert request.turns[1].blocks == (Reasoning("S", Proof("openai_responses", "reasoning", (item,))),)
    assert item in render_request(request, UPSTREAM).body


def test_reasoning_in_an_envelope_is_the_proof_that_was_sealed() -> None:
    proof = Proof("anthropic_messages", "thinking", (b'{"type":"thinking","thinking":"T","signature":"sig"}',))
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "T"}], "encrypted_content": seal(proof)}

    request = parse_body(ask(USER, item))

    assert request.turns[1].blocks == (Reasoning("T", proof),)


def test_reasoning_that_nothing_proves_stays_home_unless_it_is_stored() -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "S"}]}

    stored = parse_body(ask(USER, bare, store=True))
    unstored = parse_body(ask(USER, bare, store=False))

    assert rendered(stored)["input"][1] == bare
    assert len(rendered(unstored)["input"]) == 1


@pytest.mark.parametrize("form", ["summary", "content", "both"])
def test_reasoning_text_comes_from_summary_and_content(form: str) -> None:
    item: dict[str, Any] = {"type": "reasoning", "summary": [], "content": None}
    if form != "content":
        item["summary"] = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    if form != "summary":
        item["content"] = [{"type": "reasoning_text", "text": "c"}]

    block = parse_body(ask(USER, item)).turns[1].blocks[0]

    assert block.text == {"summary": "a\n\nb", "content": "c", "both": "a\n\nb\n\nc"}[form]


def test_arguments_keep_every_character() -> None:
    arguments = '{"b":1.0,"a":12345678901234567890,"c":1e-7, "d":"\\u00e9"}'

    request = parse_body(ask(USER, call("a", arguments=arguments)))

    assert request.turns[1].blocks[0].arguments == arguments
    assert rendered(request)["input"][1]["arguments"] == arguments


@pytest.mark.parametrize(
    ("item", "block"),
    [
        (
            {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "*** x"},
            ToolCall("a", "patch", "*** x", "custom"),
        ),
        (
            {"type": "tool_search_call", "call_id": "a", "execution": "client", "arguments": {"query": "db"}},
            ToolCall("a", "tool_search", '{"query": "db"}', "tool_search"),
        ),
        (
            {"type": "local_shell_call", "call_id": "a", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            ToolCall("a", "local_shell", '{"type": "exec", "command": ["ls"], "env": {}}', "local_shell"),
        ),
        (
            {"type": "shell_call", "call_id": "a", "action": {"commands": ["ls"]}},
            ToolCall("a", "shell", '{"commands": ["ls"]}', "shell"),
        ),
        (
            {"type": "apply_patch_call", "call_id": "a", "operation": {"type": "delete_file", "path": "x"}},
            ToolCall("a", "apply_patch", '{"type": "delete_file", "path": "x"}', "apply_patch"),
        ),
    ],
)
def test_calls_of_native_tools_come_and_go(item: dict[str, Any], block: ToolCall) -> None:
    request = parse_body(ask(USER, item))

    again = rendered(request)["input"][1]

    assert request.turns[1].blocks == (block,)
    assert {name: again[name] for name in item} == item
    assert again["id"] != again["call_id"]


def test_the_result_of_a_failed_patch_is_an_error() -> None:
    item = {"type": "apply_patch_call_output", "call_id": "a", "status": "failed", "output": "no file"}

    request = parse_body(ask(item))

    assert request.turns[0].blocks == (ToolResult("a", (Text("no file"),), is_error=True, kind="apply_patch"),)
    assert rendered(request)["input"] == [item]


def test_tools_found_by_a_search_join_the_tools_once() -> None:
    found = {"type": "function", "name": "query", "parameters": {"type": "object"}, "strict": False}
    search = {"type": "tool_search_output", "call_id": "a", "execution": "client", "tools": [found]}

    request = parse_body(ask(USER, search, search, tools=[{"type": "tool_search", "execution": "client"}]))

    assert [tool.name for tool in request.tools] == ["tool_search", "query"]


def test_additional_tools_join_the_tools_in_order() -> None:
    late = {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "exec"}]}

    request = parse_body(ask(late, USER, tools=[{"type": "function", "name": "f"}]))

    assert [tool.name for tool in request.tools] == ["f", "exec"]


def test_a_configuration_update_is_an_effort_without_words() -> None:
    request = parse_body(ask(USER, {"type": "configuration_update", "reasoning": {"effort": "high"}}, USER))

    assert request.turns[1] == Turn("system", (), effort="high", path="input[1]")
    assert rendered(request)["input"][1] == {"type": "configuration_update", "reasoning": {"effort": "high"}}


def test_what_only_this_dialect_knows_keeps_its_bytes() -> None:
    items = [
        {"type": "compaction", "encrypted_content": "gAAA"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "unheard_of", "payload": {"a": [1]}},
        {"type": "compaction_trigger"},
    ]

    request = parse_body(ask(*items))

    assert [type(block) for turn in request.turns for block in turn.blocks] == [Compaction, ServerTool, Opaque]
    assert [turn.role for turn in request.turns] == ["assistant", "user"]
    assert request.compact
    assert rendered(request)["input"] == items


def test_images_and_files_of_every_source_are_read() -> None:
    parts = [
        {"type": "input_image", "image_url": "data:image/png;charset=x;base64,iVBO\nRw0K", "detail": "low"},
        {"type": "input_image", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.txt", "file_data": "SGk="},
    ]

    blocks = parse_body(ask({"role": "user", "content": parts})).turns[0].blocks

    assert blocks == (
        Image(Inline("image/png", "iVBORw0K"), "low"),
        Image(Url("https://example.org/a.png")),
        File(FileId("file-1", "openai_responses")),
        File(Inline("text/plain", "SGk="), "a.txt"),
    )


def test_tools_of_every_kind_are_read() -> None:
    tools = [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "defer_loading": True},
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}},
        {"type": "namespace", "name": "kv", "description": "d", "tools": [{"type": "function", "name": "get"}]},
        {"type": "web_search", "search_context_size": "low"},
        {"type": "apply_patch"},
        {"type": "tool_search"},
    ]

    request = parse_body(ask(USER, tools=tools))

    assert request.tools[0] == FunctionTool("f", schema={"type": "object"}, strict=True, deferred=True)
    assert request.tools[1] == CustomTool("p", grammar=("lark", "start: /x/"))
    assert (request.tools[2].name, request.tools[2].namespace) == ("get", "kv")
    assert [(tool.type, tool.server) for tool in request.tools if isinstance(tool, NativeTool)] == [
        ("web_search", True),
        ("apply_patch", False),
        ("tool_search", True),
    ]
    assert rendered(request)["tools"][2]["description"] == "d"


@pytest.mark.parametrize(
    ("sent", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("any")),
        ("none", ToolChoice("none")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", ((None, "f"),))),
        ({"type": "custom", "name": "g"}, ToolChoice("tool", ((None, "g"),))),
        ({"type": "web_search"}, ToolChoice("tool", ((None, "web_search"),))),
        ({"type": "mcp", "server_label": "docs", "name": "read"}, ToolChoice("tool", (("docs", "read"),))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice("auto", ((None, "f"),)),
        ),
    ],
)
def test_every_tool_choice_comes_and_goes(sent: Any, choice: ToolChoice) -> None:
    tools = [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "g"},
        {"type": "web_search"},
        {"type": "mcp", "server_label": "docs"},
    ]

    request = parse_body(ask(USER, tools=tools, tool_choice=sent))

    assert request.tool_choice == choice
    assert rendered(request)["tool_choice"] == sent


def test_settings_find_their_places() -> None:
    body = ask(
        USER,
        max_output_tokens=500,
        temperature=0.5,
        reasoning={"effort": "high", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        store=False,
        previous_response_id="resp_0",
        safety_identifier="u",
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )

    request = parse_body(body)

    assert request.max_tokens == 500
    assert request.sampling == Sampling(temperature=0.5)
    assert request.reasoning == ReasoningSettings(mode="on", effort="high", visibility="auto")
    assert request.output_format == OutputFormat("json_schema", {"type": "object"}, "n", None, True)
    assert request.state == State(store=False, previous_id="resp_0")
    assert (request.user, request.logprobs) == ("u", 2)


def test_an_effort_of_a_name_that_nobody_knows_yet_asks_for_thinking_and_is_kept() -> None:
    request = parse_body(ask(USER, reasoning={"effort": "huge"}))

    assert request.reasoning == ReasoningSettings("on")
    assert [(extension.name, extension.value, extension.severity) for extension in request.extensions] == [
        ("reasoning.effort", "huge", "degrading")
    ]
    assert rendered(request)["reasoning"] == {"effort": "huge"}


def test_effort_none_switches_reasoning_off() -> None:
    request = parse_body(ask(USER, reasoning={"effort": "none"}))

    assert request.reasoning == ReasoningSettings(mode="off", effort="none")
    assert rendered(request, replace(UPSTREAM, reasoning_off="none"))["reasoning"] == {"effort": "none"}


@pytest.mark.parametrize(
    ("name", "value", "loss"),
    [
        ("prompt", {"id": "p"}, "wrong"),
        ("truncation", "auto", "degrading"),
        ("truncation", "disabled", "ignorable"),
        ("hint", 1, "ignorable"),
    ],
)
def test_fields_without_a_neutral_place_say_what_their_loss_means(name: str, value: Any, loss: str) -> None:
    request = parse_body(ask(USER, **{name: value}))

    assert [(extension.name, extension.value, extension.severity) for extension in request.extensions] == [
        (name, value, loss)
    ]
    assert rendered(request)[name] == value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({"input": "x"}, "model"),
        ({"model": 7, "input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": 7}, "input"),
        ({"model": "m", "input": "x", "temperature": 3}, "temperature"),
        ({"model": "m", "input": "x", "top_p": -1}, "top_p"),
        ({"model": "m", "input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"model": "m", "input": "x", "max_output_tokens": "many"}, "max_output_tokens"),
        ({"model": "m", "input": "x", "reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"model": "m", "input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"model": "m", "input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"model": "m", "input": "x", "tools": [{}]}, "tools[0].type"),
        ({"model": "m", "input": "x", "tool_choice": "maybe"}, "tool_choice"),
        (ask({"role": "narrator", "content": "x"}), "input[0].role"),
        (ask({"role": "user", "content": 7}), "input[0].content"),
        (ask({"role": "user", "content": [{"type": "input_image"}]}), "input[0].content[0].image_url"),
        (ask({"role": "user", "content": [{"a": 1}]}), "input[0].content[0].type"),
        (ask(USER, {"type": "function_call", "call_id": "a"}), "input[1].name"),
        (ask(USER, {"type": "function_call", "call_id": "a", "name": 5}), "input[1].name"),
    ],
)
def test_a_wrong_request_is_refused_with_the_name_of_the_field(body: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(json.dumps(body).encode(), {})

    assert refused.value.failure.param == param
    assert refused.value.failure.http_status == 400


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "role", "content", "text", "name", "output", "tools", "summary", "image_url", "x"]
                ),
                inner,
            )
        ),
    )
)
def test_no_item_whatever_is_more_than_a_refusal(item: Any) -> None:
    try:
        request = parse_request(json.dumps(ask(USER, item)).encode(), {})
    except InvalidRequest:
        return

    assert json.loads(render_request(request, UPSTREAM).body)["model"] == "gpt-5.4"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b'{"model":"m","input":"\xff"}', b'{"model":"m","input":NaN}', b'{"a":' + b"[" * 100_000],
)
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(body, {})


def test_half_a_surrogate_pair_is_repaired() -> None:
    request = parse_request(b'{"model":"m","input":"a\\ud83d b \\ud83d\\ude00"}', {})

    assert request.turns[0].blocks == (Text("a\ufffd b \U0001f600"),)
