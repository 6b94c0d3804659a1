"""The pages: what they show, to whom, and that nothing foreign becomes more than text in them."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import gevent
import pytest
from click.testing import CliRunner

from app.accounts.record import AttemptRecord, RequestRecord, StepRecord, Times
from app.cli import main
from app.conversation.response import Usage
from app.dashboard import reading, tickets
from app.errors import UpstreamError
from app.logs import recent_lines
from app.settings import KeySettings
from tests.dashboard.conftest import SCRIPT, SECRET, MakeApp, enter, read_mark, sign_with

REQUEST = f"{7:024x}"
PAGES = (
    "/_/",
    "/_/requests",
    f"/_/requests/{REQUEST}",
    *(f"/_/usage?by={group}" for group in ("key", "model", "target", "provider", "client", "day", "hour")),
    "/_/usage?by=key&also=day&metric=output&since=24h",
    "/_/models",
    "/_/models?try=claude-sonnet",
    "/_/sessions",
    "/_/sessions/show?session=s-1",
    "/_/permissions",
    "/_/providers",
    "/_/keys",
    "/_/logs",
    "/_/recording",
    "/_/settings/edit",
    "/_/settings",
    "/_/settings/bundle",
)
EXPORTS = (
    "/_/requests.csv",
    "/_/requests.json",
    "/_/usage.csv?by=key",
    "/_/usage.json",
    "/_/logs.txt",
    "/_/settings/bundle.json",
)
STREAMS = ("/_/live/overview", "/_/live/requests", "/_/live/permissions", "/_/logs/stream")
CHANGES = (
    *("/_/models/test", "/_/permissions/answer", "/_/running/end"),
    *(f"/_/keys/{what}" for what in ("create", "rotate", "disable")),
    *(f"/_/recording/{what}" for what in ("start", "stop", "forget")),
    *(f"/_/requests/{REQUEST}/replay", "/_/settings/edit", "/_/settings/apply"),
)
# Those that are shown to an admin alone.
OF_ADMINS = ("/_/providers", "/_/keys", "/_/logs", "/_/settings", "/_/settings/edit", "/_/settings/bundle")
WRONG = (("/_/requests", "since"), ("/_/requests", "before"), ("/_/usage", "by"), ("/_/enter", "token"))
# Names of namespaces, and whose work a vendored file is: none of them is loaded.
KNOWN_ADDRESS = re.compile(r"http://www\.w3\.org/2000/svg|https://github\.com/leeoniya/uPlot")
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def record(number: int = 7, **changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "id": f"{number:024x}",
        "received": time.time() - 60 + number,
        "agent": "claude-cli/2.1",
        "model": "claude-sonnet",
        "rule": "models.default",
        "provider": "up",
        "target": "up/m",
        "session": "s-1",
        "attempts": (
            AttemptRecord("up/m", 429, "rate_limit", "slow down", started=1, ended=20, waited=300),
            AttemptRecord("up/m", 200, started=320, ended=900),
        ),
        "status": 200,
        "times": Times(routed=1, upstream_head=500, first_byte=510, end=900),
        "usage": Usage(fresh=1234, cache_read=40, output=20),
        "cost": 5_600_000,
        "losses": ("tools[0].cache_control",),
        "lowered": ("max_tokens from 64000 to 16384",),
    }
    return RequestRecord(**{**fields, **changes})


def hostile(text: str, **changes: Any) -> RequestRecord:
    """A record whose every text is `text`."""
    names = ("session", "key", "agent", "path", "dialect_in", "dialect_out", "model", "rule", "provider", "target")
    words = dict.fromkeys((*names, "error", "message", "origin", "upstream_request_id"), text)
    tried = AttemptRecord(text, 500, text, text, 1, 2, 3, text)
    told = {"losses": (text,), "lowered": (text,), "skipped": (text,), "steps": (StepRecord(text, text, 1, 2),)}
    return record(**words, attempts=(tried, tried), terminal="error", **told, **changes)


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


@pytest.mark.parametrize("keys", [(), ("k-first",)])
def test_nothing_is_shown_without_signing_in(make_app: MakeApp, keys: tuple[str, ...]) -> None:
    client = make_app({"api_keys": keys}, record()).test_client()
    client.set_cookie("dragoman_dashboard", "9999999999.." + "0" * 64, path="/_/")

    answers = [client.get(page) for page in (*PAGES, *EXPORTS, *STREAMS)]
    answers += [client.post(path, data={"csrf": "x"}) for path in CHANGES]

    assert {answer.status_code for answer in answers} == {401}
    assert [answer for answer in answers if "claude-sonnet" in answer.text] == []


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


def test_the_log_is_shown_in_rows_with_all_fields_on_demand(make_app: MakeApp) -> None:
    client = enter(make_app())
    fields = {"id": "7f", "model": SCRIPT, "upstream": "up/m", "status": 429, "terminal": "error", "stream": False}
    fields |= {"ttfb_ms": None, "ms": 1200, "error": "rate_limit", "message": f"a busy day {SECRET}", "path": "/v1/x"}
    recent_lines.add(json.dumps({"time": "2026-02-03T08:00:00.000Z", "level": "WARNING", **fields}).encode() + b"\n")

    page = client.get("/_/logs?level=warn&text=a+busy+day").text
    with gevent.Timeout(10):
        told = client.get("/_/logs/stream?level=warn").response
        assert next(iter(told)) == b"retry: 2000\n\n"
    everything = client.get("/_/logs.txt?text=a+busy+day").text

    assert "<time>08:00:00</time> <b>warn</b> POST /v1/x" in page
    assert 'href="/_/requests/7f"' in page
    assert "&#34;ttfb_ms&#34;: null" in page
    assert "<script>alert" not in page
    assert SECRET[-10:] not in page + everything
    assert json.loads(everything.splitlines()[0])["id"] == "7f"


def test_the_list_is_filtered_by_terms(make_app: MakeApp) -> None:
    busy = {"status": 529, "terminal": "error", "error": "overloaded"}
    client = enter(make_app(None, record(7), record(8, model="qwen3:30b", key="ana", **busy), record(9, model="a_b%c")))

    def find(query: str) -> list[str]:
        text = client.get(f"/_/requests?{query}").text
        return re.findall(r'href="/_/requests/0*(\d)"', text[text.index('id="rows"') :])

    found = {query: find(query) for query in (
        "q=status:5xx", "q=status:529+key:ana", "q=model:qwen*", "q=qwen", "q=model:*_b%25*", "q=failed:yes",
        "q=client:claude-cli/2.1", "status=200", "failed=1", "q=model:nothing", "q=model:*x*",
    )}  # fmt: skip

    assert found == {
        "q=status:5xx": ["8"], "q=status:529+key:ana": ["8"], "q=model:qwen*": ["8"], "q=qwen": ["8"],
        "q=model:*_b%25*": ["9"], "q=failed:yes": ["8"], "q=client:claude-cli/2.1": ["9", "8", "7"],
        "status=200": ["9", "7"], "failed=1": ["8"], "q=model:nothing": [], "q=model:*x*": [],
    }  # fmt: skip


def test_a_request_tells_what_it_waited_for_and_which_targets_were_skipped(make_app: MakeApp) -> None:
    waits = (StepRecord("credential", "renewed for up", 2, 40), StepRecord("queue", "up", 41, 300))
    client = enter(make_app(None, record(7, steps=waits, skipped=("other/m: it rests for 20 s",))))

    text = re.sub(r"<[^>]+>", " ", client.get(f"/_/requests/{7:024x}").text)
    shown = CliRunner().invoke(main, ["show", f"{7:024x}"]).output

    assert re.search(r"credential\s+2\s+40\s+renewed for up", text)
    assert re.search(r"queue\s+41\s+300\s+up", text)
    assert "skipped: other/m: it rests for 20 s" in text
    assert "renewed for up  2-40 ms" in shown
    assert "other/m: it rests for 20 s" in shown


def test_requests_with_an_error_are_one_click_away(make_app: MakeApp) -> None:
    busy = {"status": 529, "terminal": "error", "error": "overloaded"}
    client = enter(make_app(None, record(7), record(8, model="qwen3", **busy), record(9, status=500, terminal="error")))

    def find(query: str) -> list[str]:
        return re.findall(r'href="/_/requests/([0-9a-f]{24})', client.get(f"/_/requests?{query}").text)

    assert 'href="/_/requests?error=overloaded"' in client.get(f"/_/requests/{8:024x}").text
    assert find("error=overloaded") == find("q=error:overloaded") == find("q=error:over*+qwen3") == [f"{8:024x}"]
    assert find("q=error:overloaded+model:claude-sonnet") == []


def test_live_updates_can_be_stopped(make_app: MakeApp) -> None:
    client = enter(make_app(None, record(7)))

    live, still = (client.get(f"/_/requests?model=claude-sonnet{more}").text for more in ("", "&live=no"))

    assert "/_/live/requests?model=claude-sonnet" in live
    assert "/_/live/requests" not in still
    assert 'href="/_/requests?model=claude-sonnet">Live' in still


def test_a_model_tells_when_it_was_last_used_and_last_failed(make_app: MakeApp) -> None:
    now = time.time()
    old = record(7, received=now - 26 * 3600, status=500, terminal="error", error="server_error")
    client = enter(make_app(None, record(8, received=now), old))

    row = re.sub(r"<[^>]+>", " ", client.get("/_/models").text.split("Test up/m")[0][-900:])

    assert re.search(r"2\s+last (in this hour|1 h ago)", row)
    assert re.search(r"1\s+last 1 d [23] h ago", row)


@pytest.mark.parametrize(
    "query", ["q=statsu:5xx", "q=status:6xx", "status=abc", "since=2026-13-45", "since=1h&until=2h"]
)
def test_a_wrong_term_is_named(make_app: MakeApp, query: str) -> None:
    answer = enter(make_app()).get(f"/_/requests?{query}")

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


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


def test_a_chart_of_all_time_begins_with_the_first_data(make_app: MakeApp) -> None:
    text = enter(make_app(None, record())).get("/_/usage?since=0").text

    # The record is a minute old, and may be of the day before.
    assert text.count("data-x=") in (1, 2)


def test_the_field_on_top_finds_requests_sessions_and_models(make_app: MakeApp) -> None:
    client = enter(make_app(None, record()))

    def lead(text: str) -> str | None:
        return client.get("/_/search", query_string={"q": text}).location

    assert lead(REQUEST) == f"/_/requests/{REQUEST}"
    assert lead("s-1") == "/_/sessions/show?session=s-1"
    assert lead("sonnet") == "/_/requests?model=%2Asonnet%2A"
    assert lead("status:5xx") == "/_/requests?q=status%3A5xx"


def test_lists_are_exported_and_no_name_becomes_a_formula(make_app: MakeApp) -> None:
    client = enter(make_app(None, *(record(number) for number in range(1, 9)), record(9, model="=1+1", agent="@x")))

    table = client.get("/_/requests.csv?q=model:*1*").text.splitlines()
    whole = client.get("/_/requests.json").json
    sums = client.get("/_/usage.csv?by=model&also=key").text.splitlines()

    assert table[0].startswith("id,received,key,agent")
    assert ",'@x," in table[1]
    assert ",'=1+1," in table[1]
    assert len(table) == 2
    assert whole is not None
    assert [row["id"] for row in whole] == [f"{number:024x}" for number in range(9, 0, -1)]
    assert sums[0].startswith("model,key,requests")
    assert client.get("/_/requests.xml").status_code == 404


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
    "headers",
    [{"host": "rebound.example"}, {"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}],
)
def test_another_sites_page_gets_nowhere(make_app: MakeApp, headers: dict[str, str]) -> None:
    client = enter(make_app(None, record()))

    assert client.post("/_/sign-out", headers=headers).status_code == 403
    assert "host" not in headers or client.get("/_/", headers=headers).status_code == 403


@pytest.mark.parametrize("place", [{"REMOTE_ADDR": "203.0.113.9"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}])
def test_without_keys_the_pages_are_for_this_machine(make_app: MakeApp, place: dict[str, str]) -> None:
    client = enter(make_app(None, record()))

    assert client.get("/_/", environ_overrides=place).status_code == 403


def test_older_requests_are_a_page_of_their_own_with_the_same_filters(make_app: MakeApp) -> None:
    client = enter(make_app(None, *(record(number) for number in range(1, 54)), record(60, model="of-another")))

    first = client.get("/_/requests?model=claude-sonnet&since=1h&provider=")
    link = re.search(r'href="(/_/requests\?[^"]*before=[^"]*)"', first.text)
    assert link is not None
    second = client.get(link[1].replace("&amp;", "&"))

    rows = [len(re.findall(r'href="/_/requests/\w', page.text)) for page in (first, second)]
    assert rows == [50, 3]
    assert "of-another" not in first.text + second.text


@pytest.mark.parametrize("query", ["before=x", "since=soon"])
def test_a_wrong_filter_is_named(make_app: MakeApp, query: str) -> None:
    answer = enter(make_app()).get(f"/_/requests?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.text


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
