"""The Claude program behind the gateway: clients of every dialect are answered, each with a program of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app import create_app
from app.settings import ModelsSettings, ProviderSettings, ServerSettings, Settings
from tests.support.claude_program import (
    ClaudeProgram,
    Complaint,
    Exit,
    answer,
    began,
    call_block,
    ended,
    event,
    failed,
    text_block,
    thinking_block,
    wait_until_gone,
)

MODEL = "cli/claude-sonnet-4-6"
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}

Ask = Callable[..., TestResponse]

PATHS = {"A": "/v1/messages", "C": "/v1/chat/completions", "R": "/v1/responses"}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClaudeProgram:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return ClaudeProgram(tmp_path, *answer("Grüezi, ", "Wält."))


@pytest.fixture
def ask(program: ClaudeProgram) -> Ask:
    """ask(dialect, text, …fields of the body)"""
    clients: dict[str, Any] = {}

    def ask_one(dialect: str, text: str = "hi", provider: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        key = json.dumps(provider)
        if key not in clients:
            table: dict[str, Any] = {"kind": "claude_cli", "command": tuple(program.command)} | (provider or {})
            settings = Settings(
                server=ServerSettings(), providers={"cli": ProviderSettings(**table)}, models=ModelsSettings()
            )
            clients[key] = create_app(settings)
        said: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        body: dict[str, Any] = {"A": {"max_tokens": 64, **said}, "C": said, "R": {"input": text, "store": False}}[
            dialect
        ]
        return clients[key].test_client().post(PATHS[dialect], json={"model": MODEL, **body, **more})

    return ask_one


def text_of(dialect: str, response: TestResponse) -> str:
    body = response.get_json()
    match dialect:
        case "A":
            return "".join(block["text"] for block in body["content"])
        case "C":
            return str(body["choices"][0]["message"]["content"])
        case _:
            return "".join(part["text"] for item in body["output"] for part in item["content"])


def message_of(response: TestResponse) -> str:
    return str(response.get_json()["error"]["message"])


@pytest.mark.parametrize("dialect", PATHS)
def test_a_whole_answer(ask: Ask, dialect: str) -> None:
    response = ask(dialect)

    assert response.status_code == 200
    assert text_of(dialect, response) == "Grüezi, Wält."


@pytest.mark.parametrize("dialect", PATHS)
def test_a_stream(ask: Ask, dialect: str) -> None:
    response = ask(dialect, stream=True)

    assert response.content_type.startswith("text/event-stream")
    assert "Grüezi, " in response.text
    assert {"A": "message_stop", "C": "[DONE]", "R": "response.completed"}[dialect] in response.text


def test_a_client_of_the_same_dialect_gets_the_programs_events_as_they_are(ask: Ask) -> None:
    response = ask("A", stream=True)

    (start, *rest) = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    assert start["message"]["model"] == MODEL
    assert rest == [piece["event"] for piece in answer("Grüezi, ", "Wält.")[4:] if "event" in piece]


def test_usage_is_that_of_the_program(ask: Ask) -> None:
    usage = ask("C").get_json()["usage"]

    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 7)


def test_an_answer_without_usage_and_model_is_an_answer(ask: Ask, program: ClaudeProgram) -> None:
    bare = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    program.play(
        event("message_start", message=bare),
        *text_block(0, "Grüezi"),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={}),
        event("message_stop"),
    )

    answers = {dialect: text_of(dialect, ask(dialect)) for dialect in PATHS}

    assert answers == dict.fromkeys(PATHS, "Grüezi")


def test_thinking_keeps_its_signature(ask: Ask, program: ClaudeProgram) -> None:
    program.play(*began(), *thinking_block(0, "Hm.", "sig-1"), *text_block(1, "Grüezi"), *ended())

    thought, _ = ask("A").get_json()["content"]

    assert thought == {"type": "thinking", "thinking": "Hm.", "signature": "sig-1"}


def test_parallel_calls_end_the_turn_and_are_the_clients_to_make(ask: Ask, program: ClaudeProgram) -> None:
    calls = [*call_block(0, "toolu_1", "f", {"x": 1}), *call_block(1, "toolu_2", "Bash", {"x": 2})]
    program.play(*began(), *calls, *ended("tool_use"))
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("f", "Bash")]

    choice = ask("C", tools=tools).get_json()["choices"][0]

    assert choice["finish_reason"] == "tool_calls"
    made = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in choice["message"]["tool_calls"]
    ]
    assert made == [("toolu_1", "f", '{"x": 1}'), ("toolu_2", "Bash", '{"x": 2}')]
    (run,) = program.runs()
    assert [tool["name"] for tool in run.extra["tools"]] == ["f", "Bash"]
    assert run.option("--tools") == ""


def test_a_history_with_results_and_images_reaches_the_model_once(ask: Ask, program: ClaudeProgram) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    history = [
        {"role": "system", "content": "You are a parrot."},
        {"role": "user", "content": [{"type": "text", "text": "first question"}, image]},
        {"role": "assistant", "content": "first answer"},
        {"role": "user", "content": "second question"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "the result"},
    ]

    ask("C", messages=history, tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}])

    (run,) = program.runs()
    roles = [message["role"] for message in run.extra["messages"]]
    sent = json.dumps(run.extra["messages"])
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert [sent.count(text) for text in ("first question", "second question", "the result", "iVBORw0KGgo=")] == [1] * 4
    assert run.system == "You are a parrot."
    assert "question" not in run.stdin


def test_an_edited_history_holds_nothing_of_what_it_was(ask: Ask, program: ClaudeProgram) -> None:
    def talk(second: str) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a1"},
            {"role": "user", "content": second},
        ]

    ask("A", messages=talk("original"))
    ask("A", messages=talk("edited"))

    assert program.runs()[1].extra["messages"] == talk("edited")
    assert "original" not in repr(program.runs()[1])


def test_two_callers_share_nothing(ask: Ask, program: ClaudeProgram) -> None:
    ask("A", "secret-one", system="of the first")
    ask("C", "secret-two")

    first, second = program.runs()
    assert first.pid != second.pid
    assert first.folder != second.folder
    assert not {"secret-one", "of the first"} & set(json.dumps(second.settings).split('\\"'))
    assert "secret-one" not in repr(second)


def test_requests_run_side_by_side_up_to_the_limit(ask: Ask, program: ClaudeProgram) -> None:
    program.play(0.3, *answer("Grüezi"))
    ask("A", provider={"max_processes": 2})
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask("A", provider={"max_processes": 2}).status_code))
        for _ in range(6)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert statuses == [200] * 6
    assert len({run.pid for run in program.runs()}) == 7


def test_a_client_whose_program_has_to_wait_hears_pings(program: ClaudeProgram) -> None:
    program.play(0.8, *answer("Grüezi"))
    table = ProviderSettings(kind="claude_cli", command=tuple(program.command), max_processes=1)
    server = ServerSettings(stream_start_timeout=0.1, ping_interval=0.1)
    app = create_app(Settings(server=server, providers={"cli": table}, models=ModelsSettings()))
    body = {"model": MODEL, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    heard = []
    threads = [
        threading.Thread(target=lambda: heard.append(app.test_client().post("/v1/messages", json=body).text))
        for _ in range(2)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    first, second = sorted(text.count(": keep-alive") for text in heard)
    assert second > first + 3
    assert all("Grüezi" in text and '"message_stop"' in text for text in heard)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_of_five_megabytes_is_no_argument(ask: Ask, program: ClaudeProgram, *, stream: bool) -> None:
    prompt = "0123456789" * 500_000

    response = ask("C", prompt, stream=stream)

    assert response.status_code == 200
    (run,) = program.runs()
    assert run.stdin.count(prompt) == 1
    assert sum(map(len, run.argv)) < 2000


def test_the_program_runs_in_an_empty_folder_that_is_gone_afterwards(ask: Ask, program: ClaudeProgram) -> None:
    ask("A")

    (run,) = program.runs()
    assert run.beside == []
    assert run.environ["TMPDIR"] == str(Path(run.folder).parent)
    wait_until_gone(run.pid, folder=run.environ["TMPDIR"])


def test_the_program_sees_no_secret_of_the_gateway(
    ask: Ask, program: ClaudeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-ours")
    monkeypatch.setenv("MY_VAULT", "secret-of-ours")

    ask("A")

    (run,) = program.runs()
    assert "secret-of-ours" not in str(run.environ)
    assert "CLAUDE_CONFIG_DIR" not in run.environ


def test_a_configured_key_is_the_programs(ask: Ask, program: ClaudeProgram) -> None:
    ask("A", provider={"api_key": "key-of-the-upstream", "base_url": "http://127.0.0.1:9"})

    environ = program.runs()[0].environ
    assert environ["ANTHROPIC_API_KEY"] == "key-of-the-upstream"
    assert environ["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert environ["CLAUDE_CONFIG_DIR"] == "../config"


def test_settings_of_a_client_are_carried_and_its_metadata_is_reported(ask: Ask, program: ClaudeProgram) -> None:
    response = ask("A", stop_sequences=["END"], temperature=0.5, metadata={"user_id": "u-1"})

    extra = program.runs()[0].extra
    assert (extra["stop_sequences"], extra["temperature"]) == (["END"], 0.5)
    assert "metadata" not in extra
    assert response.status_code == 200


def test_what_the_vendor_takes_from_no_client_of_chat_is_reported(ask: Ask) -> None:
    response = ask("C", frequency_penalty=0.5)

    assert response.headers["x-dragoman-dropped"] == "frequency_penalty"


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script",
    [[Complaint("Not logged in · Please run /login"), Exit(1)], failed("Not logged in · Please run /login")],
    ids=["as a complaint", "as a result"],
)
def test_a_missing_login_is_told_with_its_remedy(
    ask: Ask, program: ClaudeProgram, dialect: str, script: list[Any], *, stream: bool
) -> None:
    program.play(*script)

    response = ask(dialect, stream=stream)

    assert response.status_code == 503
    assert "Not logged in" in message_of(response)
    assert "`claude auth login`" in message_of(response)


def test_a_missing_program_is_told_by_its_name_and_its_setting(ask: Ask) -> None:
    response = ask("A", provider={"command": ("claude-that-is-not-there",)})

    assert response.status_code == 503
    assert "claude-that-is-not-there" in message_of(response)
    assert "providers.cli.command" in message_of(response)


def test_a_key_that_the_vendor_refuses_is_the_operators_trouble(ask: Ask, program: ClaudeProgram) -> None:
    program.play(*failed("Failed to authenticate. API Error: 401", 401, api_error_type="authentication_error"))

    response = ask("A", provider={"api_key": "key-of-the-upstream"})

    assert response.status_code == 502
    assert "providers.cli.api_key was refused" in message_of(response)


def test_a_prompt_that_is_too_long_is_told_as_such(ask: Ask, program: ClaudeProgram) -> None:
    program.play(*failed("Prompt is too long", terminal_reason="blocking_limit"))

    response = ask("C")

    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "context_length_exceeded"


def test_an_overloaded_vendor_is_asked_again(ask: Ask, program: ClaudeProgram) -> None:
    program.play(*failed("API Error: 529 Overloaded.", 529, api_error_type="overloaded_error"))

    response = ask("C")

    assert response.status_code == 503
    assert len(program.runs()) == 3


def test_secrets_in_complaints_are_masked(ask: Ask, program: ClaudeProgram) -> None:
    program.play(Complaint("bad key key-of-the-upstream, sk-ant-api03-abcdefgh"), Exit(1))

    said = message_of(ask("A", provider={"api_key": "key-of-the-upstream"}))

    assert "bad key [credential], [masked]" in said


@pytest.mark.parametrize("dialect", PATHS)
def test_a_program_that_dies_in_a_stream_gives_no_good_ending(ask: Ask, program: ClaudeProgram, dialect: str) -> None:
    program.play(*began(), *text_block(0, "half"), Complaint("out of memory"), Exit(1))

    response = ask(dialect, stream=True)

    assert "half" in response.text
    assert "out of memory" in response.text
    assert {"A": '"message_stop"', "C": '"finish_reason":"stop"', "R": "response.completed"}[
        dialect
    ] not in response.text


def test_betas_of_a_client_are_the_programs_too(program: ClaudeProgram) -> None:
    table = ProviderSettings(kind="claude_cli", command=tuple(program.command))
    app = create_app(Settings(server=ServerSettings(), providers={"cli": table}, models=ModelsSettings()))
    body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

    app.test_client().post("/v1/messages", json=body, headers={"anthropic-beta": "a-1, b-2,a-1"})

    assert program.runs()[0].environ["ANTHROPIC_BETAS"] == "a-1,b-2"


def test_its_models_are_listed_without_starting_it(program: ClaudeProgram) -> None:
    table = ProviderSettings(kind="claude_cli", command=tuple(program.command))
    app = create_app(Settings(server=ServerSettings(), providers={"cli": table}, models=ModelsSettings()))

    listed = [model["id"] for model in app.test_client().get("/v1/models").get_json()["data"]]

    assert any("claude-sonnet-5-5" in name for name in listed)
    assert program.runs() == []
