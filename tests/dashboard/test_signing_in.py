"""Who sees the pages, who changes something there, and from where."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from app.cli import main
from app.dashboard import tickets
from app.settings import KeySettings
from tests.dashboard.conftest import MakeApp, enter, read_mark, sign_with
from tests.dashboard.records import EXPORTS, PAGES, REQUEST, STREAMS, record

CHANGES = (
    *("/_/models/test", "/_/permissions/answer", "/_/running/end"),
    *(f"/_/keys/{what}" for what in ("create", "rotate", "disable")),
    *(f"/_/recording/{what}" for what in ("start", "stop", "forget")),
    *(f"/_/requests/{REQUEST}/replay", "/_/settings/edit", "/_/settings/apply"),
)


# Those that are shown to an admin alone.
OF_ADMINS = ("/_/providers", "/_/keys", "/_/logs", "/_/settings", "/_/settings/edit", "/_/settings/bundle")


@pytest.mark.parametrize("keys", [(), ("k-first",)])
def test_nothing_is_shown_without_signing_in(make_app: MakeApp, keys: tuple[str, ...]) -> None:
    client = make_app({"api_keys": keys}, record()).test_client()
    client.set_cookie("dragoman_dashboard", "9999999999.." + "0" * 64, path="/_/")

    answers = [client.get(page) for page in (*PAGES, *EXPORTS, *STREAMS)]
    answers += [client.post(path, data={"csrf": "x"}) for path in CHANGES]

    assert {answer.status_code for answer in answers} == {401}
    assert [answer for answer in answers if "claude-sonnet" in answer.text] == []


def test_a_token_opens_the_door_once(make_app: MakeApp) -> None:
    app, token = make_app(), tickets.issue_ticket()
    first, second = app.test_client(), app.test_client()

    looked = first.head("/_/enter", query_string={"token": token})
    entered = first.get("/_/enter", query_string={"token": token})
    again = second.get("/_/enter", query_string={"token": token})

    cookie = entered.headers["set-cookie"]
    assert (looked.status_code, entered.status_code, again.status_code) == (401, 303, 401)
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/_/", "Max-Age=43200"))
    assert first.get("/_/").status_code == 200


def test_a_token_waits_five_minutes(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app, token = make_app(), tickets.issue_ticket()
    monkeypatch.setattr(tickets, "TICKET_LIFE", 0.0)

    assert app.test_client().get("/_/enter", query_string={"token": token}).status_code == 401


def test_only_a_form_of_ours_makes_rotates_and_disables_a_key(make_app: MakeApp) -> None:
    client, _ = sign_with(make_app(keys={"eve": KeySettings(key="dm-" + "e" * 32, role="admin")}), "dm-" + "e" * 32)
    mark = read_mark(client)

    refused = client.post("/_/keys/create", data={"name": "ana", "csrf": "0" * 64})
    made = client.post(
        "/_/keys/create", data={"name": "ana", "csrf": mark, "budget_per_day": "5", "models": "qwen*, m"}
    )
    rotated = client.post("/_/keys/rotate", data={"name": "ana", "csrf": mark, "overlap": "0s"})
    listed = client.get("/_/keys").text
    ended = client.post("/_/keys/disable", data={"name": "ana", "csrf": mark})

    first, second = (re.search(r"dm-[\w-]{20,}", page.text) for page in (made, rotated))
    assert refused.status_code == 403
    assert first is not None
    assert second is not None
    assert first[0] != second[0]
    assert not re.search(r"dm-[\w-]{20,}", listed)
    assert "budget per day: 5.0" in listed
    assert "models: qwen*, m" in listed
    assert listed.count("by eve") == 2
    assert ended.text.count("✗ disabled") == 2
    assert "Disable" not in ended.text


@pytest.mark.parametrize(
    "form", [{"name": ""}, {"name": "a b"}, {"name": "x", "budget_per_day": "-1"}, {"name": "x", "expires": "soon"}]
)
def test_a_wrong_field_of_a_new_key_is_named(make_app: MakeApp, form: dict[str, str]) -> None:
    client = enter(make_app())

    answer = client.post("/_/keys/create", data={**form, "csrf": read_mark(client)})

    assert answer.status_code == 400
    assert "No keys" in client.get("/_/keys").text


def test_a_change_leaves_a_line_that_names_who_and_what(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    client = enter(make_app())
    caplog.set_level("INFO", "dragoman.dashboard")

    client.post("/_/keys/create", data={"name": "ana", "role": "admin", "csrf": read_mark(client)})

    assert "dashboard: the user of this machine at 127.0.0.1 makes the key ana" in caplog.messages


def test_a_page_of_an_allowed_origin_changes_nothing_here(make_app: MakeApp) -> None:
    client = enter(make_app({"cors_origins": ("http://other.example",)}))
    form = {"name": "ana", "csrf": read_mark(client)}

    answer = client.post("/_/keys/create", data=form, headers={"origin": "http://other.example"})

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_key_sees_its_own_requests_alone(make_app: MakeApp) -> None:
    app = make_app({"api_keys": ("k-first", "k-second")})
    access = app.runtime.services.access
    mine, theirs = (access.check_key({"x-api-key": key}).tenant for key in ("k-first", "k-second"))
    assert app.runtime.accounts is not None
    app.runtime.accounts.accounts.take([record(7, tenant=mine, model="model-of-mine")])
    app.runtime.accounts.accounts.take([record(8, tenant=theirs, model="model-of-theirs")])
    app.runtime.recorder.hand_out()
    app.runtime.accounts.flush()

    client, entered = sign_with(app, "k-first")

    shown = [client.get(page).text for page in PAGES]
    assert entered.status_code == 303
    assert "model-of-mine" in shown[1]
    assert "model-of-mine" in shown[2]
    assert [page for page in shown if "model-of-theirs" in page] == []
    assert client.get(f"/_/requests/{8:024x}").status_code == 404
    assert [client.get(page).status_code for page in OF_ADMINS] == [403] * len(OF_ADMINS)


def test_a_cookie_ends_with_its_key(make_app: MakeApp) -> None:
    client, _ = sign_with(make_app({"api_keys": ("k-first", "k-second")}), "k-first")
    cookie = client.get_cookie("dragoman_dashboard", path="/_/")
    assert cookie is not None
    later = [make_app({"api_keys": keys}).test_client() for keys in (("k-second",), ())]
    for each in later:
        each.set_cookie("dragoman_dashboard", cookie.value, path="/_/")

    assert [each.get("/_/").status_code for each in later] == [401, 401]


def test_a_cookie_does_not_outlive_a_key_that_was_replaced_under_its_name(make_app: MakeApp) -> None:
    before, after = (make_app(keys={"ana": KeySettings(key=key)}) for key in ("dm-" + "a" * 32, "dm-" + "b" * 32))
    client, _ = sign_with(before, "dm-" + "a" * 32)
    cookie = client.get_cookie("dragoman_dashboard", path="/_/")
    assert cookie is not None
    later = after.test_client()
    later.set_cookie("dragoman_dashboard", cookie.value, path="/_/")

    assert (client.get("/_/").status_code, later.get("/_/").status_code) == (200, 401)


def test_an_admins_key_sees_what_all_did_and_the_settings(make_app: MakeApp) -> None:
    app = make_app(None, record(tenant="somebody"), keys={"eve": KeySettings(key="dm-" + "e" * 32, role="admin")})
    client, _ = sign_with(app, "dm-" + "e" * 32)

    assert "claude-sonnet" in client.get("/_/requests").text
    assert "e" * 32 not in client.get("/_/settings").text
    assert client.get("/_/settings").status_code == 200


def test_the_mark_of_a_form_is_no_cookie(make_app: MakeApp) -> None:
    client = make_app({"api_keys": ("k-first",)}).test_client()
    found = re.search(r'name="csrf" value="(\w+)"', client.get("/_/sign-in").text)
    mark = client.get_cookie("dragoman_form", path="/_/")
    assert found is not None
    assert mark is not None
    client.set_cookie("dragoman_dashboard", f"{mark.value}.{found[1]}", path="/_/")

    assert client.get("/_/").status_code == 401


def test_wrong_keys_have_five_tries_a_minute(make_app: MakeApp) -> None:
    app = make_app({"api_keys": ("k-first",)})

    statuses = [sign_with(app, "k-wrong")[1].status_code for _ in range(6)]

    assert statuses == [401] * 5 + [429]
    assert sign_with(app, "k-first")[1].status_code == 429


@pytest.mark.parametrize("csrf", ["", "0" * 64])
def test_a_form_that_is_not_ours_is_refused(make_app: MakeApp, csrf: str) -> None:
    client = make_app({"api_keys": ("k-first",)}).test_client()
    client.get("/_/sign-in")

    assert client.post("/_/sign-in", data={"csrf": csrf, "key": "k-first"}).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"host": "rebound.example"}, {"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}]
)
def test_another_sites_page_gets_nowhere(make_app: MakeApp, headers: dict[str, str]) -> None:
    client = enter(make_app(None, record()))

    assert client.post("/_/sign-out", headers=headers).status_code == 403
    assert "host" not in headers or client.get("/_/", headers=headers).status_code == 403


@pytest.mark.parametrize("place", [{"REMOTE_ADDR": "203.0.113.9"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}])
def test_without_keys_the_pages_are_for_this_machine(make_app: MakeApp, place: dict[str, str]) -> None:
    client = enter(make_app(None, record()))

    assert client.get("/_/", environ_overrides=place).status_code == 403


def test_the_command_prints_no_token_where_keys_were_created_by_command() -> None:
    CliRunner().invoke(main, ["keys", "create", "ann"])

    done = CliRunner().invoke(main, ["dashboard", "--no-browser"])

    assert "sign in with a client key" in done.stderr
    assert urlsplit(done.stdout.strip()).query == ""


def test_the_command_prints_an_address_that_lets_its_user_in(make_app: MakeApp) -> None:
    url = CliRunner().invoke(main, ["dashboard", "--no-browser"]).stdout.strip()

    where = urlsplit(url)
    answer = make_app().test_client().get(f"{where.path}?{where.query}")

    assert answer.status_code == 303, url
