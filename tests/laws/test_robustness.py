"""The law that whatever arrives, a dialect answers it with one of our errors or not at all."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidRequest, Unsupported, UpstreamError
from tests.laws.cases import CONTEXT, every_file, generous, parse_stream, payloads
from tests.support.same_dialect import send_on

ODD_VALUES = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**20, "", "x", "\ud83d", "gw1.x", [], {}, [None], [[]], {"type": "x"}, {"type": None}]
)
thorough = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@thorough
@given(data=st.data())
@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_a_request_with_something_odd_in_it_is_served_or_refused(
    dialect: ModuleType, path: Path, data: st.DataObject
) -> None:
    body = json.dumps(_spoil(json.loads(path.read_bytes()), data)).encode()

    try:
        request = dialect.parse_request(body, {})
        capabilities = generous(dialect, request)
        rendered = dialect.render_request(request, capabilities)
        patched = send_on(dialect, body, capabilities)
    except (InvalidRequest, Unsupported):
        return

    assert json.loads(rendered.body)
    assert json.loads(patched.body)


@thorough
@given(data=st.data())
@pytest.mark.parametrize(("dialect", "path"), every_file("responses"))
def test_an_answer_with_something_odd_in_it_is_read_or_reported(
    dialect: ModuleType, path: Path, data: st.DataObject
) -> None:
    body = json.dumps(_spoil(json.loads(path.read_bytes()), data)).encode()

    try:
        response = dialect.parse_response(body)
    except UpstreamError:
        return

    assert json.loads(dialect.render_response(response, CONTEXT))


@thorough
@given(data=st.data())
@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_a_stream_with_something_odd_in_it_is_read_or_fails(
    dialect: ModuleType, path: Path, data: st.DataObject
) -> None:
    events = payloads(path.read_bytes())
    place = data.draw(st.integers(0, len(events) - 1))
    try:
        events[place] = json.dumps(_spoil(json.loads(events[place]), data)).encode()
    except ValueError:
        events[place] = b"{"

    heard = parse_stream(dialect, events)
    renderer = dialect.StreamRenderer(CONTEXT)
    rendered = renderer.feed(heard) + renderer.close()

    assert rendered.endswith(b"\n\n")


def _spoil(value: Any, data: st.DataObject) -> Any:
    """A copy of JSON data in which one place holds an odd value, or is missing."""
    spoiled = copy.deepcopy(value)
    places = list(_places(spoiled))
    if not places:
        return spoiled
    holder, key = data.draw(st.sampled_from(places))
    if isinstance(holder, dict) and data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(ODD_VALUES)
    return spoiled


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)
