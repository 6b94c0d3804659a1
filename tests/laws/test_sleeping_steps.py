"""The law of the table of steps: a step that no feature of a request wakes would have done nothing to it."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.adaptation.adapt import STEPS, Step, adapt
from app.adaptation.features import find_in_turns, find_settings
from app.adaptation.notes import Notes
from app.conversation.blocks import (
    CALL_PROOF,
    MACHINE_PROOF,
    Audio,
    Block,
    CacheHint,
    Compaction,
    File,
    Image,
    Inline,
    Opaque,
    PlainText,
    Proof,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.capabilities import Capabilities
from app.conversation.request import (
    CustomTool,
    Extension,
    FunctionTool,
    NativeTool,
    OutputFormat,
    ReasoningSettings,
    Request,
    Sampling,
    State,
    ToolChoice,
    Turn,
)
from app.conversation.steps import SERVER_TOOL
from app.dialects.registry import all_traits, traits_of
from app.errors import ClientError
from app.providers.profiles import capabilities_for
from tests.laws.cases import DIALECTS
from tests.laws.test_one_truth import MODELS, SERVERS

NAMES = [traits.name for traits in all_traits()]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

_names = st.sampled_from(NAMES)
_marks = st.none() | st.just(CacheHint())
_words = st.sampled_from(
    ("a word", "JSON", " \n", "", "x-anthropic-billing-header: 1", "x-anthropic-billing-header: 1\nso")
)
_texts = st.builds(Text, _words, _marks)
_proofs = st.builds(
    Proof,
    _names,
    st.sampled_from(("thinking", "reasoning", SERVER_TOOL, CALL_PROOF, MACHINE_PROOF)),
    st.just((b'"m"',)),
)
_images = st.builds(
    Image,
    st.sampled_from((Inline("image/png", "aGk="), Inline("text/plain", "aGk="), Url("https://x.test/a"))),
    cache=_marks,
)
_files = st.builds(File, st.just(PlainText("t")) | st.just(Inline("application/pdf", "aGk=")), st.none() | st.just("n"))
_opaques = st.builds(
    Opaque, _names, st.sampled_from(("new", "tool_reference", "fallback")), st.just(b'{"tool_name":"f"}'),
    st.just(()) | st.just((Text("said"),)), st.booleans(),
)  # fmt: skip
_inner: st.SearchStrategy[Block] = st.one_of(_texts, _texts, _texts, _images, _files, _opaques)
_ids = st.sampled_from(("", "a", "b", "call_1", "toolu.1"))
_kinds = st.sampled_from(("function", "function", "function", "custom", "shell"))
_calls = st.builds(
    ToolCall, _ids, st.sampled_from(("f", "g", "a.b")), st.just("{}"), _kinds, st.none() | st.just("ns"), _marks,
    st.none() | _proofs,
)  # fmt: skip
_results = st.builds(ToolResult, _ids, st.lists(_inner, max_size=2).map(tuple), st.booleans(), _kinds, _marks)
_thoughts = st.builds(Reasoning, st.sampled_from(("", "hm")), st.none() | _proofs)
_blocks: st.SearchStrategy[Block] = st.one_of(
    _texts, _texts, _texts, _calls, _results, _images, _files, _opaques,
    _thoughts, _thoughts,
    st.builds(ServerTool, _names, st.just("web_search"), st.just(b"{}"), st.sampled_from(("", "found"))),
    st.builds(Compaction, st.none() | st.just("sum"), st.none() | _proofs),
    st.builds(SearchResult, st.just("t"), st.just("s"), st.just((Text("r"),)), st.none(), _marks),
    st.builds(Audio, _names, st.just(b"{}")), st.builds(Refusal, st.just("no")),
)  # fmt: skip
_turns = st.builds(
    Turn,
    st.sampled_from(("user", "assistant", "user", "assistant", "system")),
    st.lists(_blocks, max_size=3).map(tuple),
    effort=st.sampled_from((None, None, None, "high", "odd")),
    clear_at=st.sampled_from((None, None, None, "next_user_message")),
)  # fmt: skip
# An ordinary exchange: nothing of it is out of order.
_usual = st.sampled_from((
    (Turn("user", (Text("q"),)),),
    (Turn("user", (Text("q"),)), Turn("assistant", (Text("a"),)), Turn("user", (Text("more"),))),
    (Turn("user", (Text("q"),)), Turn("assistant", (ToolCall("call_1", "f", "{}"),)),
     Turn("user", (ToolResult("call_1", (Text("done"),)),))),
))  # fmt: skip
_search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
# The same with a thought that somebody signed.
_signed = st.builds(
    lambda proof, text: (
        Turn("user", (Text("q"),)),
        Turn("assistant", (Reasoning(text, proof), Text("a"))),
        Turn("user", (Text("more"),)),
    ),
    _proofs,
    st.sampled_from(("", "hm")),
)
_tools = st.one_of(
    st.just(NativeTool("anthropic_messages", "web_search_20250305", "web_search", _search, server=True)),
    st.builds(FunctionTool, st.sampled_from(("f", "g", "a.b")), schema=st.none() | st.just(SCHEMA), cache=_marks),
    st.builds(CustomTool, st.just("c")),
    st.builds(
        NativeTool, _names, st.just("web_search"), st.just("web_search"), st.just({"max_uses": 2}), st.booleans()
    ),
)


def _seldom(values: st.SearchStrategy[Any], otherwise: Any = None) -> st.SearchStrategy[Any]:
    """So that most requests have few features: each is seen alone."""
    return st.one_of(*[st.just(otherwise)] * 5, values)


CHOICES = (ToolChoice("auto"), ToolChoice("any"), ToolChoice("none"), ToolChoice("tool", ((None, "f"),)))
FORMATS = (OutputFormat("text"), OutputFormat("json_object"), OutputFormat("json_schema", SCHEMA, "n!"))
requests = st.builds(
    Request,
    dialect=_names,
    model=st.just("m"),
    turns=_usual | _signed | st.lists(_turns, max_size=4).map(tuple),
    instructions=_seldom(st.lists(_texts, max_size=2).map(tuple), ()),
    tools=st.just(()) | st.lists(_tools, max_size=2).map(tuple),
    tool_choice=_seldom(st.sampled_from(CHOICES)),
    parallel_tool_calls=_seldom(st.booleans()),
    reasoning=_seldom(
        st.builds(
            ReasoningSettings, st.sampled_from((None, "on", "off", "between_tools")),
            st.sampled_from((None, "none", "high", "max")), st.none() | st.just(2000), st.none() | st.just("omitted"),
        ),
        ReasoningSettings(),
    ),
    sampling=_seldom(
        st.builds(
            Sampling, *[st.sampled_from((None, 0.5, 1, 1.9))] * 2, *[st.sampled_from((None, 1))] * 4
        ),
        Sampling(),
    ),
    max_tokens=_seldom(st.sampled_from((0, 1, 9000, 900_000))),
    stop=_seldom(st.lists(st.sampled_from(("", " ", "END", "a", "b", "c", "d")), max_size=6).map(tuple), ()),
    output_format=_seldom(st.sampled_from(FORMATS)),
    verbosity=_seldom(st.just("low")),
    n=_seldom(st.just(3), 1),
    logprobs=_seldom(st.sampled_from((0, 2))),
    user=_seldom(st.sampled_from(("u", "u_session_s"))),
    cache_key=_seldom(st.just("k")),
    cache=_seldom(st.just(CacheHint())),
    service_tier=_seldom(st.just("flex")),
    metadata=_seldom(st.just({"a": "b"})),
    state=_seldom(
        st.builds(State, st.none() | st.booleans(), st.none() | st.just("p"), st.none(), st.booleans()), State()
    ),
    compact=_seldom(st.just(True), False),
    betas=_seldom(st.just(("b",)), ()),
    extensions=_seldom(
        st.lists(
            st.builds(
                Extension, _names, st.sampled_from(("speed", "user", "web_search_options", "mcp_servers", "odd")),
                st.sampled_from(("fast", {}, [])), st.sampled_from(("ignorable", "degrading")),
            ),
            max_size=2,
        ).map(tuple),
        (),
    ),
)  # fmt: skip

KNOWN = [
    capabilities_for(dialect.NAME, server, model) for dialect in DIALECTS for server in SERVERS for model in MODELS
]
# Values of the fields whose type does not tell them.
ODD: dict[str, list[Any]] = {
    "max_output": [None, 4096], "default_output": [None, 1024], "stop_limit": [None, 0, 4], "tools_limit": [None, 1],
    "reasoning_on_fields": [{}, {"think": True}], "reasoning_off_fields": [{}, {"think": False}],
    "unsigned_call": [{}, {"google": {}}], "refused_fields": [(), ("max_tokens",)], "temperature_max": [1.0, 2.0],
}  # fmt: skip


def _values(name: str, hint: Any) -> list[Any]:
    if hint is bool:
        return [False, True]
    return list(get_args(hint)) if get_origin(hint) is Literal else ODD.get(name, [])


CHANGES = [
    {name: value}
    for name, hint in get_type_hints(Capabilities).items()
    if name != "dialect"
    for value in _values(name, hint)
]


@st.composite
def upstreams(draw: st.DrawFn) -> Capabilities:
    """One that the tables know, with up to three things that no table says of it."""
    capabilities = draw(st.sampled_from(KNOWN))
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=3)):
        capabilities = replace(capabilities, **change)
    return capabilities


def wakes(step: Step, request: Request, capabilities: Capabilities) -> bool:
    return bool(step.wakes(capabilities) & (find_settings(request) | find_in_turns(request.turns)))


@settings(max_examples=1500, deadline=None)
@given(request=requests, capabilities=upstreams())
def test_a_step_that_sleeps_would_have_done_nothing(request: Request, capabilities: Capabilities) -> None:
    for step in STEPS:
        notes = Notes()
        awake = wakes(step, request, capabilities)
        try:
            adapted = step.adapt(request, capabilities, notes)
        except ClientError:
            assert awake, step
            return
        if not awake:
            assert (adapted, notes) == (request, Notes()), step
        request = adapted


@settings(max_examples=500, deadline=None)
@given(request=requests, capabilities=upstreams())
def test_the_short_way_through_the_steps_leads_where_the_long_one_does(
    request: Request, capabilities: Capabilities
) -> None:
    notes = Notes()
    wanted = request
    try:
        for step in STEPS:
            wanted = step.adapt(wanted, capabilities, notes)
    except ClientError:
        with pytest.raises(ClientError):
            adapt(request, capabilities)
        return

    adapted = adapt(request, capabilities)

    assert (adapted.request, list(adapted.losses)) == (wanted, notes.losses)
    refused = 0 if traits_of(capabilities.dialect).means_empty else 1  # an empty answer
    assert len(adapted.stages) == len(notes.stages) + refused


def test_a_plain_question_wakes_nothing() -> None:
    request = Request(dialect="anthropic_messages", model="m", turns=(Turn("user", (Text("q"),)),), max_tokens=100)

    awake = [step.adapt.__name__ for step in STEPS if wakes(step, request, Capabilities(dialect="openai_chat"))]

    assert awake == []
