"""Which endpoint a path leads to, and with which parts."""

from __future__ import annotations

import pytest

from app.blueprints.endpoints import Endpoint, Endpoints
from app.dialects.registry import DIALECTS

PLAIN, PARTED = Endpoint(DIALECTS["openai_chat"]), Endpoint(DIALECTS["anthropic_messages"])
ENDPOINTS = Endpoints(
    {
        "/v1/talk": PLAIN,
        "/v4/models/list:talk": PLAIN,
        "/v4/models/<path:model>:<any(talk, stream):action>": PARTED,
        "/v4/<session>/models/<path:model>:<any(talk, stream):action>": PARTED,
    }
)


def test_a_plain_path_has_no_parts_and_goes_before_one_with_parts() -> None:
    assert ENDPOINTS.plain["/v1/talk"] == (PLAIN, {})
    assert ENDPOINTS.plain["/v4/models/list:talk"] == (PLAIN, {})
    assert ENDPOINTS.roots == {"v1", "v4"}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/v4/models/m:talk", {"model": "m", "action": "talk"}),
        ("/v4/models/up/qwen3:8b:stream", {"model": "up/qwen3:8b", "action": "stream"}),
        ("/v4/s1/models/m:talk", {"session": "s1", "model": "m", "action": "talk"}),
        ("/v4/models/caf\xc3\xa9:talk", {"model": "café", "action": "talk"}),
        ("/v4/models/caf\xe9:talk", {"model": "caf\ufffd", "action": "talk"}),
    ],
)
def test_the_parts_of_a_path_are_found(path: str, parts: dict[str, str]) -> None:
    assert ENDPOINTS.match(path) == (PARTED, parts)


@pytest.mark.parametrize(
    "path", ["/v4/models/m:sing", "/v4/models/:talk", "/v4/models/m", "/v4//models/m:talk/", "", "/"]
)
def test_any_other_path_leads_to_no_endpoint(path: str) -> None:
    assert ENDPOINTS.match(path) is None
    assert Endpoints({"/v1/talk": PLAIN}).match(path) is None


def test_a_long_path_is_judged_at_once() -> None:
    assert ENDPOINTS.match("/v4/models/" + "a:" * 30_000) is None
