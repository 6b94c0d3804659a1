"""The pages that are made of the code say what it says, and the endpoints answer as openapi.json describes them."""

from __future__ import annotations

import importlib.util
import json
import re
import urllib.error
import urllib.request
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from tests.docs.blocks import ROOT
from tests.support.gateway_process import GatewayProcess

SITE = ROOT / "deploy" / "site"
API = json.loads((ROOT / "docs" / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in API["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", SITE / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_made_page_is_what_would_be_made_now(reference: ModuleType) -> None:
    for name, text in reference.make_pages().items():
        assert (ROOT / "docs" / name).read_text() == text, f"{name} is stale; run: make reference"


def test_every_route_of_the_code_is_described_and_nothing_else(reference: ModuleType) -> None:
    described = {(method.upper(), path) for path, method in OPERATIONS}

    assert described == set(reference.list_routes())


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: value)
def test_an_endpoint_answers_as_it_is_described(path: str, method: str, demo: GatewayProcess) -> None:
    operation = API["paths"][path][method]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    jsonschema.Draft202012Validator.check_schema(body.get("schema", {}))
    sent = json.dumps(body["example"]).encode() if body else (b"{}" if method == "post" else None)
    named = path.replace("{name}", "demo/demo")
    request = urllib.request.Request(
        demo.url + re.sub(r"\{\w+\}", "nothing", named),
        sent,
        {"content-type": "application/json"},
        method=method.upper(),
    )

    status, kind, answer = ask(request)

    if status == 200:
        described = operation["responses"]["200"]["content"]
        assert kind in described
        if kind == "application/json":
            jsonschema.validate(json.loads(answer), described[kind]["schema"])
    elif status != 204:
        # What needs an id of something that was made before, or a provider that the demo is not.
        assert "{" in path or "requestBody" not in operation
        assert status < 500
        jsonschema.validate(json.loads(answer), resolve(operation["responses"]["default"]["content"]))


def ask(request: urllib.request.Request) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            kind = reply.headers.get_content_type()
            # What is asked without `stream` and streams all the same has no end.
            return reply.status, kind, b"" if kind == "text/event-stream" else reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()


def resolve(content: dict[str, Any]) -> dict[str, Any]:
    (name,) = re.findall(r"\w+$", content["application/json"]["schema"]["$ref"])
    schema: dict[str, Any] = API["components"]["schemas"][name]
    return schema
