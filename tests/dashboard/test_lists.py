"""Lists of requests, sessions and log lines: filtered, found, exported, turned over."""

from __future__ import annotations

import json
import re
import time

import gevent
import pytest
from click.testing import CliRunner

from app.accounts.record import StepRecord
from app.cli import main
from app.logs import recent_lines
from tests.dashboard.conftest import SCRIPT, SECRET, MakeApp, enter
from tests.dashboard.records import REQUEST, record


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
