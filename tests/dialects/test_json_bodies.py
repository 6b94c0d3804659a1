from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.json_bodies import encode_body, read_body, read_value, repair_surrogates, replace_model
from app.errors import InvalidRequest


@pytest.mark.parametrize(
    ("body", "renamed"),
    [
        (b'{"model":"m","x":1}', b'{"model":"new","x":1}'),
        (b' { "model" : "m" }', b' { "model" : "new" }'),
        (b'{"x":{"model":"m"},"model":"m"}', b'{"x":{"model":"m"},"model":"new"}'),
        (b'{"x":"\\"model\\":\\"m\\"","model":"m"}', b'{"x":"\\"model\\":\\"m\\"","model":"new"}'),
        (b'{"x":["model"],"model":"a\\"b"}', b'{"x":["model"],"model":"new"}'),
        (b'{"m\\u006fdel":"m","x":1.0}', b'{"model":"new","x":1.0}'),
        (b'{"x":1}', b'{"x":1}'),
        (b'{"model":"new"}', b'{"model":"new"}'),
        (b'{"x":"\\u00e9 \\u2019","model": "m","y":[]}', b'{"x":"\\u00e9 \\u2019","model": "new","y":[]}'),
        (b'{"x":"model","mod\\u0065l":"m"}', b'{"x":"model","model":"new"}'),
        (b'{"x":[{"model":"m"}],"mo\\u0064el":"m"}', b'{"x":[{"model":"m"}],"model":"new"}'),
    ],
)
def test_only_the_name_of_the_model_is_replaced(body: bytes, renamed: bytes) -> None:
    for old in (None, json.loads(body).get("model")):
        assert replace_model(body, "new", old=old) == renamed


@pytest.mark.parametrize("old", [None, "m"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"other","x":1,"model":"m"}',
        b'{"model":"m","x":1,"model":"m"}',
        b'{"model":"new","x":1,"model":"m"}',
        b'{"model":"other","x":1,"mod\\u0065l":"m"}',
        b'{"mod\\u0065l":"other","x":1,"model" : "m"}',
        b'{"x":{"a":1,"model":"m"},"model":"m","x":1}',
        b'{"x":{"a":2,"model":"m"},"model":"m","x":1      }',
    ],
)
def test_of_several_models_only_the_new_one_is_left(body: bytes, old: str | None) -> None:
    pairs = json.loads(replace_model(body, "new", old=old), object_pairs_hook=list)

    assert [value for key, value in pairs if key == "model"] == ["new"]


@given(
    fields=st.dictionaries(
        st.text(max_size=5), st.recursive(st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
    ),
    model=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    position=st.integers(0, 5),
)
def test_any_object_keeps_its_other_fields(fields: dict[str, object], model: str, position: int) -> None:
    items = [item for item in fields.items() if item[0] != "model"]
    items.insert(position, ("model", {"model": "m"} if position == 3 else "m"))
    body = json.dumps(dict(items)).encode()

    for old in (None, json.loads(body)["model"]):
        assert json.loads(replace_model(body, model, old=old)) == {**dict(items), "model": model}


def test_halves_of_surrogate_pairs_are_replaced_and_pairs_are_not() -> None:
    text = rb'"\ud83d\ude00 \\ud800 \ud800 \udc00x\n\u00e9"'

    assert repair_surrogates(text) == rb'"\ud83d\ude00 \\ud800 \ufffd \ufffdx\n\u00e9"'


def test_halves_in_text_are_joined_or_replaced_when_written() -> None:
    value = {"a": ["x\ud83d", "\ud83d\ude00"], "raw": msgspec.Raw(b"1.0")}

    assert encode_body(value) == '{"a":["x\ufffd","\U0001f600"],"raw":1.0}'.encode()


@pytest.mark.parametrize("body", [b"", b"[1]", b"5", b'{"a', b'{"a":"\xff"}', b'{"a":' + b"[" * 100_000])
def test_what_is_no_object_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_body(body)


def test_a_wrong_value_is_named_by_its_whole_path() -> None:
    decoder = msgspec.json.Decoder(dict[str, list[int]])

    with pytest.raises(InvalidRequest, match="expected an integer, but got a string") as caught:
        read_value(msgspec.Raw(b'{"b":[1,"x"]}'), decoder, "a")

    assert caught.value.failure.param is not None
    assert caught.value.failure.param.startswith("a")
