"""LiteLLM's proxy, which is what Oracle Code Assist runs, as an upstream; behind it the stand-in for a chat server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.clients.claude_code import ask_claude
from tests.clients.gateways import KEY, gateway
from tests.clients.programs import CLAUDE_CODE, LITELLM, install_npm, install_python
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.workspace import MARKER, Workspace
from tests.support.gateway_process import free_port

pytestmark = pytest.mark.heavy

UPSTREAM_KEY = "sk-key-of-the-proxy"
MOCKED, OVERFLOWING, SCRIPTED = "openai/mocked", "openai/overflowing", "openai/scripted"
QUESTION = {"role": "user", "content": "Grüezi"}
TIMEOUT = 60  # seconds until the proxy answers


class Proxy:
    """A running proxy whose models are mocked by itself, except for one, which is the stand-in's."""

    def __init__(self, url: str, upstream: ChatStandIn) -> None:
        self.settings = {"kind": "oca", "base_url": url, "access_token": UPSTREAM_KEY}
        self.upstream = upstream


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    command = install_python(LITELLM) / "litellm"
    folder = tmp_path_factory.mktemp("litellm")
    port = free_port()
    with ChatStandIn(ScriptedModel()) as upstream, (folder / "log").open("w") as log:
        config = folder / "config.yaml"
        config.write_text(json.dumps(_config(upstream)))  # JSON is YAML
        process = subprocess.Popen(
            [command, "--config", config, "--port", str(port), "--host", "127.0.0.1", "--telemetry", "False"],
            cwd=folder,
            env={
                "HOME": str(folder),
                "PATH": f"{command.parent}:/usr/bin:/bin",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/liveliness", folder / "log")
            yield Proxy(f"http://127.0.0.1:{port}", upstream)
        finally:
            process.terminate()
            process.wait(20)


def test_the_catalogue_is_read_and_listed(proxy: Proxy, tmp_path: Path) -> None:
    with (
        gateway({"oca": proxy.settings}, f"oca/{MOCKED}", tmp_path) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        ids = [model.id for model in client.models.list()]

    assert f"oca/{MOCKED}" in ids
    assert f"oca/{SCRIPTED}" in ids


@pytest.mark.parametrize("streamed", [False, True])
def test_a_mocked_answer_comes_through(proxy: Proxy, tmp_path: Path, streamed: bool) -> None:
    with (
        gateway({"oca": proxy.settings}, f"oca/{MOCKED}", tmp_path) as served,
        anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0) as client,
    ):
        options = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [QUESTION]}
        if streamed:
            with client.messages.stream(**options) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**options)

    assert [block.text for block in message.content if block.type == "text"] == ["A mocked “answer”."]
    assert message.usage.output_tokens > 0


def test_claude_code_runs_a_command(proxy: Proxy, workspace: Workspace, tmp_path: Path) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")
    proxy.upstream.play(ScriptedModel(Call("Bash", {"command": f"cat {MARKER}", "description": "Read the marker"})))

    with gateway({"oca": proxy.settings}, f"oca/{SCRIPTED}", tmp_path) as served:
        printed = ask_claude(claude, workspace, served)

    assert printed.strip() == f"The tool said: {workspace.secret}"


def test_an_overflow_of_the_context_is_told_in_the_words_that_clients_know(proxy: Proxy, tmp_path: Path) -> None:
    with (
        gateway({"oca": proxy.settings}, f"oca/{OVERFLOWING}", tmp_path) as served,
        anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0) as client,
        pytest.raises(anthropic.BadRequestError) as refused,
    ):
        client.messages.create(model="claude-sonnet-4-6", max_tokens=100, messages=[QUESTION])

    assert "prompt is too long" in refused.value.message


def _config(upstream: ChatStandIn) -> dict[str, object]:
    mocked = {MOCKED: "A mocked “answer”.", OVERFLOWING: "litellm.ContextWindowExceededError"}
    models = [{"model": model, "api_key": "unused", "mock_response": said} for model, said in mocked.items()]
    known = upstream.settings
    models.append({"model": SCRIPTED, "api_key": known["api_key"], "api_base": known["base_url"]})
    return {
        "model_list": [{"model_name": params["model"], "litellm_params": params} for params in models],
        "general_settings": {"master_key": UPSTREAM_KEY},
    }


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.2)
    raise AssertionError(f"the proxy does not answer; it said: {log.read_text()[-3000:]}")
