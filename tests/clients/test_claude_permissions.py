"""The genuine Claude program runs its own tools once a person has given permission, and keeps sessions."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
import requests

from tests.clients.chromium import DRIVER, PROGRAM, Chromium
from tests.clients.gateways import KEY, write_config
from tests.clients.programs import CLAUDE_CODE, install_npm
from tests.clients.standins import stand_in
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.support.clock import wait_until
from tests.support.gateway_process import GatewayProcess

MODEL = "claude-sonnet-4-6"
ADMIN = "key-of-the-admin"


@pytest.fixture(scope="module")
def claude() -> Path:
    return install_npm(CLAUDE_CODE, "claude")


@pytest.fixture(scope="module")
def upstream() -> Iterator[AnthropicStandIn]:
    with AnthropicStandIn(ScriptedModel()) as served:
        yield served


@pytest.fixture(scope="module")
def served(
    claude: Path, upstream: AnthropicStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    table = {"kind": "claude_cli", "command": [str(claude)], "base_url": upstream.url, "api_key": stand_in.KEY}
    config = write_config({"claude": {**table, "tools": "own"}}, f"claude/{MODEL}", folder)
    with config.open("a") as file:
        file.write(f'\n[permissions]\ntimeout_seconds = 15\n\n[keys.admin]\nkey = "{ADMIN}"\nrole = "admin"\n')
    with GatewayProcess(folder, command=("dragoman", "serve", "--config", str(config))) as gateway:
        yield gateway


class Person:
    """Follows the stream of permissions and does as told with each request."""

    def __init__(self, url: str, decide: Callable[[str], None]) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._decide = decide
        self._answer = requests.get(
            f"{url}/permissions/stream", headers={"authorization": f"Bearer {ADMIN}"}, stream=True, timeout=30
        )
        assert self._answer.status_code == 200, self._answer.text
        self._left = False
        threading.Thread(target=self._follow, daemon=True).start()

    def named(self) -> list[str]:
        return [name for name, _ in self.events if name != "ping"]

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True

    def _follow(self) -> None:
        with contextlib.suppress(requests.RequestException):
            self._read()

    def _read(self) -> None:
        name = ""
        for line in self._answer.iter_lines(chunk_size=1, decode_unicode=True):
            if self._left:
                self._answer.close()
                return
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                self.events.append((name, data))
                if name == "permission_request":
                    self._decide(data["request_id"])


def _respond(url: str, *, allowed: bool) -> Callable[[str], None]:
    def decide(request_id: str) -> None:
        answer = requests.post(
            f"{url}/permissions/{request_id}/respond",
            json={"allowed": allowed},
            headers={"authorization": f"Bearer {ADMIN}"},
            timeout=10,
        )
        assert answer.json() == {"status": "success", "permission_id": request_id, "allowed": allowed}

    return decide


def _ask(gateway: GatewayProcess, path: str = "/claude", text: str = "Leave a trace.") -> str:
    with anthropic.Anthropic(base_url=f"{gateway.url}{path}", api_key=KEY, max_retries=0) as client:
        answer = client.messages.create(
            model=MODEL, max_tokens=500, messages=[{"role": "user", "content": text}], timeout=60
        )
    return "".join(block.text for block in answer.content if block.type == "text")


def test_a_tool_runs_when_a_person_allows_it(
    served: GatewayProcess, upstream: AnthropicStandIn, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    upstream.play(ScriptedModel(Call("Bash", {"command": f"touch {trace}; echo done"})))

    with Person(served.url, _respond(served.url, allowed=True)) as person:
        said = _ask(served)

    assert said.startswith("The tool said: done")
    assert trace.exists()
    (asked,) = [data for name, data in person.events if name == "permission_request"]
    assert (asked["tool_name"], asked["input"]["command"]) == ("Bash", f"touch {trace}; echo done")


def test_a_tool_does_not_run_when_a_person_denies_it(
    served: GatewayProcess, upstream: AnthropicStandIn, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    upstream.play(ScriptedModel(Call("Bash", {"command": f"touch {trace}"})))

    with Person(served.url, _respond(served.url, allowed=False)):
        said = _ask(served)

    assert "A person denied this." in said
    assert not trace.exists()


def test_a_tool_does_not_run_when_nobody_answers(
    served: GatewayProcess, upstream: AnthropicStandIn, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    upstream.play(ScriptedModel(Call("Bash", {"command": f"touch {trace}"})))

    with Person(served.url, lambda request_id: None) as person:
        said = _ask(served)
        wait_until(lambda: len(person.named()) >= 2, 5)

    assert "Nobody gave permission in time." in said
    assert not trace.exists()
    assert person.named() == ["permission_request", "permission_expired"]


def test_a_session_goes_on_where_it_ended_and_others_know_nothing_of_it(
    served: GatewayProcess, upstream: AnthropicStandIn
) -> None:
    upstream.play(ScriptedModel())

    _ask(served, "/claude/first", "My name is Wilhelmina.")
    _ask(served, "/claude/first", "What is my name?")
    _ask(served, "/claude/second", "What is my name?")

    asked = [json.dumps(each.body["messages"]) for each in upstream.asked if each.path == "/v1/messages"]
    one, two, other = asked[-3:]
    assert "Wilhelmina" in one
    assert "Wilhelmina" in two
    assert "What is my name?" in two
    assert "Wilhelmina" not in other


def test_a_history_that_a_client_brings_reaches_the_vendor(served: GatewayProcess, upstream: AnthropicStandIn) -> None:
    upstream.play(ScriptedModel())
    messages: list[anthropic.types.MessageParam] = [
        {"role": "user", "content": "My name is Hildegard."},
        {"role": "assistant", "content": "Good day, Hildegard."},
        {"role": "user", "content": "And yours?"},
    ]

    with anthropic.Anthropic(base_url=f"{served.url}/claude", api_key=KEY, max_retries=0) as client:
        client.messages.create(model=MODEL, max_tokens=500, messages=messages)

    asked = [each.body["messages"] for each in upstream.asked if each.path == "/v1/messages"][-1]
    assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]
    assert "Good day, Hildegard." in json.dumps(asked[1])


@pytest.mark.skipif(not (PROGRAM and DRIVER), reason="no browser (Debian's packages: chromium, chromium-driver)")
@pytest.mark.parametrize(("button", "runs"), [("allow", True), ("deny", False)])
def test_a_person_decides_in_a_browser(
    served: GatewayProcess, upstream: AnthropicStandIn, tmp_path: Path, button: str, runs: bool
) -> None:
    trace = tmp_path / "trace"
    upstream.play(ScriptedModel(Call("Bash", {"command": f"touch {trace}"})))
    said: list[str] = []
    with Chromium(tmp_path / "profile") as browser:
        browser.open(f"{served.url}/_/sign-in")
        browser.type('input[name="key"]', ADMIN)
        browser.click("main button.main")
        browser.open(f"{served.url}/_/permissions")
        asking = threading.Thread(target=lambda: said.append(_ask(served)))
        asking.start()
        browser.wait(f"""return document.body.innerText.includes("touch {trace}")""")
        picture = browser.take_picture()
        browser.click(f'button[value="{button}"]')
        asking.join(60)

    assert picture.startswith(b"\x89PNG")
    assert trace.exists() is runs
    assert ("A person denied this." in said[0]) is not runs
