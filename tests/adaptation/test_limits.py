"""The specification of limits, sampling and hints."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import msgspec
import pytest

from app.adaptation.limits import MAX_WATCHED, adapt_limits
from app.adaptation.replies.stop import StopMatcher
from app.conversation.blocks import CacheHint, Text
from app.conversation.capabilities import Capabilities
from app.conversation.request import ReasoningSettings, Request, Sampling, State
from app.errors import InvalidRequest
from app.providers.profiles import capabilities_for
from tests.adaptation.tools.asking import losses, take, user
from tests.adaptation.upstreams import by_chat, by_claude_code, by_codex, chat, claude, responses

OPENAI = capabilities_for("openai_responses", "https://api.openai.com/v1", "gpt-5-mini")


def adapted(request: Request, upstream: Capabilities) -> Request:
    return take(adapt_limits, request, upstream)[0]


def test_a_limit_above_the_models_own_is_lowered() -> None:
    taken, notes = take(adapt_limits, by_claude_code(max_tokens=128000), chat(max_output=16384))

    assert taken.max_tokens == 16384
    assert losses(notes) == [("degrading", "max_tokens")]


def test_messages_always_get_a_limit() -> None:
    assert adapted(by_chat(), claude()).max_tokens == 32000
    assert adapted(by_chat(), claude("claude-3-5-haiku-latest")).max_tokens == 8192
    assert adapted(by_chat(), claude(max_output=1000)).max_tokens == 1000
    assert adapted(by_chat(max_tokens=50), claude()).max_tokens == 50


def test_no_limit_stays_none_elsewhere() -> None:
    assert adapted(by_codex(), chat()).max_tokens is None


def test_an_upstream_that_refuses_limits_gets_none() -> None:
    taken, notes = take(adapt_limits, by_claude_code(max_tokens=512), responses("gpt-5.5", "codex"))

    assert taken.max_tokens is None
    assert losses(notes) == [("degrading", "max_tokens")]


def test_a_request_for_nothing_gets_one_token() -> None:
    taken, notes = take(adapt_limits, by_claude_code(max_tokens=0), chat())

    assert (taken.max_tokens, losses(notes)) == (1, [("degrading", "max_tokens")])


def test_blank_stop_sequences_are_not_for_claude() -> None:
    taken, notes = take(adapt_limits, by_chat(stop=("\n", "END", "")), claude())

    assert taken.stop == ("END",)
    assert losses(notes) == [("degrading", "stop")]
    assert notes.stages == []
    assert adapted(by_chat(stop=("\n",)), chat()).stop == ("\n",)


def test_stop_sequences_beyond_the_limit_are_watched_for_on_the_way_back() -> None:
    taken, notes = take(adapt_limits, by_claude_code(stop=tuple("abcdef")), chat())

    assert taken.stop == tuple("abcd")
    assert [(stage.func, stage.args) for stage in notes.stages if isinstance(stage, partial)] == [
        (StopMatcher, (tuple("abcdef"),))
    ]


def test_responses_have_no_stop_sequences_of_their_own() -> None:
    taken, notes = take(adapt_limits, by_chat(stop=("END",)), responses())

    assert (taken.stop, len(notes.stages), losses(notes)) == ((), 1, [])


def test_temperature_is_held_below_the_upstreams_most() -> None:
    taken, notes = take(adapt_limits, by_chat(sampling=Sampling(temperature=1.7)), claude("claude-sonnet-4-5"))

    assert taken.sampling.temperature == 1.0
    assert losses(notes) == [("degrading", "temperature")]


@pytest.mark.parametrize("upstream", [chat("gpt-5-mini"), responses("o3"), claude("claude-opus-4-7")])
def test_sampling_is_dropped_where_it_is_refused(upstream: Capabilities) -> None:
    taken, notes = take(adapt_limits, by_chat(sampling=Sampling(temperature=0, top_p=0.5, top_k=3)), upstream)

    assert taken.sampling == Sampling()
    assert losses(notes) == [("degrading", "temperature"), ("degrading", "top_p"), ("degrading", "top_k")]


def test_a_default_that_is_dropped_is_no_loss() -> None:
    taken, notes = take(adapt_limits, by_chat(sampling=Sampling(temperature=1, top_p=1)), chat("gpt-5-mini"))

    assert (taken.sampling, losses(notes)) == (Sampling(), [])


def test_temperature_goes_before_top_p_where_only_one_may_be_set() -> None:
    taken, notes = take(
        adapt_limits, by_chat(sampling=Sampling(temperature=0.5, top_p=0.9)), claude("claude-sonnet-4-5")
    )

    assert taken.sampling == Sampling(temperature=0.5)
    assert losses(notes) == [("degrading", "top_p")]


@pytest.mark.parametrize(
    ("knob", "loss"),
    [
        ({"frequency_penalty": 0.5}, "degrading"),
        ({"presence_penalty": 0.5}, "degrading"),
        ({"logit_bias": {"50256": -100.0}}, "degrading"),
        ({"seed": 7}, "ignorable"),
    ],
)
def test_knobs_that_claude_lacks_are_lost_by_their_class(knob: dict[str, Any], loss: str) -> None:
    sampling = Sampling(**knob)

    taken, notes = take(adapt_limits, by_chat(sampling=sampling), claude())

    assert taken.sampling == Sampling()
    assert losses(notes) == [(loss, next(iter(knob)))]
    assert adapted(by_chat(sampling=sampling), chat()).sampling == sampling


def test_several_answers_and_probabilities_are_refused_where_there_are_none() -> None:
    taken, notes = take(adapt_limits, by_chat(n=3, logprobs=2), claude())

    assert (taken.n, taken.logprobs) == (1, None)
    assert losses(notes) == [("wrong", "n"), ("wrong", "logprobs")]


@pytest.mark.parametrize(
    ("state", "lost"),
    [
        (State(previous_id="resp_1"), [("wrong", "previous_response_id")]),
        (State(conversation="conv_1"), [("wrong", "conversation")]),
        (State(background=True), [("wrong", "background")]),
        (State(store=True), [("degrading", "store")]),
        (State(store=False), []),
    ],
)
def test_what_a_server_should_remember_is_refused(state: State, lost: list[tuple[str, str]]) -> None:
    taken, notes = take(adapt_limits, by_codex(state=state), chat())

    assert taken.state == State()
    assert losses(notes) == lost


CLAUDE_CODES = {"device_id": "d" * 64, "account_uuid": "u1", "session_id": "s1"}


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        (
            msgspec.json.encode(CLAUDE_CODES).decode(),
            msgspec.json.encode({"session_id": "s1", "account_uuid": "u1", "device_id": "d" * 64}).decode(),
            msgspec.json.encode(CLAUDE_CODES | {"session_id": "s2"}).decode(),
        ),
        ("user_0123_session_x", "user_0123_session_x", "user_0123_session_y"),
    ],
)
def test_a_user_is_known_by_a_hash_and_a_session_by_another(first: str, second: str, other: str) -> None:
    one, two, three = (adapted(by_claude_code(user=user_id), OPENAI) for user_id in (first, second, other))

    assert one.user == two.user == three.user
    assert one.cache_key == two.cache_key != three.cache_key
    assert all(key and len(key) == 64 and key not in first for key in (one.user, one.cache_key))


def test_a_plain_user_is_never_sent_as_it_is() -> None:
    taken = adapted(by_chat(user="me@example.com"), claude())

    assert taken.user is not None
    assert "example" not in taken.user
    assert len(taken.user) == 64


def test_a_cache_key_is_the_clients_own() -> None:
    assert adapted(by_chat(cache_key="k", user="u"), OPENAI).cache_key == "k"
    assert len(adapted(by_chat(cache_key="k" * 200), OPENAI).cache_key or "") == 64


def test_what_clients_of_chat_say_beside_their_question_any_server_of_responses_gets() -> None:
    said: dict[str, Any] = {"cache_key": "k", "metadata": {"a": "b"}, "service_tier": "flex", "verbosity": "low"}

    taken, notes = take(adapt_limits, by_chat(user="u", **said), responses())

    assert {name: getattr(taken, name) for name in said} == said
    assert (taken.user, losses(notes)) == (None, [("ignorable", "user")])


def test_the_vendor_of_its_own_dialect_gets_a_user_as_the_client_names_it() -> None:
    known = responses(profile="openai")

    assert adapted(by_chat(user="u-1"), known).user == "u-1"
    assert len(adapted(by_chat(user="u" * 65), known).user or "") == 64


def test_unknown_servers_learn_nothing_of_the_user() -> None:
    request = by_codex(user="u", cache_key="k", metadata={"a": "b"}, service_tier="flex", verbosity="low")

    taken, notes = take(adapt_limits, request, chat())

    hints = (taken.user, taken.cache_key, taken.metadata, taken.service_tier, taken.verbosity)
    assert hints == (None, None, None, None, None)
    assert losses(notes) == [
        ("ignorable", "user"),
        ("ignorable", "prompt_cache_key"),
        ("ignorable", "service_tier"),
        ("ignorable", "metadata"),
        ("degrading", "text.verbosity"),
    ]


def test_openai_gets_all_hints() -> None:
    request = by_chat(metadata={"a": "b"}, service_tier="flex", verbosity="low", state=State(store=True))

    assert adapted(request, OPENAI) == request


def test_cache_hints_are_reported_once_where_they_mean_nothing() -> None:
    hint = CacheHint()
    turns = (user(Text("a", cache=hint), Text("b", cache=hint)),)

    _, ignored = take(adapt_limits, by_claude_code(*turns), chat())
    _, used = take(adapt_limits, by_claude_code(*turns), chat("claude-sonnet-5", "openrouter"))

    assert losses(ignored) == [("ignorable", "cache_control")]
    assert losses(used) == []


@pytest.mark.parametrize("make", [chat, responses], ids=["chat", "responses"])
def test_a_reasoning_model_that_does_not_think_takes_a_temperature(make: Any) -> None:
    off = ReasoningSettings(mode="off", effort="none")
    sampling = Sampling(temperature=0.3, top_p=0.9)

    assert adapted(by_codex(sampling=sampling, reasoning=off), make("gpt-5.2")).sampling == sampling
    assert adapted(by_chat(sampling=sampling), make("gpt-5.1")).sampling == sampling
    assert adapted(by_chat(sampling=sampling), make("gpt-5.2")).sampling == Sampling()
    assert adapted(by_chat(sampling=sampling, reasoning=off), make("gpt-5-mini")).sampling == Sampling()
    assert adapted(by_chat(logprobs=2, reasoning=off), make("gpt-5.2")).logprobs == 2


@pytest.mark.parametrize(
    ("stop", "upstream"),
    [
        (("a" * 100_000, "b", "c", "d", "e"), chat()),
        (tuple("a" * length for length in range(1, 1200)), chat()),
        (("a" * 200_000,), responses()),
        (tuple(f"{number:06}" for number in range(50_000)), responses()),
    ],
)
def test_stop_sequences_to_watch_for_take_no_memory_without_end(stop: tuple[str, ...], upstream: Capabilities) -> None:
    """Each of their beginnings is kept: those of one of 100,000 characters would take gigabytes."""
    with pytest.raises(InvalidRequest, match="shorter"):
        take(adapt_limits, by_chat(stop=stop), upstream)


def test_as_many_stop_sequences_as_anybody_has_are_watched_for() -> None:
    stop = tuple(f"\n\nStop {number:04}:" for number in range(100))

    taken, notes = take(adapt_limits, by_chat(stop=stop), chat())
    tracemalloc.start()
    StopMatcher(("x" * MAX_WATCHED,))
    _, maximum = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (taken.stop, len(notes.stages)) == (stop[:4], 1)
    assert maximum < 8 << 20
