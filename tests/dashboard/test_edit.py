"""Changes of the configuration file: judged, shown, made whole, and refused where the file is another one by then."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client

from app import create_app
from app.application import Application
from app.settings import load_settings
from tests.dashboard.conftest import enter, read_mark, sign_with

FILE = """\
# What we use.
[providers.up]   # at home
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "sk-planted-0123456789"
models = ["m", "n"]

[models]
small = "up/m"  # cheap

[models.routes]
"gpt-5" = "up/m"    # stands in
"""
KEYS = '\n[keys.eve]\nkey = "dm-eeeeeeeeeeeeeeeeeeeeeeeeeeee"\nrole = "admin"\n'

OpenFile = tuple[Application, Client, Path]


@pytest.fixture
def open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], OpenFile]]:
    monkeypatch.setenv("HOME", str(tmp_path))
    apps = []

    def open_it(text: str = FILE) -> OpenFile:
        file = tmp_path / "dragoman.toml"
        file.write_text(text)
        app = create_app(load_settings(file, {"HOME": str(tmp_path)}, {}))
        apps.append(app)
        client = enter(app) if "[keys" not in text else sign_with(app, "dm-" + "e" * 28)[0]
        return app, client, file

    yield open_it
    for app in apps:
        app.runtime.finish(1)


def find_hidden(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text[text.index("/_/settings/apply") :])
    assert found is not None
    return found[1]


def test_a_change_is_shown_and_then_made_with_comments_kept(open_file: Callable[..., OpenFile]) -> None:
    _, client, file = open_file()
    form = {"csrf": read_mark(client), "what": "name", "name": "small", "value": "up/n"}

    shown = client.post("/_/settings/edit", data=form)
    untouched = file.read_text()
    made = client.post("/_/settings/apply", data={**form, "mark": find_hidden(shown.text, "mark")})

    assert untouched == FILE
    assert '<span class="del">-small = &#34;up/m&#34;  # cheap' in shown.text
    assert "sk-planted" not in shown.text
    assert file.read_text() == FILE.replace('small = "up/m"', 'small = "up/n"')
    assert "The file was changed" in made.text
    (backup,) = file.parent.glob("dragoman.toml.2*")
    assert (backup.read_text(), backup.stat().st_mode & 0o777) == (FILE, 0o600)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ({"what": "route", "name": "gpt-5", "value": "up/n"}, '"gpt-5" = "up/n"    # stands in'),
        ({"what": "route", "name": "a b*", "value": "up/n, up/m"}, '"a b*" = ["up/n", "up/m"]'),
        ({"what": "route", "name": "o", "value": "up/n", "output": "99"}, 'o = {target = "up/n", max_output = 99}'),
        (
            {"what": "route", "name": "o", "value": "up/n", "effort": "high"},
            'o = {target = "up/n", reasoning_effort = "high"}',
        ),
        (
            {"what": "route", "name": "kept", "value": "up/n", "effort": "low", "output": ""},
            'context_window = 900, reasoning_effort = "low" }  # inside',
        ),
        ({"what": "size", "name": "reply_mb", "value": "32"}, "[limits]\nreply_mb = 32"),
        ({"what": "unknown", "value": "refuse"}, 'unknown = "refuse"'),
        ({"what": "name", "name": "default", "value": "up/n"}, 'default = "up/n"'),
        ({"what": "key", "name": "eve", "field": "budget_per_day", "value": "2.5"}, "budget_per_day = 2.5"),
    ],
)
def test_each_kind_of_change_ends_in_the_file(
    open_file: Callable[..., OpenFile], form: dict[str, str], line: str
) -> None:
    kept = 'kept = { target = "up/m", max_output = 5, context_window = 900, reasoning_effort = "high" }  # inside\n'
    _, client, file = open_file(FILE + kept + KEYS)
    form = {**form, "csrf": read_mark(client)}

    mark = find_hidden(client.post("/_/settings/edit", data=form).text, "mark")
    client.post("/_/settings/apply", data={**form, "mark": mark})

    assert line in file.read_text()
    assert "# What we use." in file.read_text()


def test_a_route_is_taken_out(open_file: Callable[..., OpenFile]) -> None:
    _, client, file = open_file()
    form = {"csrf": read_mark(client), "what": "route", "name": "gpt-5", "value": ""}

    mark = find_hidden(client.post("/_/settings/edit", data=form).text, "mark")
    client.post("/_/settings/apply", data={**form, "mark": mark})

    assert "gpt-5" not in file.read_text()


def test_a_file_that_has_changed_meanwhile_is_left_alone(open_file: Callable[..., OpenFile]) -> None:
    _, client, file = open_file()
    form = {"csrf": read_mark(client), "what": "name", "name": "small", "value": "up/n"}
    mark = find_hidden(client.post("/_/settings/edit", data=form).text, "mark")
    file.write_text(FILE + "# somebody else\n")

    answer = client.post("/_/settings/apply", data={**form, "mark": mark})

    assert answer.status_code == 409
    assert file.read_text() == FILE + "# somebody else\n"
    assert list(file.parent.glob("dragoman.toml.2*")) == []


def test_a_rejected_file_is_shown_with_its_faults_and_what_it_would_change(open_file: Callable[..., OpenFile]) -> None:
    app, client, file = open_file()
    file.write_text(
        FILE.replace('small = "up/m"', 'small = "nobody/m"') + '[limits]\nreply_mb = 0\npasswort = "hunter22"\n'
    )

    app.runtime.reload(lambda: load_settings(file, {}, {}))
    rejected = client.get("/_/settings").text
    file.write_text(FILE)
    app.runtime.reload(lambda: load_settings(file, {}, {}))
    taken = client.get("/_/settings").text

    assert "✗ rejected" in rejected
    assert f"{file}:" in rejected
    assert "passwort" in rejected
    assert '<span class="del">- models.small = &#34;up/m&#34;' in rejected
    assert '<span class="add">+ models.small = &#34;nobody/m&#34;' in rejected
    assert "hunter22" not in rejected
    assert "The current file is in force" in taken
    assert (taken.count("✗ rejected"), taken.count("✓ in force")) == (1, 1)


@pytest.mark.parametrize(
    "form",
    [
        {"what": "name", "name": "small", "value": "nobody/m"},
        {"what": "size", "name": "reply_mb", "value": "-3"},
        {"what": "size", "name": "nothing", "value": "3"},
        {"what": "name", "name": "routes", "value": "x"},
        {"what": "key", "name": "eve", "field": "requests_per_day", "value": "3"},
        {"what": "everything"},
    ],
)
def test_what_config_check_would_refuse_is_never_written(
    open_file: Callable[..., OpenFile], form: dict[str, str]
) -> None:
    _, client, file = open_file()

    answer = client.post("/_/settings/edit", data={**form, "csrf": read_mark(client)})

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert file.read_text() == FILE


def test_the_last_ten_copies_are_kept(open_file: Callable[..., OpenFile]) -> None:
    _, client, file = open_file()
    for day in range(10, 25):
        file.with_name(f"dragoman.toml.2026-01-{day}T000000").write_text("")
    form = {"csrf": read_mark(client), "what": "unknown", "value": "refuse"}

    mark = find_hidden(client.post("/_/settings/edit", data=form).text, "mark")
    client.post("/_/settings/apply", data={**form, "mark": mark})

    kept = sorted(path.name for path in file.parent.glob("dragoman.toml.2*"))
    assert len(kept) == 10
    assert kept[0] == "dragoman.toml.2026-01-16T000000"


def test_programs_read_and_change_the_mapping_with_an_admins_key(open_file: Callable[..., OpenFile]) -> None:
    app, _, file = open_file(FILE + KEYS)
    client, headers = app.test_client(), {"x-api-key": "dm-" + "e" * 28}
    wanted = {"default_model": "up/n", "model_mapping": {"claude": "up/m"}}

    before = client.get("/api/config", headers=headers).json
    changed = client.post("/api/config", json=wanted, headers=headers)
    stranger = client.post("/api/config", json=wanted)

    assert before == {"default_model": None, "model_mapping": {"gpt-5": "up/m"}}
    assert changed.json == {"success": True, "config": wanted}
    assert 'claude = "up/m"' in file.read_text()
    assert "gpt-5" not in file.read_text()
    assert stranger.status_code == 401


def test_without_keys_programs_change_nothing(open_file: Callable[..., OpenFile]) -> None:
    app, _, file = open_file()

    answer = app.test_client().post("/api/config", json={"default_model": "up/n"})

    assert answer.status_code == 403
    assert file.read_text() == FILE


def test_no_page_and_no_program_reads_the_environment_through_the_file(
    open_file: Callable[..., OpenFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "canary-of-the-owner")
    app, _, file = open_file(FILE + KEYS)
    client, headers = app.test_client(), {"x-api-key": "dm-" + "e" * 28}
    odd = "up/${PLANTED}"

    answer = client.post(
        "/api/config",
        json={"default_model": odd, "model_mapping": {"a": odd, "b": f"{odd}$${{PLANTED}}"}},
        headers=headers,
    )

    assert answer.status_code == 200
    environ = {"HOME": str(file.parent), "PLANTED": "canary-of-the-owner"}
    models = load_settings(file, environ, {}).models
    assert (models.default, models.routes["a"].targets, models.routes["b"].targets) == (
        odd,
        (odd,),
        (f"{odd}$${{PLANTED}}",),
    )
    told = client.get("/api/config", headers=headers).text + client.get("/_/api/models", headers=headers).text
    assert "canary-of-the-owner" not in told


BODIES = [b"[" * 200_000, b"\xff", b'{"default_model": 1e999}', b'{"model_mapping": {"a": "\\ud800"}}', b"x" * 300_000]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_odd_bodies_of_programs_are_refused(body: bytes, chunked: bool, open_file: Callable[..., OpenFile]) -> None:
    app, _, file = open_file(FILE + KEYS)
    headers = {"x-api-key": "dm-" + "e" * 28, **({"transfer-encoding": "chunked"} if chunked else {})}
    length = {} if chunked else {"content_length": len(body)}

    answer = app.test_client().post(
        "/api/config", input_stream=io.BytesIO(body), headers=headers,
        environ_overrides={"wsgi.input_terminated": True}, **length,
    )  # fmt: skip

    assert 400 <= answer.status_code < 500
    assert file.read_text() == FILE + KEYS


@pytest.mark.parametrize("target", ["none/m", "", " ", "up", "\n[server]\nhost='0'", "[", "x" * 5000, "\u0000"])
def test_a_target_of_a_program_is_a_target_or_refused_and_nothing_else_of_the_file(
    target: str, open_file: Callable[..., OpenFile]
) -> None:
    app, _, file = open_file(FILE + KEYS)

    answer = app.test_client().post(
        "/api/config", json={"model_mapping": {"a": target}}, headers={"x-api-key": "dm-" + "e" * 28}
    )

    if answer.status_code == 200:
        held = load_settings(file, {"HOME": str(file.parent)}, {})
        assert (list(held.models.routes), held.models.routes["a"].targets) == (["a"], (target.strip(),))
        assert held.server == app.runtime.services.settings.server
    else:
        assert (answer.status_code, file.read_text()) == (400, FILE + KEYS)
