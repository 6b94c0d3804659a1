"""`dragoman config schema`: the schema that editors get takes what the program takes, and the published one is it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cli.machine import Machine

ROOT = Path(__file__).parents[3]
GOOD = [
    "",
    '[server]\nport = 80\napi_keys = ["${KEY}"]\nworkers = "${WORKERS}"\n',
    "[providers.ollama]\n[providers.oca]\ncontext_window = { big = 1000 }\n",
    '[models]\ndefault = "a/b"\n[models.routes]\na = "b/c"\nd = ["e/f", "g/h"]\ni = { target = "j/k" }\n',
    '[prices]\n"m" = { input = 1.5, output = 2 }\n',
]
BAD = [
    "[server]\nprot = 80\n",
    '[server]\nport = "eighty"\n',
    "[server]\nport = 99999\n",
    "[nowhere]\n",
    '[models.routes]\na = { fallback = "b/c" }\n',
    '[providers.a]\nprofile = "nobody"\n',
]


@pytest.fixture
def schema(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("config", "schema").stdout)
    return found


@pytest.mark.parametrize("text", GOOD)
def test_what_the_program_takes_is_valid(text: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)

    jsonschema.validate(tomllib.loads(text), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("text", BAD)
def test_what_the_program_refuses_is_not(text: str, schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema, jsonschema.Draft202012Validator)


def test_the_published_schema_is_that_of_the_program(schema: dict[str, Any]) -> None:
    published = json.loads((ROOT / "docs" / "dragoman.schema.json").read_text())

    assert published == schema, "run: dragoman config schema > docs/dragoman.schema.json"
