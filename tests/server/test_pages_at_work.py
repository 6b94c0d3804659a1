"""Pages of a real server. With two workers, whichever of them answers shows and ends what runs at the other."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests

from tests.server.hosts import ADMIN, get
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, json_reply, sse
from tests.support.gateway_process import GatewayProcess

STREAMS = 8
FIRST = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def read_stream(gateway: GatewayProcess, said: list[bytes]) -> None:
    """Asks on a connection of its own, and reads to the end what is said."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    body = json.dumps({"model": "up/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    with closing(connection), suppress(http.client.HTTPException, OSError):
        connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {ADMIN}"})
        said.append(connection.getresponse().read())


def sign_in(gateway: GatewayProcess) -> requests.Session:
    """Somebody whose requests each come on a connection of their own."""
    session = requests.Session()
    session.headers["connection"] = "close"
    form = session.get(f"{gateway.url}/_/sign-in", timeout=10).text
    mark = find_mark(form)
    session.post(f"{gateway.url}/_/sign-in", {"csrf": mark, "key": ADMIN}, timeout=10).raise_for_status()
    return session


def find_mark(page: str) -> str:
    found = re.search(r'name="csrf" value="([\w.-]+)"', page)
    assert found is not None
    return found[1]


def test_a_stream_is_ended_on_a_page_whichever_worker_it_runs_at(tmp_path: Path) -> None:
    with FakeUpstream(sse(FIRST, STALL)) as upstream:
        (tmp_path / "dragoman.toml").write_text(
            f'[server]\nworkers = 2\n[keys.admin]\nkey = "{ADMIN}"\nrole = "admin"\n'
            f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk-up"\n'
        )
        (tmp_path / "run").mkdir(mode=0o700)
        with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")) as gateway:
            said: list[bytes] = []
            clients = [threading.Thread(target=read_stream, args=(gateway, said)) for _ in range(STREAMS)]
            for client in clients:
                client.start()
            wait_until(lambda: len(get(gateway, "/_/api/running")["running"]) == STREAMS)
            page = sign_in(gateway)
            running = [each["id"] for each in get(gateway, "/_/api/running")["running"]]
            spared, wanted = running[0], running[1:]
            for request_id in wanted:
                form = page.get(f"{gateway.url}/_/", timeout=10).text
                data = {"csrf": find_mark(form), "id": request_id}
                assert page.post(f"{gateway.url}/_/running/end", data, timeout=10).status_code == 200
            wait_until(lambda: len(said) == len(wanted))
            left = get(gateway, "/_/api/running")["running"]
            told = list(said)
            wait_until(lambda: len(get(gateway, "/_/api/requests?failed=1")["requests"]) == len(wanted))
        for client in clients:
            client.join(10)

    assert [each["id"] for each in left] == [spared]
    assert all(b'"error"' in each and b"[DONE]" not in each for each in told)


@pytest.mark.parametrize(
    ("path", "left"),
    [("/_/live/overview", 15), ("/_/live/permissions", 10), ("/_/logs/stream", 15), ("/permissions/stream", 70)],
)
def test_a_page_that_was_left_makes_room_at_once(tmp_path: Path, path: str, left: int) -> None:
    """`left` are more than one visitor may have open at a time."""
    (tmp_path / "dragoman.toml").write_text(f'[keys.admin]\nkey = "{ADMIN}"\nrole = "admin"\n')
    with GatewayProcess(tmp_path) as gateway:
        visitor = sign_in(gateway)
        visitor.headers["authorization"] = f"Bearer {ADMIN}"
        statuses = set()
        for _ in range(left):
            page = visitor.get(gateway.url + path, stream=True, timeout=10)
            statuses.add(page.status_code)
            page.close()
            time.sleep(0.1)

    assert statuses == {200}


def test_a_reload_is_told_of_all_workers_whichever_answers(tmp_path: Path) -> None:
    file = tmp_path / "dragoman.toml"
    text = f'[server]\nworkers = 2\n[keys.admin]\nkey = "{ADMIN}"\nrole = "admin"\n'
    file.write_text(text)
    (tmp_path / "run").mkdir(mode=0o700)
    with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")) as gateway:

        def list_reloads() -> list[tuple[int, bool]]:
            told = get(gateway, "/_/api/settings")["reloads"]
            return [(each["workers"], bool(each["faults"])) for each in told]

        file.write_text(text + '[models]\ndefualt = "x"\n')
        wait_until(lambda: list_reloads() == [(2, True)])
        file.write_text(text + "[models]\n")
        wait_until(lambda: list_reloads() == [(2, False), (2, True)])
        seen = [list_reloads() for _ in range(10)]
        page = sign_in(gateway).get(f"{gateway.url}/_/settings", timeout=10).text

    assert seen == [[(2, False), (2, True)]] * 10
    assert page[page.index("Last reloads") :].count('<td class="narrow">all</td>') == 2


def test_a_provider_is_told_of_alike_whichever_worker_answers(tmp_path: Path) -> None:
    with FakeUpstream(json_reply({"error": {"message": "no such key"}}, 401)) as upstream:
        (tmp_path / "dragoman.toml").write_text(
            f'[server]\nworkers = 2\n[keys.admin]\nkey = "{ADMIN}"\nrole = "admin"\n'
            f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk-up"\nmodels = ["m"]\n'
        )
        (tmp_path / "run").mkdir(mode=0o700)
        with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")) as gateway:
            body = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}
            headers = {"authorization": f"Bearer {ADMIN}", "connection": "close"}
            requests.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=10)

            def look() -> set[str | None]:
                seen = (get(gateway, "/health")["providers"]["up"].get("last_failure") for _ in range(10))
                return {None if each is None else each["kind"] for each in seen}

            wait_until(lambda: look() == {"upstream_auth"})
            statuses = {get(gateway, "/health")["status"] for _ in range(10)}

    assert statuses == {"unauthenticated"}
