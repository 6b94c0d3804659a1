"""The page of permissions: who sees and answers them, and that all that would be done is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.settings import PermissionsSettings, ProviderSettings, ServerSettings, Settings
from tests.permissions.keys import KEYS

Open = Callable[..., FlaskClient]


@pytest.fixture
def open_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def open_one(**permissions: Any) -> FlaskClient:
        settings = Settings(
            server=ServerSettings(),
            providers={"demo": ProviderSettings(kind="demo")},
            permissions=PermissionsSettings(**permissions),
            keys=KEYS,
        )
        return create_app(settings).test_client()

    return open_one


def sign_in(browser: FlaskClient, key: str) -> FlaskClient:
    """The same gateway, in a browser of somebody else."""
    mine = browser.application.test_client()
    mark = _find_mark(mine.get("/_/sign-in").get_data(as_text=True))
    assert mine.post("/_/sign-in", data={"csrf": mark, "key": KEYS[key].key}).status_code == 303
    return mine


def _find_mark(page: str) -> str:
    """What the forms of a page carry, empty without a form."""
    found = re.search(r'name="csrf" value="(\w+)"', page)
    return found[1] if found else ""


def ask(browser: FlaskClient, **tool_input: Any) -> str:
    services = browser.application.extensions["dragoman"].services
    tenant = services.access.check_key({"authorization": "Bearer key-of-ana-1"}).tenant
    return str(services.permissions.ask(tenant, "Bash", tool_input).id)


def answer(browser: FlaskClient, permission_id: str, how: str) -> int:
    mark = _find_mark(browser.get("/_/permissions").get_data(as_text=True))
    form = {"csrf": mark, "id": permission_id, "answer": how}
    return browser.post("/_/permissions/answer", data=form).status_code


@pytest.mark.parametrize(("how", "status"), [("allow", "allowed"), ("deny", "denied"), ("", "denied")])
def test_an_admin_answers_on_the_page(open_gateway: Open, how: str, status: str) -> None:
    gateway = open_gateway()
    asked, admin = ask(gateway, command="ls"), sign_in(gateway, "admin")

    assert answer(admin, asked, how) == 303

    services = gateway.application.extensions["dragoman"].services
    assert services.permissions.get({}, asked).answered == status
    assert f"{status}</p>" in admin.get("/_/permissions").get_data(as_text=True)


def test_a_client_sees_its_own_and_answers_only_where_the_settings_say_so(open_gateway: Open) -> None:
    for by, allowed in (("admin", 403), ("tenant", 303)):
        gateway = open_gateway(answered_by=by)
        asked = ask(gateway, command=f"ls {by}")
        ana, bob = sign_in(gateway, "ana"), sign_in(gateway, "bob")

        assert f"ls {by}" in ana.get("/_/permissions").get_data(as_text=True)
        assert f"ls {by}" not in bob.get("/_/permissions").get_data(as_text=True)
        assert answer(bob, asked, "allow") in (403, 404)
        assert answer(ana, asked, "allow") == allowed


def test_the_whole_input_is_shown_and_nothing_in_it_is_more_than_text(open_gateway: Open) -> None:
    gateway = open_gateway()
    command = f"echo {'a' * 9000}<script>alert(1)</script> && rm -r /srv/the-end"
    ask(gateway, command=command, options={"deep": ["<b>"]})

    page = sign_in(gateway, "admin").get("/_/permissions").get_data(as_text=True)

    assert "rm -r /srv/the-end" in page
    assert "<script>alert" not in page
    assert "<b>" not in page


def test_an_answer_without_the_mark_of_the_form_changes_nothing(open_gateway: Open) -> None:
    gateway = open_gateway()
    asked, admin = ask(gateway, command="ls"), sign_in(gateway, "admin")

    refused = admin.post("/_/permissions/answer", data={"id": asked, "answer": "allow"})

    assert refused.status_code == 403
    services = gateway.application.extensions["dragoman"].services
    assert services.permissions.get({}, asked).answered is None


def test_an_open_page_hears_of_what_is_asked(open_gateway: Open) -> None:
    gateway = open_gateway()
    asked, admin = ask(gateway, command="ls of-the-stream"), sign_in(gateway, "admin")

    stream = admin.get("/_/live/permissions", buffered=False)
    parts = iter(stream.response)
    said = next(parts).decode() + next(parts).decode()
    stream.close()

    assert "ls of-the-stream" in said
    assert asked in said
    assert 'hx-target="#permissions"' in said
