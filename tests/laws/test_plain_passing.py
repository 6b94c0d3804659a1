"""The short way to judge what passes says what the long one says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.conversation.capabilities import Capabilities
from app.dialects.contract import Dialect
from app.dialects.foreign.fields import FOREIGN_FIELDS
from app.errors import InvalidRequest
from app.providers.profiles import capabilities_for
from tests.laws.cases import DIALECTS, WIRE, every_dialect, form_of
from tests.laws.test_one_truth import PLAIN, SPOILED, upstreams

HISTORIES = {"messages": "messages", "chat": "messages", "items": "input"}
FLAGS = [field.name for field in msgspec.structs.fields(Capabilities) if field.type is bool]

_scalars = st.sampled_from((None, True, False, 0, 1, -1, 0.5, 1.0, 2, 4096, 10**30, "", "word", "none", "\ud800"))
_texts = st.sampled_from(("q", "", " \n", "\u2003", "é", 'a "gw1.x" b', "\ud800", "x-anthropic-billing-header: a"))
_parts = st.sampled_from(([], [{"type": "text", "text": "t"}], [{"type": "input_text", "text": "t"}], {}, 5, None))
_call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_roles = st.sampled_from(("user", "user", "assistant", "system", "developer", "tool", "odd"))
_message = st.fixed_dictionaries(
    {"role": _roles, "content": st.one_of(_texts, _texts, _texts, _parts)},
    optional={
        "name": _scalars, "reasoning_content": _scalars, "thinking": _scalars, "call_id": _scalars, "odd": _scalars,
        "tool_calls": st.sampled_from((None, [], [_call], "odd")), "cache_control": st.just({"type": "ephemeral"}),
        "type": st.sampled_from(("message", "message", "reasoning", None, 5)), "id": st.sampled_from((None, "msg_1")),
    },
)  # fmt: skip
_values = st.sampled_from(
    (0, 1, 5, 0.5, 2.0, 500_000, "word", "gw1.", "low", "none", "xhigh", ["a", "b", "c", "d", "e"], [], [5], {}, "",
     {"effort": "low"}, {"effort": "none"}, {"effort": None}, {"effort": 5}, {"type": "disabled"}, True, False, None,
     [{"type": "tool_use"}], {"source": 1}, {"encrypted_content": "e"}, [{"cache_control": 1}] * 5),
)  # fmt: skip


def judge_of(dialect: Dialect) -> Any:
    """The module that judges a dialect's requests."""
    return sys.modules[dialect.pass_request.__module__]


def names_of(dialect: Dialect) -> list[str]:
    """The fields that some check looks at, and some that none does."""
    judged = [name for name in judge_of(dialect).RULES if name not in HISTORIES.values()]
    foreign = FOREIGN_FIELDS[form_of(dialect.NAME)]
    return [*judged, *sorted(foreign), "stream", "system", "instructions", "user", "metadata", "odd"]


def distinct(dialect: Dialect) -> list[Capabilities]:
    """The upstreams that differ in more than their model's name."""
    named = [msgspec.structs.replace(upstream, model="some-model") for upstream in upstreams(dialect)]
    return list({repr(upstream): upstream for upstream in named}.values())


UPSTREAMS = {dialect.NAME: distinct(dialect) for dialect in DIALECTS}


@st.composite
def bodies(draw: st.DrawFn, dialect: Dialect) -> bytes:
    names = draw(st.lists(st.sampled_from(names_of(dialect)), max_size=4, unique=True))
    fields = {name: draw(_values | _scalars) for name in names}
    whole = {"model": draw(st.sampled_from(("m", "m", "m", "é", "", 5))), **fields}
    whole[HISTORIES[form_of(dialect.NAME)]] = draw(st.lists(_message, max_size=3) | _texts | _parts)
    ordered = draw(st.permutations(list(whole.items())))
    return json.dumps(dict(ordered), separators=draw(st.sampled_from(((",", ":"), (", ", ": "))))).encode()


@st.composite
def capabilities(draw: st.DrawFn, dialect: Dialect) -> Capabilities:
    """What a known upstream takes, or one that differs from it in a few points."""
    known = draw(st.sampled_from(UPSTREAMS[dialect.NAME]))
    flags = draw(st.lists(st.sampled_from(FLAGS), max_size=2, unique=True))
    changes: dict[str, Any] = {name: not getattr(known, name) for name in flags}
    limits = draw(st.sampled_from(({}, {}, {"max_output": 4}, {"stop_limit": 0}, {"stop_limit": 5})))
    return msgspec.structs.replace(known, **changes, **limits)


def judge(pass_request: Callable[[bytes], bytes | None], body: bytes) -> bytes | str | None:
    """What is sent, or what is wrong."""
    try:
        return pass_request(body)
    except InvalidRequest as error:
        return str(error)


def check(dialect: Dialect, body: bytes, upstream: Capabilities) -> None:
    asked = judge(lambda body: dialect.pass_request(body, upstream), body)
    assert judge(dialect.prepare_passing(upstream), body) == asked, (body, upstream)


@pytest.mark.parametrize("dialect", every_dialect())
@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_any_request_passes_on_both_ways_or_on_none(dialect: Dialect, data: st.DataObject) -> None:
    body, upstream = data.draw(bodies(dialect)), data.draw(capabilities(dialect))

    check(dialect, body, upstream)


@pytest.mark.parametrize("dialect", every_dialect())
def test_recorded_and_spoiled_requests_pass_on_both_ways_or_on_none(dialect: Dialect) -> None:
    recorded = [path.read_bytes() for path in sorted((WIRE / dialect.NAME / "requests").glob("*.json"))]
    form = form_of(dialect.NAME)
    empty = {HISTORIES[form]: [{"role": "user", "content": ""}]}
    spoiled = [json.dumps(PLAIN[form] | fields).encode() for fields in (*SPOILED[form], empty)]

    for upstream in UPSTREAMS[dialect.NAME]:
        for body in (*recorded, *spoiled, b"", b"[]", b"{}", b'{"model":"m"}', b'{"model":"m","x":"\xff"}'):
            check(dialect, body, upstream)


@pytest.mark.parametrize("dialect", every_dialect())
def test_no_second_model_reaches_an_upstream(dialect: Dialect) -> None:
    history = HISTORIES[form_of(dialect.NAME)]
    text = '{"%s":"other","%s":[{"role":"user","content":"q"}],"odd":5,"%s":"m"}'
    upstream = capabilities_for(dialect.NAME, "https://llm.example/v1", "some-model")

    for first, last in (("model", "model"), ("model", "mod\\u0065l"), ("mod\\u0065l", "model")):
        body = (text % (first, history, last)).encode()
        for sent in (dialect.pass_request(body, upstream), dialect.prepare_passing(upstream)(body)):
            pairs = json.loads(sent or b"{}", object_pairs_hook=list)
            assert [value for key, value in pairs if key == "model"] == ["some-model"]


ASKED: dict[str, dict[str, Any]] = {
    "chat": {"temperature": 0.5, "max_tokens": 5, "user": "u", "stream": False, "stop": ["a"]},
    "messages": {"temperature": 0.5, "max_tokens": 5, "system": "s", "metadata": {"user_id": "u"}, "stream": True},
    "items": {"temperature": 0.5, "max_output_tokens": 5, "instructions": "i", "store": False},
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.NAME)
def test_a_plain_question_is_judged_by_its_type(dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    form = form_of(dialect.NAME)
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]
    body = json.dumps({"model": "m", HISTORIES[form]: history, **ASKED[form]}).encode()
    monkeypatch.setattr(
        judge_of(dialect), "pass_request", lambda body, capabilities: pytest.fail("it took the long way")
    )

    passed = dialect.prepare_passing(capabilities_for(dialect.NAME, "https://llm.example/v1", "some-model"))(body)

    assert passed == body.replace(b'"m"', b'"some-model"', 1)
