"""What Anthropic says only to logins, and its list of models in pages."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import MakeClient, data_folder, make_client, upstream
from tests.support.fake_upstream import FakeUpstream, json_reply

__all__ = ["data_folder", "make_client", "upstream"]  # the fixtures of this file

LOGIN = {"access_token": "sk-ant-oat01-x"}
KEY = {"api_key": "sk-ant-api03-x"}
BODY = {"model": "claude/claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
REFUSALS = [
    (400, "invalid_request_error", "Third-party apps now draw from your extra usage, not your plan limits."),
    (400, "invalid_request_error", "You're out of extra usage. Add more at claude.ai/settings/usage."),
    (403, "permission_error", "This credential is only authorized for use with Claude Code and cannot be used."),
    (401, "authentication_error", "OAuth authentication is currently not supported."),
    (400, "invalid_request_error", "Error"),
]


@pytest.mark.parametrize(("status", "kind", "said"), REFUSALS)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_login_refused_for_other_programs_keeps_the_words_and_names_the_ways_out(
    make_client: MakeClient, upstream: FakeUpstream, path: str, status: int, kind: str, said: str
) -> None:
    client = make_client(claude={"kind": "anthropic", "base_url": upstream.url, **LOGIN})
    upstream.script(json_reply({"type": "error", "error": {"type": kind, "message": said}}, status))

    message = client.ask(path, BODY).get_json()["error"]["message"]

    assert said.rstrip(".") in message
    assert "ANTHROPIC_API_KEY" in message
    assert "claude_cli" in message


def test_an_api_key_hears_nothing_of_logins(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(claude={"kind": "anthropic", "base_url": upstream.url, **KEY})
    upstream.script(json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": "Error"}}, 400))

    assert client.ask("/v1/messages", BODY).get_json()["error"]["message"] == "Error"


def test_all_pages_of_the_list_of_models_are_read(make_client: MakeClient, upstream: FakeUpstream) -> None:
    others = {name: {"models": ["m"]} for name in ("chat", "messages")}
    client = make_client(**others, claude={"kind": "anthropic", "base_url": upstream.url, **KEY})
    pages = [{"data": [{"id": "m&1"}], "has_more": True, "last_id": "m&1"}, {"data": [{"id": "m2"}], "has_more": False}]
    upstream.script(*map(json_reply, pages))

    listed = client.app.test_client().get("/v1/models").get_json()["data"]

    assert {"claude/m&1", "claude/m2"} <= {model["id"] for model in listed}
    assert [seen.path for seen in upstream.seen if "/models" in seen.path][1].endswith("&after_id=m%261")
