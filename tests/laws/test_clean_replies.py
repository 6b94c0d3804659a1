"""A whole answer that passes as clean is what the repair of answers would make of it."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dialects.contract import Dialect
from app.errors import DragomanError
from tests.laws.cases import CONTEXT, DIALECTS, WIRE, every_dialect
from tests.laws.test_plain_passing import UPSTREAMS

RECORDED = {
    dialect.NAME: [json.loads(path.read_bytes()) for path in sorted((WIRE / dialect.NAME / "responses").glob("*.json"))]
    for dialect in DIALECTS
}
_values = st.sampled_from(
    (None, True, False, 0, 1, -1, 0.5, 10**30, "", "word", "null", "end_turn", "tool_use", "stop", "tool_calls",
     "completed", "error", "output_text", "\ud800", "é", "{}{}", [], {}, [None], {"error": {"message": "m"}},
     {"model": "inner"}),
)  # fmt: skip
_names = st.sampled_from(("error", "model", "odd", "usage", "message", "input", "id", "type", "annotations", "status"))


@st.composite
def replies(draw: st.DrawFn, dialect: Dialect) -> bytes:
    """A recorded answer, changed at a few places."""
    reply = deepcopy(draw(st.sampled_from(RECORDED[dialect.NAME])))
    for _ in range(draw(st.integers(0, 3))):
        holders = list(_containers(reply))
        holder = draw(st.sampled_from(holders))
        match holder:
            case dict():
                name = draw(st.sampled_from(list(holder)) | _names if holder else _names)
                if draw(st.booleans()):
                    holder[name] = deepcopy(draw(_values))
                else:
                    holder.pop(name, None)
            case list():
                holder.append(deepcopy(holder[0] if holder and draw(st.booleans()) else draw(_values)))
    separators = draw(st.sampled_from(((",", ":"), (", ", ": "))))
    return json.dumps(reply, separators=separators, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")


def _containers(value: Any) -> Any:
    if isinstance(value, dict | list):
        yield value
        for inner in list(value.values() if isinstance(value, dict) else value):
            yield from _containers(inner)


def repair(dialect: Dialect, body: bytes, upstream: Any) -> Any:
    """What is made of an answer that is not taken for clean."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[dialect.pass_clean.__module__], "pass_clean", lambda body, model: None)
        try:
            return dialect.pass_response(body, CONTEXT, upstream)
        except DragomanError as error:
            return error


@pytest.mark.parametrize("dialect", every_dialect())
@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_what_passes_as_clean_needs_no_repair(dialect: Dialect, data: st.DataObject) -> None:
    body, upstream = data.draw(replies(dialect)), data.draw(st.sampled_from(UPSTREAMS[dialect.NAME]))

    clean = dialect.pass_clean(body, CONTEXT.model)

    assert clean is None or clean == repair(dialect, body, upstream)


@pytest.mark.parametrize("dialect", every_dialect())
def test_recorded_answers_are_mostly_clean(dialect: Dialect) -> None:
    bodies = [msgspec.json.encode(reply) for reply in RECORDED[dialect.NAME]]

    clean = [body for body in bodies if dialect.pass_clean(body, CONTEXT.model) is not None]

    assert len(clean) > len(bodies) // 3
    for body in clean:
        assert dialect.pass_clean(body, CONTEXT.model) == repair(dialect, body, UPSTREAMS[dialect.NAME][0])
