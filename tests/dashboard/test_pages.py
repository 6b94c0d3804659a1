"""What each page shows, and that it keeps to itself what is foreign or secret."""

from __future__ import annotations

import re
import threading
from urllib.parse import urlencode

import gevent
import pytest

from app.dashboard import reading
from app.errors import UpstreamError
from app.logs import recent_lines
from app.settings import KeySettings
from tests.dashboard.conftest import SCRIPT, SECRET, MakeApp, enter, read_mark, sign_with
from tests.dashboard.records import EXPORTS, PAGES, REQUEST, hostile, record

WRONG = (("/_/requests", "since"), ("/_/requests", "before"), ("/_/usage", "by"), ("/_/enter", "token"))


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_browser_is_led_to_the_pages_and_everybody_else_gets_json(make_app: MakeApp) -> None:
    client = make_app().test_client()

    browser, program, plain = (client.get("/", headers=each) for each in (BROWSER, {"accept": "*/*"}, {}))

    assert (browser.status_code, browser.location) == (303, "/_/")
    assert program.json == plain.json
    assert program.json is not None
    assert [client.get(path).location for path in ("/dashboard", "/dashboard/")] == ["/_/", "/_/"]
    assert program.json["name"] == "dragoman"


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("/_/", ["No problems", ">claude-sonnet</a> ", "ANTHROPIC_BASE_URL=http://localhost", "up"]),
        ("/_/requests", ["?model=claude-sonnet", "?target=up%2Fm", "✓ complete", "1,234", "$0.0056"]),
        (f"/_/requests/{REQUEST}", ["slow down", "attempt 2: up/m", "tools[0].cache_control", "64000 to 16384"]),
        ("/_/usage?by=provider", ["1,234", "$0.0056", "up"]),
        ("/_/models", ["up/m"]),
        ("/_/models?try=any", ["is routed to:", "1. up/m", "because", "http://127.0.0.1:9/v1/chat/completions"]),
        ("/_/sessions", ["s-1", "1.3k", "claude-cli"]),
        ("/_/sessions/show?session=s-1", ["1,234", "from the cache", "1,294 tokens"]),
        ("/_/providers", ["http://127.0.0.1:9/v1", "api_key", "***", "Test with up/m"]),
        ("/_/keys", ["No keys", "Create a key"]),
        ("/_/logs", ["Download", "/_/logs/stream"]),
        (
            "/_/settings",
            ["[server]", "[providers.up]", "api_key", "***", "default", "Last reloads", "Claude Code</th>"],
        ),
        ("/_/settings/bundle", ["&#34;versions&#34;", "&#34;problems&#34;", "Read it before you share it"]),
    ],
)
def test_each_page_shows_what_it_is_for(make_app: MakeApp, page: str, shown: list[str]) -> None:
    client = enter(make_app(None, record()))

    answer = client.get(page)

    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert [each for each in shown if each not in answer.text] == []


def test_nothing_foreign_becomes_markup(make_app: MakeApp) -> None:
    client = enter(make_app(None, hostile(SCRIPT)))

    text = "".join(client.get(page).text for page in (*PAGES, f"/_/sessions/show?{urlencode({'session': SCRIPT})}"))

    assert text.count("&lt;script&gt;alert(1)") > 20
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert re.findall(r"<script(?! src=\"/_/static/[\w/.-]+\?v=[0-9a-f]{12}\"(?: defer)?></script>)", text) == []
    assert re.findall(r"\son\w+\s*=", re.sub(r">[^<]*<|\"[^\"]*\"", "", text)) == []


def test_no_page_tells_a_secret(make_app: MakeApp) -> None:
    client = enter(make_app(None, hostile(f"before {SECRET} behind")))

    text = "".join(client.get(page).text for page in (*PAGES, *EXPORTS))

    assert text.count("before [masked]") > 10
    assert "secret-0123456789" not in text
    assert "sk-planted" not in text


def test_each_page_allows_nothing_from_elsewhere_and_nothing_inline(make_app: MakeApp) -> None:
    client = enter(make_app(None, record()))
    pages = (*PAGES, *EXPORTS, "/_/sign-in", "/_/requests/none", "/_/usage?by=nothing", "/_/enter")

    answers = {page: client.get(page) for page in pages}

    for page, answer in answers.items():
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), page
        assert "unsafe" not in policy, page
        assert answer.headers["cache-control"] == "no-store", page
        assert answer.headers["x-content-type-options"] == "nosniff", page
        links = re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)
        assert [url for url in links if not url.startswith(("/_/", "#", "/login", "/logout"))] == [], page
        assert re.findall(r"<style| style=", answer.text) == [], page


def test_each_page_is_of_use_where_no_script_runs(make_app: MakeApp) -> None:
    client = enter(make_app(None, *(record(number) for number in range(30))))

    for page in PAGES:
        text = client.get(page).text
        forms = re.findall(r"<form\b[^>]*>", text)
        figures = re.findall(r"<figure\b[^>]*data-chart.*?</figure>", text, re.DOTALL)
        assert all("method=" in form and "action=" in form for form in forms), page
        assert all("<table" in figure for figure in figures), page
        assert re.findall(r"<script(?![^>]*\bsrc=)|\bon\w+=\"", text) == [], page


def test_a_filter_of_the_address_is_text(make_app: MakeApp) -> None:
    client = enter(make_app(None, record()))

    shown = [client.get("/_/requests", query_string={name: SCRIPT}).text for name in ("model", "key", "session")]
    shown += [client.get(page, query_string={name: SCRIPT}).text for page, name in WRONG]

    assert [page for page in shown if "<script>alert" in page or "<img" in page] == []


def test_a_database_that_hangs_holds_up_no_page(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(None, record())
    client, released = enter(app), threading.Event()
    monkeypatch.setattr(reading, "READ_LIMIT", 0.05)
    assert app.runtime.accounts is not None
    monkeypatch.setattr(app.runtime.accounts.accounts, "read", lambda _work: released.wait(30))

    overview, listed = client.get("/_/"), client.get("/_/requests")
    released.set()

    assert overview.status_code == 200
    assert listed.status_code >= 500
    assert all("accounts&#39; database does not answer" in page.text for page in (overview, listed))


def test_a_provider_that_fails_is_the_first_thing_told(make_app: MakeApp) -> None:
    app = make_app(None, record())
    health = app.runtime.services.providers["up"].health
    health.fail(UpstreamError(f"refused {SCRIPT} {SECRET}"))

    text = enter(app).get("/_/").text

    assert 0 < text.index(" up, since ") < text.index("Running now")
    assert "<img" not in text
    assert "secret-0123456789" not in text


def test_the_outcomes_of_a_provider_are_told_by_the_clock(make_app: MakeApp) -> None:
    app = make_app()
    health = app.runtime.services.providers["up"].health
    health.succeed()
    health.fail(UpstreamError("refused"))
    client = enter(app)

    for page in ("/_/", "/_/providers"):
        text = client.get(page).text
        assert re.search(r"\b\d\d:\d\d:\d\d UTC, [\w ]+: refused", text)
        assert not re.search(r"\d\dT\d\d:\d\d", re.sub("<[^>]*>", "", text))


def test_programs_get_what_pages_show(make_app: MakeApp) -> None:
    client = make_app(None, record(), keys=None).test_client()

    told = {name: client.get(f"/_/api/{name}").json for name in ("models", "providers", "keys", "settings")}
    catalogue = client.get("/api/models/full").json

    assert told["models"]["models"][0]["id"] == "up/m"
    assert told["providers"]["providers"][0]["settings"]["api_key"] == "***"
    assert told["keys"] == {"keys": []}
    assert {"name": "api_key", "value": '"***"', "origin": "derived from other settings", "is_set": True} in told[
        "settings"
    ]["settings"]["providers.up"]
    assert [model["name"] for model in catalogue["models"]] == ["up/m", f"up/{SCRIPT}"]  # type: ignore[index]


def test_programs_of_a_client_get_nothing_that_is_for_admins(make_app: MakeApp) -> None:
    client = make_app({"api_keys": ("k-first",)}, record()).test_client()
    paths = ("/_/api/providers", "/_/api/keys", "/_/api/settings", "/api/logs/stream")

    answers = [client.get(path, headers={"x-api-key": "k-first"}).status_code for path in paths]
    strangers = [client.get(path).status_code for path in (*paths, "/_/api/models", "/api/models/full")]

    assert answers == [403] * 4
    assert strangers == [401] * 6


def test_the_log_is_streamed_to_programs(make_app: MakeApp) -> None:
    app = make_app()
    recent_lines.add(
        b'{"time":"2026-11-30T08:00:00.000Z","level":"WARNING","message":"a line about %s"}\n' % SECRET.encode()
    )

    parts = iter(app.test_client().get("/api/logs/stream?level=warn&text=a+line").response)
    told = [next(parts), next(parts)]

    assert told[0] == b"retry: 2000\n\n"
    assert b"a line about [masked]" in told[1]
    assert b"secret-0123456789" not in told[1]


def test_the_limits_of_a_key_are_shown_with_what_is_used(make_app: MakeApp) -> None:
    keys = {name: KeySettings(key="dm-" + name * 32, requests_per_day=10, budget_per_month=5.0) for name in "ab"}
    client, _ = sign_with(make_app(None, keys=keys), "dm-" + "a" * 32)

    text = client.get("/_/usage").text

    assert "<strong>a</strong>, requests per day: 0 of 10" in text
    assert "budget per month: $0.00 of $5.00" in text
    assert "<strong>b</strong>" not in text


def test_a_session_shows_its_sums_and_each_turn_against_the_window(make_app: MakeApp) -> None:
    app = make_app(None, record(1, key="ana"), record(2, key="ana", status=500, terminal="error", error="overloaded"))

    text = enter(app).get("/_/sessions/show?session=s-1").text

    assert text.count('role="img"') == 2
    assert "2,548" in text or "2.5k / 40" in text
    assert "1 failed" in text
    assert 'href="/_/sessions?key=ana"' in text


def test_a_model_is_tested_by_a_real_tool_call(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    client = enter(make_app(demo=True))

    page = client.post("/_/models/test", data={"model": "demo/demo", "csrf": read_mark(client)})
    failed = client.post("/_/models/test", data={"model": "up/m", "csrf": read_mark(client)})

    assert "✓ demo/demo called the tool with" in page.text
    assert "✗" in failed.text[failed.text.index("Test of up/m") :]
    found = re.search(r'href="(/_/requests/[0-9a-f]{32})">The request', page.text)
    assert found is not None
    assert "dragoman-dashboard asked for" in client.get(found[1]).text


def test_open_pages_hear_of_new_requests_that_are_theirs(make_app: MakeApp) -> None:
    app = make_app(None, record(1))
    client = enter(app)
    assert app.runtime.accounts is not None

    def read(path: str) -> str:
        parts = client.get(path).response
        return next(part.decode() for part in parts if b"<tr " in part)  # type: ignore[union-attr,operator]

    with gevent.Timeout(10):
        readers = [gevent.spawn(read, f"/_/live/requests{query}") for query in ("", "?q=model:qwen*")]
        while (live := app.extensions.get("dragoman.live")) is None or live._last is None:
            gevent.sleep(0.01)
        app.runtime.accounts.accounts.take([record(2, model="qwen3", agent=SCRIPT)])
        app.runtime.accounts.accounts.take([record(3)])
        app.runtime.accounts.flush()
        told = [reader.get() for reader in readers]

    assert [len(re.findall(r"<tr ", part)) for part in told] == [2, 1]
    assert told[0].startswith('data: <hx-partial hx-target="#rows" hx-swap="afterbegin">')
    assert "<script>" not in told[1]


def test_a_dashboard_that_is_off_is_not_there(make_app: MakeApp) -> None:
    client = make_app({"dashboard": False}).test_client()
    gone = (*PAGES, "/_/sign-in", "/_/static/page.js")

    assert {client.get(page).status_code for page in gone} == {404}
    assert client.get("/", headers=BROWSER).json["name"] == "dragoman"  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["dashboard.css", "page.js", "charts.js", "inspector.js", "logs.js", "copy.js", "theme.js", "icon.svg"]
)
def test_static_files_come_from_here_with_the_same_rules(make_app: MakeApp, name: str) -> None:
    answer = make_app().test_client().get(f"/_/static/{name}", buffered=True)

    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-cache"
    assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
