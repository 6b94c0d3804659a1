"""The specification of how schemas are fitted to what an upstream understands."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.conversation.schemas import SchemaStyle, is_openai_strict, sanitize, to_anthropic_subset, wrap_root

STYLES: tuple[SchemaStyle, ...] = ("object", "anthropic", "openai", "gemini")

KEYWORD_NAMES = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("format", "const", "$ref", "default", "$schema", "oneOf")},
    "required": ["format"],
}


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize("style", STYLES)
def test_properties_that_are_named_like_keywords_survive(style: SchemaStyle) -> None:
    schema, lost = sanitize(KEYWORD_NAMES, style)

    assert schema == KEYWORD_NAMES
    assert not lost


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"type": ["object", "null"]}])
def test_the_root_is_always_an_object(style: SchemaStyle, schema: dict[str, Any] | None) -> None:
    assert sanitize(schema, style)[0] | {"nullable": 0} == {"type": "object", "properties": {}, "nullable": 0}


@pytest.mark.parametrize("style", STYLES)
def test_arguments_that_are_no_object_are_wrapped(style: SchemaStyle) -> None:
    schema, lost = sanitize({"type": "string"}, style)

    assert schema == {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]}
    assert len(lost) == 1


@pytest.mark.parametrize(
    "schema",
    [{"type": "array"}, {"anyOf": [obj(), obj()]}, {"enum": [1]}, {"type": ["object", "null"]}, obj() | {"anyOf": []}],
)
def test_a_root_that_may_be_no_object_is_put_into_one(schema: dict[str, Any]) -> None:
    wrapped = wrap_root(schema)

    assert wrapped["properties"] == {"value": schema}
    assert is_openai_strict({**wrapped, "properties": {"value": {}}})


@pytest.mark.parametrize("schema", [{}, obj(), {"properties": {}}])
def test_a_root_that_is_an_object_stays(schema: dict[str, Any]) -> None:
    assert wrap_root(schema) is schema


def test_references_find_what_they_name_in_a_schema_that_was_wrapped() -> None:
    schema = {
        "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/a"}]},
        "type": "array",
        "$defs": {"a": {"$ref": "#/items"}},
    }

    wrapped = wrap_root(schema)

    inner = wrapped["properties"]["value"]
    assert inner == {"items": {"anyOf": [{"$ref": "#/properties/value"}, {"$ref": "#/$defs/a"}]}, "type": "array"}
    assert wrapped["$defs"] == {"a": {"$ref": "#/properties/value/items"}}


def test_a_union_at_the_root_is_merged() -> None:
    union = {"anyOf": [obj(a={}, b={}) | {"required": ["a", "b"]}, obj(a={}, c={}) | {"required": ["a"]}]}

    schema, lost = sanitize(union, "anthropic")

    assert schema == obj(a={}, b={}, c={}) | {"required": ["a"]}
    assert len(lost) == 1


def test_all_parts_of_an_intersection_are_required() -> None:
    both = {"allOf": [obj(a={}) | {"required": ["a"]}, obj(b={}) | {"required": ["b"]}]}

    assert sanitize(both, "object")[0]["required"] == ["a", "b"]


def test_what_says_nothing_to_a_model_is_left_out() -> None:
    assert sanitize(obj() | {"$schema": "x", "$id": "y", "$comment": "z"}, "openai") == (obj(), ())


def test_an_upstream_of_any_taste_gets_the_schema_as_it_is() -> None:
    schema = obj() | {"$schema": "x"}

    assert sanitize(schema, "any")[0] is schema


# ---- gemini


def test_a_type_or_null_is_nullable_for_gemini() -> None:
    schema, _ = sanitize(obj(x={"type": ["string", "null"], "format": "uri"}), "gemini")

    assert schema == obj(x={"type": "string", "nullable": True})


def test_references_are_written_out_for_gemini() -> None:
    schema, _ = sanitize(
        obj(x={"$ref": "#/$defs/P", "description": "a point"}) | {"$defs": {"P": obj(y={"type": "integer"})}}, "gemini"
    )

    assert schema == obj(x=obj(y={"type": "integer"}) | {"description": "a point"})


def test_a_recursive_reference_ends_for_gemini() -> None:
    tree = obj(left={"$ref": "#/$defs/Tree"})

    schema, lost = sanitize(obj(root={"$ref": "#/$defs/Tree"}) | {"$defs": {"Tree": tree}}, "gemini")

    assert schema == obj(root=obj(left={"type": "object"}))
    assert lost == ("the reference #/$defs/Tree cannot be resolved",)


def test_references_that_multiply_end() -> None:
    definitions = {f"d{n}": obj(a={"$ref": f"#/$defs/d{n + 1}"}, b={"$ref": f"#/$defs/d{n + 1}"}) for n in range(40)}

    _, lost = sanitize(obj(x={"$ref": "#/$defs/d0"}) | {"$defs": definitions}, "gemini")

    assert lost


def test_keywords_that_gemini_refuses_go() -> None:
    schema, lost = sanitize(
        obj(a={"const": "x"}, b={"oneOf": [{"type": "string"}]}, c={"type": "integer", "exclusiveMinimum": 0})
        | {"additionalProperties": False, "propertyNames": {"pattern": "x"}},
        "gemini",
    )

    assert schema == obj(a={"type": "string", "enum": ["x"]}, b={"anyOf": [{"type": "string"}]}, c={"type": "integer"})
    assert set(lost) == {
        "the upstream does not support `exclusiveMinimum`",
        "the upstream does not support `propertyNames`",
    }


# ---- anthropic


def test_objects_are_closed_for_anthropic() -> None:
    schema, _ = to_anthropic_subset(obj(a=obj()))

    assert schema == obj(a=obj() | {"additionalProperties": False}) | {"additionalProperties": False}


def test_what_anthropic_lacks_is_told_in_the_description() -> None:
    schema, lost = to_anthropic_subset({"type": "string", "format": "uri", "maxLength": 80, "description": "A link."})

    assert schema == {"type": "string", "format": "uri", "description": "A link.\n{maxLength: 80}"}
    assert lost == ("`maxLength` is given only in the description",)


def test_a_choice_of_one_is_a_choice_of_any_for_anthropic() -> None:
    schema, lost = to_anthropic_subset({"oneOf": [{"type": "string"}, {"type": "null"}]})

    assert schema == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert not lost


def test_old_definitions_are_found_under_their_new_name() -> None:
    schema, _ = to_anthropic_subset({"$ref": "#/definitions/A", "definitions": {"A": {"type": "string"}}})

    assert schema == {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}


# ---- openai


def test_strict_needs_each_object_closed_and_each_property_required() -> None:
    closed = obj(a={"type": "string"}) | {"required": ["a"], "additionalProperties": False}

    assert is_openai_strict(closed)
    assert not is_openai_strict(obj(a={"type": "string"}) | {"additionalProperties": False})
    assert not is_openai_strict(obj(a={"type": "string"}) | {"required": ["a"]})
    assert not is_openai_strict(obj(b=obj()) | {"required": ["b"], "additionalProperties": False})


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["object", "string", "#/$defs/a", "uri", "null"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "items", "anyOf", "allOf", "$ref", "$defs", "format", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "anyOf", "$defs", "$ref", "required", "a"]), _VALUES))
def test_no_schema_breaks_it_or_is_changed(schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)

    for style in STYLES:
        assert sanitize(schema, style)[0]["type"] == "object"
    to_anthropic_subset(schema)
    is_openai_strict(schema)

    assert schema == before
