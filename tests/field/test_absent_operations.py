"""Operations that an upstream lacks, and ids that it does not know: the statuses of the vendor."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

WHOLE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "THE SUMMARY", "annotations": []}],
        }
    ],
}


@pytest.fixture
def responses(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    """A client of a gateway with an upstream that speaks Responses."""
    url = f"{upstream.url}/v1"
    return make_client(responses={"kind": "openai", "dialect": "openai_responses", "base_url": url})


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_upstream_without_compaction_is_asked_for_a_summary(
    responses: Client, upstream: FakeUpstream, status: int
) -> None:
    upstream.script(json_reply({"detail": "Not Found"}, status), json_reply(WHOLE))

    compacted = responses.ask("/v1/responses/compact", {"model": "responses/m", "input": "hi"})

    assert compacted.status_code == 200
    assert [item["type"] for item in compacted.json["output"]][-1] == "compaction"


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
def test_an_id_that_nobody_knows_is_not_found(
    responses: Client, upstream: FakeUpstream, method: str, path: str, status: int
) -> None:
    upstream.script(json_reply({"detail": "Method Not Allowed"}, status))

    answered = responses.http.open(f"/v1/responses/resp_unknown{path}", method=method)

    assert answered.status_code == 404
    assert "resp_unknown" in answered.json["error"]["message"]
