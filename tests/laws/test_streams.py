"""The laws of streams: fold, chunking, lifecycle, truncation, identity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.conversation.blocks import Refusal, Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockNoted, BlockOpened, Event, Failed, Finished, Started
from app.conversation.request import Request
from app.conversation.response import FinishReason, Response
from app.conversation.streams.fold import fold, unfold
from app.errors import UpstreamError, UpstreamRefused
from app.sse import SseDecoder
from tests.laws.cases import (
    CONTEXT,
    DIALECTS,
    MENDED,
    ending,
    every_clean_stream,
    every_dialect,
    every_file,
    every_twin,
    explanation,
    form_of,
    generous,
    is_mended,
    parse_stream,
    payloads,
    spoken,
    without_searches,
)

BYTE_BY_BYTE_LIMIT = 20_000  # bytes of a stream

# What the reasons of an end become where a dialect has no word for them.
_PLAIN: dict[FinishReason, FinishReason] = {"stop_sequence": "stop", "compaction": "stop"}
ENDS: dict[str, dict[FinishReason, FinishReason]] = {"chat": _PLAIN, "items": _PLAIN, "messages": {}}

# A refusal is how an answer ended, or part of a whole answer.
REFUSED: dict[str, FinishReason] = {"messages": "content_filter", "items": "stop"}

# What stands between a commentary and an answer where both are one text.
PARTED = {"chat": "\n\n"}


@pytest.mark.parametrize(("dialect", "stream", "whole"), every_twin())
def test_a_stream_folds_into_its_whole_answer(dialect: ModuleType, stream: Path, whole: Path) -> None:
    folded = fold(parse_stream(dialect, payloads(stream.read_bytes())))

    assert folded == dialect.parse_response(whole.read_bytes())


@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_stream_cut_at_every_byte_gives_the_same_events(dialect: ModuleType, path: Path) -> None:
    stream = path.read_bytes()[:BYTE_BY_BYTE_LIMIT]

    pieces = [stream[index : index + 1] for index in range(len(stream))]

    assert _parse_pieces(dialect, pieces) == _parse_pieces(dialect, [stream])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_stream_cut_anywhere_gives_the_same_events_and_bytes(
    dialect: ModuleType, path: Path, data: st.DataObject
) -> None:
    stream = path.read_bytes()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert _parse_pieces(dialect, pieces) == _parse_pieces(dialect, [stream])
    passed, whole = _pass_pieces(dialect, pieces), _pass_pieces(dialect, [stream])
    # Where a carriage return was met decides which line ends are made uniform; what they frame stays the same.
    assert payloads(passed) == payloads(whole) if b"\r" in stream else passed == whole


@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_each_block_opens_once_closes_once_and_speaks_in_between(dialect: ModuleType, path: Path) -> None:
    events = parse_stream(dialect, payloads(path.read_bytes()))

    opened: list[int] = []
    running: set[int] = set()
    for event in events:
        match event:
            case BlockOpened(index=index):
                assert index == len(opened), "indices count the openings"
                opened.append(index)
                running.add(index)
            case BlockDelta(index=index) | BlockNoted(index=index):
                assert index in running, "a delta outside its block"
            case BlockClosed(index=index):
                assert index in running, "closed twice, or never opened"
                running.discard(index)
            case Finished():
                assert not running, "blocks are open at the end"
            case _:
                pass
    assert isinstance(ending(events), Finished | Failed)


@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_truncated_stream_never_ends_as_if_it_were_whole(dialect: ModuleType, path: Path) -> None:
    data = payloads(path.read_bytes())
    whole = parse_stream(dialect, data)

    for length in range(len(data)):
        cut = parse_stream(dialect, data[:length])
        if isinstance(ending(cut), Finished):
            assert fold(cut).blocks == fold(whole).blocks, f"after {length} events"
            assert fold(cut).finish_reason == fold(whole).finish_reason


@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_truncated_passthrough_tells_the_client(dialect: ModuleType, path: Path) -> None:
    stream = path.read_bytes().replace(b"\r\n", b"\n")
    events = [event + b"\n\n" for event in stream.split(b"\n\n") if event]
    capabilities = generous(dialect, _anything(dialect))

    for length in range(1, len(events)):
        passing = dialect.StreamPassthrough(CONTEXT, capabilities)
        out = b""
        try:
            out = passing.feed(b"".join(events[:length]))
            out += passing.close()
        except UpstreamRefused:
            assert out == b"", "a failure that is raised must be the first thing that the client hears"
            continue

        if isinstance(ending(parse_stream(dialect, payloads(b"".join(events[:length])))), Finished):
            continue
        assert isinstance(ending(parse_stream(dialect, payloads(out))), Failed), f"after {length} events"


@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_clean_stream_passes_byte_by_byte_and_a_mended_one_says_the_same(dialect: ModuleType, path: Path) -> None:
    stream = path.read_bytes()
    events = parse_stream(dialect, payloads(stream))
    model = started.model if (started := _started(events)) else CONTEXT.model
    context = msgspec.structs.replace(CONTEXT, model=model, input_tokens=0)  # so that no counts are estimated
    passing = dialect.StreamPassthrough(context, generous(dialect, _anything(dialect)))

    out = passing.feed(stream) + passing.close()

    assert (out == stream) is not is_mended(path), f"{MENDED} is wrong about it"
    mended = parse_stream(dialect, payloads(out))
    assert _outcome(mended) == _outcome(events)


@pytest.mark.parametrize(("dialect", "path"), every_file("responses"))
def test_a_clean_answer_passes_byte_by_byte_and_a_mended_one_says_the_same(dialect: ModuleType, path: Path) -> None:
    body = path.read_bytes()
    response = dialect.parse_response(body)
    context = msgspec.structs.replace(CONTEXT, model=response.model)

    out, _ = dialect.pass_response(body, context, generous(dialect, _anything(dialect)))

    assert (out == body) is not is_mended(path), f"{MENDED} is wrong about it"
    mended = dialect.parse_response(out)
    assert (spoken(mended), mended.finish_reason, mended.usage) == (
        spoken(response), response.finish_reason, response.usage
    )  # fmt: skip


@pytest.mark.parametrize("client", [pytest.param(dialect, id=f"for-{dialect.NAME}") for dialect in DIALECTS])
@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_every_client_hears_what_the_upstream_said(dialect: ModuleType, path: Path, client: ModuleType) -> None:
    events = parse_stream(dialect, payloads(path.read_bytes()))

    rendered = _render(client, events)
    heard = parse_stream(client, payloads(rendered))

    match ending(events):
        case Failed(failure=failure):
            told = ending(heard)
            assert isinstance(told, Failed)
            assert told.failure.kind == failure.kind
            assert failure.message in told.failure.message
        case _:
            _check_heard(client, fold(events), fold(heard))
            if form_of(client.NAME) == "items":
                assert _broken_off(heard) or not _broken_off(events)


@pytest.mark.parametrize(("dialect", "path"), every_clean_stream())
def test_a_stream_that_is_written_is_numbered_like_one_of_the_vendor(dialect: ModuleType, path: Path) -> None:
    data = payloads(path.read_bytes())

    written = payloads(_render(dialect, parse_stream(dialect, data)))

    assert _numbers(written) == _numbers(data)
    assert (written[-1] == b"[DONE]") == (data[-1] == b"[DONE]")
    events = [json.loads(payload) for payload in written if payload != b"[DONE]"]
    counted = [event["sequence_number"] for event in events if "sequence_number" in event]
    assert counted == list(range(len(counted)))


@pytest.mark.parametrize(("dialect", "path"), every_file("responses"))
def test_an_answer_without_a_place_for_words_is_the_upstreams_fault(dialect: ModuleType, path: Path) -> None:
    answer = json.loads(path.read_bytes())
    match form_of(dialect.NAME):
        case "chat":
            for choice in answer["choices"]:
                del choice["message"]
        case "messages":
            del answer["content"]
        case _:
            del answer["output"]

    with pytest.raises(UpstreamError):
        dialect.parse_response(json.dumps(answer).encode())


@pytest.mark.parametrize("client", [pytest.param(dialect, id=f"for-{dialect.NAME}") for dialect in DIALECTS])
@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_cut_upstream_gives_every_client_an_error(dialect: ModuleType, path: Path, client: ModuleType) -> None:
    data = payloads(path.read_bytes())

    for length in range(1, len(data)):
        events = parse_stream(dialect, data[:length])
        if isinstance(ending(events), Failed):
            heard = parse_stream(client, payloads(_render(client, events)))
            assert isinstance(ending(heard), Failed), f"after {length} events"


@pytest.mark.parametrize("client", [pytest.param(dialect, id=f"for-{dialect.NAME}") for dialect in DIALECTS])
@pytest.mark.parametrize(("dialect", "path"), every_file("responses"))
def test_every_client_reads_a_whole_answer(dialect: ModuleType, path: Path, client: ModuleType) -> None:
    response = dialect.parse_response(path.read_bytes())

    again = client.parse_response(client.render_response(response, CONTEXT))

    _check_heard(client, response, again)


@pytest.mark.parametrize("client", every_dialect())
def test_an_end_mark_that_the_client_did_not_ask_for_is_a_normal_end(client: ModuleType) -> None:
    response = Response(id="r", model="m", blocks=(Text("so"),), finish_reason="stop_sequence", stop_sequence="<eos>")
    context = msgspec.structs.replace(CONTEXT, request=_anything(client))
    renderer = client.StreamRenderer(context)

    whole = client.parse_response(client.render_response(response, context))
    heard = fold(parse_stream(client, payloads(renderer.feed(unfold(response)) + renderer.close())))

    assert (whole.finish_reason, whole.stop_sequence) == ("stop", None)
    assert (heard.finish_reason, heard.stop_sequence) == ("stop", None)


def _check_heard(client: ModuleType, said: Response, heard: Response) -> None:
    """What a client heard is what was said: the words, why they ended, and what they cost."""
    form = form_of(client.NAME)
    expected = spoken(said, parted=PARTED.get(form, ""), noted=form == "chat")
    assert spoken(heard, explanation(said)) == expected
    reason = said.finish_reason
    if reason in ("stop", "content_filter") and any(isinstance(block, Refusal) for block in said.blocks):
        reason = REFUSED.get(form, reason)
    assert heard.finish_reason == ENDS[form].get(reason, reason)
    if form == "messages":
        assert heard.stop_sequence == said.stop_sequence
    assert _cited(heard) == _cited(said)
    why = explanation(said)
    if why is not None and (form != "items" or not any(isinstance(block, Text) for block in said.blocks)):
        refusals = [block.text for block in heard.blocks if isinstance(block, Refusal)]
        assert why in (*refusals, explanation(heard))
    if said.finish_reason != "length":
        calls = [block for block in heard.blocks if isinstance(block, ToolCall) and block.kind == "function"]
        assert all(call.arguments for call in calls), "clients parse arguments, so none are {}"
    if said.usage is not None:
        assert heard.usage is not None
        assert without_searches(heard.usage) == without_searches(said.usage)


def _cited(response: Response) -> list[str]:
    """The pages that the texts of an answer name, in whichever dialect's form."""
    texts = [block for block in response.blocks if isinstance(block, Text)]
    found = [citation.get("url_citation", citation) for text in texts for citation in text.citations]
    return [str(citation.get("url")) for citation in found]


def _parse_pieces(dialect: ModuleType, pieces: list[bytes]) -> list[Event]:
    decoder, parser = SseDecoder(), dialect.StreamParser()
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(decoder.feed(piece))
    return events + parser.feed(decoder.close()) + parser.close()


def _pass_pieces(dialect: ModuleType, pieces: list[bytes]) -> bytes:
    passing = dialect.StreamPassthrough(CONTEXT, generous(dialect, _anything(dialect)))
    out = b""
    try:
        for piece in pieces:
            out += passing.feed(piece)
        return out + passing.close()
    except UpstreamRefused as error:
        return out + repr(error.failure).encode()


def _render(client: ModuleType, events: list[Event]) -> bytes:
    renderer = client.StreamRenderer(CONTEXT)
    return renderer.feed(events) + renderer.close()


def _anything(dialect: ModuleType) -> Request:
    return Request(dialect=dialect.NAME, model="m", turns=())


def _broken_off(events: list[Event]) -> bool:
    return any(isinstance(event, BlockClosed) and event.incomplete for event in events)


def _numbers(data: Sequence[bytes]) -> set[tuple[str, int]]:
    """The numbers of blocks, items and calls in the payloads of a stream."""
    found: set[tuple[str, int]] = set()

    def collect(value: Any) -> None:
        match value:
            case dict():
                numbers = ((name, value.get(name)) for name in ("index", "output_index"))
                found.update((name, number) for name, number in numbers if isinstance(number, int))
                for item in value.values():
                    collect(item)
            case list():
                for item in value:
                    collect(item)

    for payload in data:
        if payload != b"[DONE]":
            collect(json.loads(payload))
    return found


def _started(events: list[Event]) -> Started | None:
    return next((event for event in events if isinstance(event, Started)), None)


def _outcome(events: list[Event]) -> Any:
    """What a stream says from its beginning to its end, or how it failed."""
    match ending(events):
        case Failed(failure=failure):
            return failure.kind, failure.message
        case _:
            response = fold(events)
            return spoken(response), response.finish_reason, response.usage
