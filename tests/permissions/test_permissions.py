"""Requests for permission: who sees and answers them, how programs ask over MCP, and what people are told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.blueprints.turnstile import Turnstile
from app.errors import InvalidRequest, NotFound, TooMany
from app.known_secrets import known_secrets
from app.ledger import Ledger
from app.permissions.pending import MAX_BYTES, MAX_KEPT, PERIOD, Permissions
from app.permissions.prompt import PermissionPrompt, read_ticket, write_ticket
from app.settings import KeySettings, LedgerSettings, PermissionsSettings, ProviderSettings, ServerSettings, Settings
from tests.permissions.keys import KEYS
from tests.support.clock import wait_until

ADMIN, ANA, BOB = ({"authorization": f"Bearer {key}"} for key in ("key-of-admin", "key-of-ana-1", "key-of-bob-1"))
Open = Callable[..., FlaskClient]


@pytest.fixture
def open_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """open_gateway(keys, …settings of [permissions]): each is a worker over the same ledger."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def open_one(keys: dict[str, KeySettings] | None = None, **permissions: Any) -> FlaskClient:
        settings = Settings(
            server=ServerSettings(),
            providers={"demo": ProviderSettings(kind="demo")},
            permissions=PermissionsSettings(**permissions),
            keys=keys or {},
        )
        return create_app(settings).test_client()

    return open_one


def call(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def question(command: str = "rm -r build", tool: str = "Bash") -> dict[str, Any]:
    arguments = {"tool_name": tool, "input": {"command": command}, "tool_use_id": "toolu_1"}
    return call("tools/call", name="check_permission", arguments=arguments)


class Asking:
    """A program that asks and waits for the decision."""

    def __init__(self, worker: FlaskClient, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.decision: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._ask, args=(worker, body, headers or {}))
        self._thread.start()

    def _ask(self, worker: FlaskClient, body: dict[str, Any], headers: dict[str, str]) -> None:
        said = worker.post("/mcp", json=body, headers=headers).get_data(as_text=True)
        data = next(line[6:] for line in said.splitlines() if line.startswith("data: "))
        self.decision = json.loads(json.loads(data)["result"]["content"][0]["text"])

    def wait(self) -> dict[str, Any]:
        self._thread.join(15)
        return self.decision


def only_open(worker: FlaskClient, headers: dict[str, str] | None = None) -> dict[str, Any]:
    (found,) = wait_until(lambda: worker.get("/permissions", headers=headers or {}).get_json()["permissions"], 5)
    return dict(found)


def events(worker: FlaskClient, count: int, headers: dict[str, str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    reply = worker.get("/permissions/stream", headers=headers or {}, buffered=False)
    found = []
    for part in reply.response:
        lines = dict(line.split(": ", 1) for line in part.decode().splitlines() if ": " in line)
        found.append((lines["event"], json.loads(lines["data"])))
        if len(found) == count:
            break
    reply.close()
    return found


@pytest.mark.parametrize("allowed", [True, False])
def test_another_worker_shows_and_answers_what_a_program_asks(open_gateway: Open, *, allowed: bool) -> None:
    asking = Asking(open_gateway(), question())
    other = open_gateway()
    asked = only_open(other)

    answer = other.post(f"/permissions/{asked['request_id']}/respond", json={"allowed": allowed, "message": "not here"})

    assert (asked["tool_name"], asked["input"], asked["status"]) == ("Bash", {"command": "rm -r build"}, "pending")
    assert 25 < asked["time_remaining"] <= 30
    assert answer.get_json() == {"status": "success", "permission_id": asked["request_id"], "allowed": allowed}
    granted = {"behavior": "allow", "updatedInput": {"command": "rm -r build"}}
    assert asking.wait() == (granted if allowed else {"behavior": "deny", "message": "not here"})


def test_what_nobody_answers_is_denied_when_its_time_is_over(
    open_gateway: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    worker = open_gateway(timeout_seconds=5)
    asking = Asking(worker, question())
    asked = only_open(worker)
    ahead = time.time() + 6
    worker.application.extensions["dragoman"].services.permissions._clock = lambda: ahead

    assert asking.wait() == {"behavior": "deny", "message": "Nobody gave permission in time."}
    late = worker.post(f"/permissions/{asked['request_id']}/respond", json={"allowed": True})
    assert (late.status_code, "expired" in late.get_data(as_text=True)) == (409, True)
    (line,) = [message for message in caplog.messages if asked["request_id"] in message]
    assert line.endswith("Bash was denied, since nobody answered in time")


def test_a_secret_in_the_place_of_numbers_is_hidden_and_the_request_still_shown(open_gateway: Open) -> None:
    worker = open_gateway()
    known_secrets.configure([secret := "sk-very-secret-0123456789"])
    body = question()
    body["params"]["arguments"]["input"] = {"codes": list(secret.encode()), "command": f"curl -H 'x-api-key: {secret}'"}
    asking = Asking(worker, body)

    shown = str(only_open(worker))

    assert ("[masked]" in shown, secret in shown, str(list(secret.encode()))[1:20] in shown) == (True, False, False)
    worker.post(f"/permissions/{only_open(worker)['request_id']}/respond", json={"allowed": False})
    assert asking.wait()["behavior"] == "deny"


def test_the_log_says_who_answered_and_from_where(open_gateway: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    asking = Asking(open_gateway(KEYS), question(), ANA)
    other = open_gateway(KEYS)
    asked = only_open(other, ADMIN)

    other.post(f"/permissions/{asked['request_id']}/respond", json={"allowed": True}, headers=ADMIN)
    asking.wait()

    (line,) = [message for message in caplog.messages if asked["request_id"] in message]
    assert line.endswith("Bash was allowed by admin at 127.0.0.1")


def test_the_second_answer_is_refused(open_gateway: Open) -> None:
    worker = open_gateway()
    asking = Asking(worker, question())
    path = f"/permissions/{only_open(worker)['request_id']}/respond"

    first, second = (worker.post(path, json={"allowed": allowed}) for allowed in (False, True))

    assert (first.status_code, second.status_code) == (200, 409)
    assert asking.wait()["behavior"] == "deny"


def test_what_was_never_asked_is_not_found(open_gateway: Open) -> None:
    worker = open_gateway()

    for answer in (worker.get("/permissions/x"), worker.post("/permissions/x/respond", json={"allowed": True})):
        assert (answer.status_code, "Permission request not found" in answer.get_data(as_text=True)) == (404, True)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"allowed": "yes"}', b'{"allowed": null}', b"\xff", b"[" * 5000])
def test_an_answer_that_is_none_decides_nothing(open_gateway: Open, body: bytes) -> None:
    worker = open_gateway()
    asking = Asking(worker, question())
    path = f"/permissions/{only_open(worker)['request_id']}/respond"

    assert worker.post(path, data=body, content_type="application/json").status_code == 400
    assert only_open(worker)["status"] == "pending"
    worker.post(path, json={"allowed": False})
    asking.wait()


def test_a_client_sees_its_own_requests_and_an_admin_all(open_gateway: Open) -> None:
    worker = open_gateway(KEYS)
    asking = Asking(worker, question(), ANA)
    asked = only_open(worker, ANA)
    path = f"/permissions/{asked['request_id']}"

    assert worker.get("/permissions", headers=BOB).get_json() == {"permissions": []}
    assert worker.get(path, headers=BOB).status_code == 404
    assert worker.get(path, headers=ADMIN).get_json()["tool_name"] == "Bash"
    assert [worker.get(place).status_code for place in ("/permissions", path, "/permissions/stream")] == [401] * 3
    answers = [worker.post(f"{path}/respond", json={"allowed": True}, headers=key) for key in ({}, BOB, ANA, ADMIN)]
    assert [answer.status_code for answer in answers] == [401, 403, 403, 200]
    assert asking.wait()["behavior"] == "allow"


def test_a_client_answers_for_itself_where_the_settings_say_so(open_gateway: Open) -> None:
    worker = open_gateway(KEYS, answered_by="tenant")
    asking = Asking(worker, question(), ANA)
    path = f"/permissions/{only_open(worker, ANA)['request_id']}/respond"

    assert worker.post(path, json={"allowed": True}, headers=BOB).status_code == 404
    assert worker.post(path, json={"allowed": True}, headers=ANA).status_code == 200
    assert asking.wait()["behavior"] == "allow"


@pytest.mark.parametrize("address", ["10.0.0.9", "192.168.1.7", "2001:db8::1"])
def test_without_keys_nobody_from_elsewhere_asks_or_answers(open_gateway: Open, address: str) -> None:
    worker = open_gateway()
    there = {"REMOTE_ADDR": address}

    answers = [
        worker.get("/permissions", environ_base=there),
        worker.get("/permissions/stream", environ_base=there),
        worker.post("/permissions/x/respond", json={"allowed": True}, environ_base=there),
        worker.post("/mcp", json=question(), environ_base=there),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4


@pytest.mark.parametrize("path", ["/permissions/x/respond", "/mcp"])
@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_a_page_of_another_site_neither_asks_nor_answers(
    open_gateway: Open, path: str, headers: dict[str, str]
) -> None:
    assert open_gateway().post(path, json=question(), headers=headers).status_code == 403


def test_the_stream_tells_what_is_open_and_then_what_becomes_of_it(open_gateway: Open) -> None:
    worker = open_gateway()
    asking = Asking(worker, question())
    asked = only_open(worker)
    answering = threading.Timer(
        0.5, lambda: open_gateway().post(f"/permissions/{asked['request_id']}/respond", json={"allowed": True})
    )
    answering.start()

    (hello, greeting), (request, told), (resolved, outcome) = events(worker, 3)

    assert (hello, greeting) == ("ping", {"message": "Connected to permission stream"})
    assert request == "permission_request"
    assert told.keys() == {"request_id", "tool_name", "input", "created_at", "expires_at", "timeout_seconds"}
    assert told["timeout_seconds"] == 30
    assert resolved == "permission_resolved"
    assert (outcome["request_id"], outcome["allowed"]) == (asked["request_id"], True)
    assert asking.wait()["behavior"] == "allow"


def test_a_program_makes_the_acquaintance_of_the_server_as_mcp_has_it(open_gateway: Open) -> None:
    worker = open_gateway()

    hello = worker.post("/mcp", json=call("initialize", protocolVersion="2025-06-18", capabilities={})).get_json()
    strange = worker.post("/mcp", json=call("initialize", protocolVersion="1999-01-01")).get_json()
    noted = worker.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    (tool,) = worker.post("/mcp", json=call("tools/list")).get_json()["result"]["tools"]

    assert (hello["id"], hello["result"]["protocolVersion"]) == (7, "2025-06-18")
    assert strange["result"]["protocolVersion"] == "2025-11-25"
    assert (noted.status_code, noted.get_data()) == (202, b"")
    assert tool["name"] == "check_permission"
    assert worker.post("/mcp", json=call("ping")).get_json()["result"] == {}
    assert worker.get("/mcp").status_code == 405


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc": "2.0", "params": ' + b'{"a":' * 100_000, -32700),
        (b"[]", -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "server/discover"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "rm"}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "check_permission"}}', -32602),
    ],
)
def test_what_is_no_request_of_mcp_is_answered_with_an_error_of_json_rpc(
    open_gateway: Open, body: bytes, code: int
) -> None:
    answer = open_gateway().post("/mcp", data=body, content_type="application/json").get_json()

    assert answer["error"]["code"] == code


@pytest.mark.parametrize(
    "body", [question(tool=""), question(tool="x" * 300), question(command="x" * 300_000)], ids=["none", "long", "much"]
)
def test_what_nobody_could_judge_is_denied_at_once(open_gateway: Open, body: dict[str, Any]) -> None:
    answer = open_gateway().post("/mcp", json=body).get_json()

    assert json.loads(answer["result"]["content"][0]["text"])["behavior"] == "deny"


def test_a_ticket_is_good_for_its_tenant_and_its_time(open_gateway: Open) -> None:
    ticket = write_ticket(b"secret", "tenant", 1000.0)

    assert read_ticket(b"secret", ticket, 1000.0) == "tenant"
    assert read_ticket(b"secret", ticket, 1000.0 + 25 * 3600) is None
    assert read_ticket(b"other", ticket, 1000.0) is None
    for forged in ("", ".", "...", "tenant", ticket[:-1], ticket.replace("tenant", "another"), "é" * 10, "x." * 200):
        assert read_ticket(b"secret", forged, 1000.0) is None
    assert "secret" not in repr(PermissionPrompt("http://localhost/mcp", b"secret"))


def test_a_program_of_the_gateway_asks_for_the_client_that_it_works_for(open_gateway: Open) -> None:
    worker = open_gateway(KEYS)
    services = worker.application.extensions["dragoman"].services
    tenant = services.access.check_key(ANA).tenant
    described = services.providers["demo"].permission_prompt.describe(tenant, time.time())
    asking = Asking(worker, question(), {"authorization": described["headers"]["Authorization"]})
    path = f"/permissions/{only_open(worker, ANA)['request_id']}/respond"

    assert worker.get("/permissions", headers=BOB).get_json() == {"permissions": []}
    assert worker.get("/v1/models", headers={"authorization": described["headers"]["Authorization"]}).status_code == 401
    worker.post(path, json={"allowed": True}, headers=ADMIN)
    assert asking.wait()["behavior"] == "allow"


class Ledgers:
    """A ledger that counts how often all of it is read."""

    def __init__(self, tmp_path: Path) -> None:
        self.ledger = Ledger(LedgerSettings(url=f"sqlite:///{tmp_path}/l.sqlite3"))
        self.scans = 0
        scan = self.ledger.permissions.scan

        def counted(tenant: str | None = None) -> list[tuple[str, bytes]]:
            self.scans += tenant is None
            return scan(tenant)

        self.ledger.permissions.scan = counted  # type: ignore[method-assign]


def test_however_many_wait_the_ledger_is_read_a_few_times_a_second(tmp_path: Path) -> None:
    ledgers, now = Ledgers(tmp_path), [0.0]
    pending = Permissions(ledgers.ledger.permissions, PermissionsSettings(), monotonic=lambda: now[0])
    for number in range(20):
        pending.ask("ana", "Bash", {"command": f"echo {number}"})

    for step in range(100):
        now[0] = step / 100
        for _ in range(30):
            assert len(pending.look({"tenant": "ana"})) == 20
            assert pending.look({"tenant": "bob"}) == []

    assert ledgers.scans <= 1 / (PERIOD / 2) + 1


def test_what_one_tenant_asks_hides_nothing_of_another_and_has_an_end(tmp_path: Path) -> None:
    now = [1000.0]
    shelf = Ledgers(tmp_path).ledger.permissions
    pending = Permissions(shelf, PermissionsSettings(timeout_seconds=5), clock=lambda: now[0])
    for number in range(150):
        now[0] += 1
        with contextlib.suppress(InvalidRequest):
            pending.ask("ana", "Bash", {"command": "x" * (number % 7) * 40_000})
    own = pending.ask("bob", "Bash", {"command": "ls"})

    bob = {"tenant": "bob"}
    assert pending.get(bob, own.id) == pending.find(bob)[0] == pending.look(bob)[0] == own
    assert own in pending.find({}), "whoever answers for all sees it too"
    kept = shelf.scan("ana")
    assert len(kept) <= MAX_KEPT
    assert sum(len(value) for _, value in kept) <= MAX_BYTES
    with pytest.raises(NotFound):
        pending.get({"tenant": "ana"}, own.id)


def test_open_requests_are_never_taken_away_for_others(tmp_path: Path) -> None:
    pending = Permissions(Ledgers(tmp_path).ledger.permissions, PermissionsSettings())
    asked = [pending.ask("ana", "Write", {"text": "x" * 250_000}) for _ in range(MAX_BYTES // 260_000)]

    with pytest.raises(InvalidRequest, match="too large in total"):
        pending.ask("ana", "Write", {"text": "x" * 250_000})

    assert {each.id for each in pending.find({"tenant": "ana"})} == {each.id for each in asked}
    assert pending.ask("bob", "Write", {"text": "x" * 250_000})


def test_one_tenant_takes_a_share_of_the_places_of_those_who_wait() -> None:
    turnstile = Turnstile(4, "full", 2)
    held = [turnstile.hold(iter([b"x"]), "ana") for _ in range(2)]
    with pytest.raises(TooMany):
        turnstile.hold(iter([b"x"]), "ana")
    held += [turnstile.hold(iter([b"x"]), "bob") for _ in range(2)]
    with pytest.raises(TooMany):
        turnstile.hold(iter([b"x"]), "carl")

    for each in held:
        each.close()  # type: ignore[attr-defined]

    assert turnstile.count == 0
    turnstile.hold(iter([b"x"]), "ana")
