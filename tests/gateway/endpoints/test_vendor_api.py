"""What has no endpoint here reaches the vendor's own API, for those who may see all of it."""

from __future__ import annotations

import pytest

from app import create_app
from app.settings import KeySettings, ProviderSettings, Settings
from tests.gateway.conftest import MakeClient, data_folder, make_client, upstream
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

__all__ = ["data_folder", "make_client", "upstream"]  # the fixtures of this file

BATCH = {"id": "msgbatch_1", "processing_status": "in_progress"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
VERSION = {"anthropic-version": "2023-06-01", "anthropic-beta": "files-api-2025-04-14"}
KEYS = {
    "ana": KeySettings(key="sk-ana-00000001"),
    "adm": KeySettings(key="sk-adm-00000001", role="admin"),
    "one": KeySettings(key="sk-one-00000001", role="admin", models=("claude-haiku-*",)),
    "two": KeySettings(key="sk-two-00000001", role="admin", providers=("others",)),
    "six": KeySettings(key="sk-six-00000001", role="admin", budget_per_day=1.0),
}


@pytest.mark.parametrize("mount", ["/api", "/messages", "/api/messages"])
def test_batches_of_messages_reach_anthropic(make_client: MakeClient, upstream: FakeUpstream, mount: str) -> None:
    web = make_client().app.test_client()
    upstream.script(json_reply(BATCH))

    reply = web.post(f"{mount}/v1/messages/batches?limit=2", json={"requests": []}, headers=VERSION)

    (seen,) = upstream.seen
    assert reply.get_json() == BATCH
    assert (seen.method, seen.path) == ("POST", "/v1/messages/batches?limit=2")
    assert seen.headers["x-api-key"] == "sk-upstream"
    assert seen.headers["anthropic-beta"] == VERSION["anthropic-beta"]


def test_a_form_reaches_openai_as_it_is(make_client: MakeClient, upstream: FakeUpstream) -> None:
    web = make_client().app.test_client()
    upstream.script(json_reply({"id": "file-1"}))

    assert web.post("/api/v1/files", data=b"--b\r\n\r\n\xff\r\n--b--", headers=FORM).data

    (seen,) = upstream.seen
    assert (seen.headers["content-type"], seen.body) == (FORM["content-type"], b"--b\r\n\r\n\xff\r\n--b--")
    assert (seen.path, seen.headers["authorization"]) == ("/v1/files", "Bearer sk-upstream")


@pytest.mark.parametrize(("status", "told"), [(404, 404), (401, 502)])
def test_the_vendors_refusal_is_told(make_client: MakeClient, upstream: FakeUpstream, status: int, told: int) -> None:
    upstream.script(json_reply({"type": "error", "error": {"type": "x", "message": "no such file"}}, status))

    reply = make_client().app.test_client().get("/messages/v1/files/f", headers=VERSION)

    assert reply.status_code == told
    assert "no such file" in reply.get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("", 401),
        ("sk-ana-00000001", 403),
        ("sk-adm-00000001", 200),
        ("sk-one-00000001", 403),
        ("sk-two-00000001", 403),
        ("sk-six-00000001", 403),
    ],
)
def test_only_administrators_see_what_belongs_to_all(upstream: FakeUpstream, key: str, status: int) -> None:
    vendor = ProviderSettings(kind="anthropic", base_url=upstream.url, api_key="sk-upstream")
    app = create_app(Settings(providers={"messages": vendor}, keys=KEYS))
    upstream.script(json_reply({"data": []}))

    reply = app.test_client().get("/messages/v1/files", headers={"x-api-key": key} if key else {})

    assert (reply.status_code, bool(reply.data)) == (status, True)
    assert len(upstream.seen) == (status == 200)
    app.runtime.services.transport.close()


@pytest.mark.parametrize(
    "path", ["/v1/files", "/messages/v1/files/%2e%2e/%2e%2e/admin", "/messages/v1/files/.", "/no/v1/x"]
)
def test_all_other_paths_stay_unknown(make_client: MakeClient, upstream: FakeUpstream, path: str) -> None:
    reply = make_client().app.test_client().get(path, headers=VERSION)

    assert reply.status_code == 404
    assert not upstream.seen


@pytest.mark.parametrize("elsewhere", [{"REMOTE_ADDR": "192.0.2.7"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}])
def test_a_gateway_without_keys_relays_only_for_its_own_machine(
    make_client: MakeClient, upstream: FakeUpstream, elsewhere: dict[str, str]
) -> None:
    reply = make_client().app.test_client().get("/api/v1/files", headers=VERSION, environ_overrides=elsewhere)

    assert reply.status_code == 404
    assert not upstream.seen


def test_a_file_is_no_page_of_the_gateway(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(Reply((b"<script>1</script>",), headers={"content-type": "text/html"}))

    reply = make_client().app.test_client().get("/messages/v1/files/f/content", headers=VERSION)

    assert reply.headers["content-security-policy"] == "sandbox"
    assert reply.headers["x-content-type-options"] == "nosniff"
