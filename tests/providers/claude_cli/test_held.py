"""A program that keeps its conversation: what it is told, how its many turns become one answer, and its sessions."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.credentials.credential import Credential
from app.errors import Forbidden, InvalidRequest, ProgramUnavailable, UpstreamBusy, UpstreamMalformed
from app.providers.kinds.claude_cli import places
from app.providers.kinds.claude_cli.held_order import HeldOrder, read_held_order, read_servers
from app.providers.kinds.claude_cli.held_output import HeldOutput
from app.providers.kinds.claude_cli.places import Place, Places
from app.settings import ProviderSettings
from tests.support.claude_program import Piece, answer, began, call_block, ended, event, failed, text_block

TURNS = [
    {"role": "user", "content": "My name is Ada."},
    {"role": "assistant", "content": [{"type": "text", "text": "Hello Ada.", "cache_control": {"type": "ephemeral"}}]},
    {"role": "user", "content": "And mine?"},
]


def order(body: dict[str, Any], servers: dict[str, Any] | None = None, **settings: Any) -> HeldOrder:
    return read_held_order(
        ("claude",),
        "m",
        json.dumps(body).encode(),
        settings=ProviderSettings(kind="claude_cli", **{"tools": "own", **settings}),
        betas="",
        credential=Credential(api_key="sk-of-the-vendor-1"),
        mcp_servers=servers or {},
    )


def place(folder: Path) -> Place:
    return Places(folder / "sessions", None, None, 60, 10).single(folder)


def feed(output: HeldOutput, *script: Piece) -> list[dict[str, Any]]:
    told = [piece for piece in script if isinstance(piece, bytes | dict)]
    lines = b"".join(piece if isinstance(piece, bytes) else json.dumps(piece).encode() + b"\n" for piece in told)
    written = output.feed(lines).decode()
    return [json.loads(line[6:]) for line in written.splitlines() if line.startswith("data: ")]


def second_turn(*blocks: Piece) -> list[Piece]:
    """A further message of the model in the same run."""
    return [began()[-1], *blocks]


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "usage": {"output_tokens": 30}, **fields}


def shape(events: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(each["type"], each.get("index")) for each in events]


def of_tool_turn() -> list[Piece]:
    """A turn that calls a tool, and what the tool has answered."""
    told = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "two files"}]}
    return [
        *began(),
        *text_block(0, "I look."),
        *call_block(1, "toolu_1", "Bash", {"command": "ls"}),
        event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 9}),
        event("message_stop"),
        {"type": "user", "message": told, "parent_tool_use_id": None},
    ]


def test_many_turns_of_the_program_are_one_answer() -> None:
    output = HeldOutput("hidden")

    events = feed(output, *of_tool_turn(), *second_turn(*text_block(0, "Two.")), *ended()[:-1], result())

    assert shape(events) == [
        ("message_start", None),
        *[(f"content_block_{step}", 0) for step in ("start", "delta", "stop")],
        *[(f"content_block_{step}", 1) for step in ("start", "delta", "stop")],
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    assert events[-2]["usage"] == {"output_tokens": 30}
    assert output.ended
    assert output.trouble is None


def test_what_the_tools_did_is_told_on_request() -> None:
    events = feed(HeldOutput("text"), *of_tool_turn(), *second_turn(*text_block(0, "Two.")), *ended()[:-1], result())

    told = "".join(each["delta"]["text"] for each in events if each["type"] == "content_block_delta")
    assert told == 'I look.\n[Bash] {"command": "ls"}\n\n[result] two files\nTwo.'
    assert [each["index"] for each in events if each["type"] == "content_block_start"] == [0, 1, 2, 3]


def test_helpers_of_the_program_are_not_heard() -> None:
    helper = [{**each, "parent_tool_use_id": "toolu_1"} for each in text_block(0, "inside") if isinstance(each, dict)]

    events = feed(HeldOutput("text"), *began(), *helper, *text_block(0, "outside"), result())

    assert "inside" not in json.dumps(events)


def test_an_answer_with_more_turns_than_allowed_is_cut_short_and_says_so() -> None:
    output = HeldOutput("hidden")

    events = feed(output, *of_tool_turn(), result(subtype="error_max_turns", is_error=True))

    assert events[-2]["delta"]["stop_reason"] == "max_tokens"
    assert output.trouble is None


def test_a_failure_in_a_later_turn_is_a_failure() -> None:
    output = HeldOutput("hidden")

    feed(output, *of_tool_turn(), *failed("API Error: 529", 529)[1:])

    assert output.trouble is not None
    assert output.trouble.status == 529


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": []},
        {"type": "content_block_delta", "index": 7, "delta": {}},
        {"type": "content_block_stop"},
        {"type": "message_delta"},
        {"index": 0},
        [],
        None,
    ],
)
def test_an_event_that_is_none_is_refused(odd: Any) -> None:
    output = HeldOutput("text")
    feed(output, *began())

    with pytest.raises(UpstreamMalformed):
        feed(output, {"type": "stream_event", "event": odd})


def test_only_the_last_turn_is_said_and_the_earlier_ones_are_written_down(tmp_path: Path) -> None:
    where = place(tmp_path)

    command = order({"messages": TURNS, "system": "Be brief.", "temperature": 0.2, "tools": []}).write(
        where, tmp_path, {}
    )

    rows = [json.loads(line) for line in where.transcript.read_text().splitlines()]
    assert [(row["type"], row["message"]["content"]) for row in rows] == [
        ("user", "My name is Ada."),
        ("assistant", [{"type": "text", "text": "Hello Ada."}]),
    ]
    assert [row["parentUuid"] for row in rows] == [None, rows[0]["uuid"]]
    assert json.loads(command.stdin)["message"] == TURNS[2]
    assert command.argv[-2:] == ("--resume", where.session)
    assert command.files["system.txt"] == b"Be brief."
    assert json.loads(json.loads(command.files["settings.json"])["env"]["CLAUDE_CODE_EXTRA_BODY"]) == {
        "temperature": 0.2
    }
    assert command.working == where.work
    assert "sk-of-the-vendor-1" not in repr(command) + repr(order({"messages": TURNS}))


def test_a_new_conversation_begins_under_its_name(tmp_path: Path) -> None:
    where = place(tmp_path)

    command = order({"messages": TURNS[:1]}).write(where, tmp_path, {})

    assert command.argv[-2:] == ("--session-id", where.session)
    assert "--permission-prompt-tool" not in command.argv


@pytest.mark.parametrize(
    ("settings", "system", "expected"),
    [
        ({}, "", ["--system-prompt", ""]),
        ({}, "S", ["--system-prompt-file"]),
        ({"system_prompt": "append"}, "S", ["--append-system-prompt-file"]),
        ({"system_prompt": "append"}, "", []),
    ],
)
def test_the_system_text_replaces_the_program_s_own_or_is_appended(
    tmp_path: Path, settings: dict[str, Any], system: str, expected: list[str]
) -> None:
    command = order({"messages": TURNS[:1], "system": system}, **settings).write(place(tmp_path), tmp_path, {})

    assert [word for word in command.argv if "system-prompt" in word] == expected[:1]


def test_the_program_s_tools_come_with_its_servers_and_with_somebody_to_ask(tmp_path: Path) -> None:
    servers = {"confirmation": {"type": "http", "url": "http://127.0.0.1:1/mcp"}, "own": {"command": "x"}}

    own = order({"messages": TURNS[:1]}, servers).write(place(tmp_path), tmp_path, {})
    off = order({"messages": TURNS[:1]}, servers, tools="off").write(place(tmp_path), tmp_path, {})

    assert json.loads(own.files["servers.json"]) == {"mcpServers": servers}
    assert own.argv[own.argv.index("--permission-prompt-tool") + 1] == "mcp__confirmation__check_permission"
    assert "--tools" not in own.argv
    assert off.argv[off.argv.index("--tools") + 1] == ""
    assert "servers.json" not in off.files


@pytest.mark.parametrize("messages", [[], TURNS[:2], "hi", [1], None])
def test_a_request_without_a_last_word_of_the_user_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        order({"messages": messages})

    assert refused.value.failure.param == "messages"


@pytest.mark.parametrize("text", ["", "[]", '{"mcpServers": []}', "{"])
def test_a_file_of_servers_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text(text)

    with pytest.raises(ProgramUnavailable, match=r"servers\.json"):
        read_servers(str(file))
    with pytest.raises(ProgramUnavailable, match="absent"):
        read_servers(str(tmp_path / "absent"))


def test_a_session_is_one_place_for_one_tenant(tmp_path: Path) -> None:
    kept = Places(tmp_path, None, None, 60, 10)

    first = kept.enter("ana", "s")
    first.leave()
    again, other, strange = kept.enter("ana", "s"), kept.enter("bob", "s"), kept.enter("ana", "../../etc")

    assert first.session == again.session
    assert len({again.session, other.session, strange.session}) == 3
    assert all(each.folder.parent == tmp_path for each in (again, other, strange))


def test_one_request_at_a_time_runs_in_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "QUEUE_TIMEOUT", 0.1)
    kept = Places(tmp_path, None, None, 60, 10)
    held = kept.enter("ana", "s")

    with pytest.raises(UpstreamBusy):
        kept.enter("ana", "s")
    held.leave()
    kept.enter("ana", "s").leave()


def test_sessions_that_nobody_uses_and_the_oldest_of_too_many_are_forgotten(tmp_path: Path) -> None:
    kept = Places(tmp_path / "sessions", None, tmp_path / "config", 60, 3)
    entered = []
    for age, name in ((120, "old"), (30, "used"), (10, "third")):
        entered.append(each := kept.enter("ana", name))
        each.transcript.parent.mkdir(parents=True, exist_ok=True)
        each.transcript.write_text("{}")
        each.leave()
        os.utime(each.folder, (time.time() - age,) * 2)

    kept.enter("ana", "fourth").leave()
    assert [each.folder.exists() for each in entered] == [False, True, True]
    assert not entered[0].transcript.exists()
    assert entered[1].has_begun
    kept.enter("ana", "fifth").leave()
    assert [each.folder.exists() for each in entered] == [False, False, True]


def test_a_session_in_use_is_not_forgotten_for_another(tmp_path: Path) -> None:
    kept = Places(tmp_path, None, None, 60, 1)
    held = kept.enter("ana", "s")

    with pytest.raises(UpstreamBusy, match="max_sessions"):
        kept.enter("ana", "t")
    assert held.folder.exists()


def test_who_has_most_sessions_makes_room_and_nobody_else(tmp_path: Path) -> None:
    kept = Places(tmp_path, None, None, 3600, 6)
    for age, (tenant, name) in enumerate([("bob", "his"), ("carl", "one"), ("carl", "two")]):
        place = kept.enter(tenant, name)
        place.leave()
        os.utime(place.folder, (time.time() - 900 + age,) * 2)

    for number in range(40):
        kept.enter("ana", f"flood {number}").leave()

    assert len(list(tmp_path.iterdir())) == 6
    before = {each.name for each in tmp_path.iterdir()}
    assert {kept.enter(*who).folder.name for who in (("bob", "his"), ("carl", "one"), ("carl", "two"))} <= before


def test_sessions_that_run_keep_their_place_and_others_of_the_same_tenant_go(tmp_path: Path) -> None:
    kept = Places(tmp_path, None, None, 3600, 3)
    held = [kept.enter("ana", name) for name in ("a", "b")]
    kept.enter("bob", "idle").leave()

    fresh = kept.enter("carl", "new")

    assert all(each.folder.exists() for each in [*held, fresh])
    assert len(list(tmp_path.iterdir())) == 3


def test_running_sessions_of_one_tenant_leave_room_for_others(tmp_path: Path) -> None:
    kept = Places(tmp_path, None, None, 3600, 8)
    for number in range(8):
        kept.enter("ana", f"{number}").leave()
    held = [kept.enter("ana", f"{number}") for number in range(6)]

    for name in ("6", "new"):  # one that is kept, and one that is not
        with pytest.raises(UpstreamBusy, match="rest is for others"):
            kept.enter("ana", name)
    held.append(kept.enter("bob", "first"))
    with pytest.raises(UpstreamBusy, match="rest is for others"):
        kept.enter("bob", "second")  # of the two places that are left
    held[0].leave()
    held += [kept.enter("carl", "first"), kept.enter("dora", "first")]

    assert all(each.folder.exists() for each in held[1:])


def test_without_keys_all_sessions_belong_to_whoever_asks(tmp_path: Path) -> None:
    kept = Places(tmp_path, None, None, 3600, 4)

    assert len({kept.enter("", f"{number}").session for number in range(4)}) == 4


def test_what_was_for_one_request_is_forgotten_with_it(tmp_path: Path) -> None:
    where = Places(tmp_path / "sessions", None, tmp_path / "config", 60, 10).single(tmp_path / "run")
    where.transcript.parent.mkdir(parents=True)
    where.transcript.write_text("{}")

    where.leave()

    assert not where.transcript.exists()


def test_an_ordinary_answer_reads_alike(tmp_path: Path) -> None:
    events = feed(HeldOutput("hidden"), *answer("Grüezi"), result())

    assert [each["type"] for each in events][-2:] == ["message_delta", "message_stop"]
    assert msgspec.json.encode(events).decode().count("Grüezi") == 1


def test_options_of_clients_narrow_what_the_program_may_do(tmp_path: Path) -> None:
    given = {
        "allowed_tools": ["Read", "Bash(git *)"],
        "disallowed_tools": ["WebFetch"],
        "max_turns": 80,
        "max_thinking_tokens": 1000,
        "append_system_prompt": "Be brief.",
        "permission_mode": "plan",
        "mcp_servers": {"docs": {"type": "http", "url": "https://docs.example/mcp"}, "confirmation": OTHER},
    }
    ours = {"confirmation": {"type": "http", "url": "http://127.0.0.1:1/mcp"}}

    command = order({"messages": TURNS[:1], **given}, ours, client_options=True).write(place(tmp_path), tmp_path, {})

    argv = " ".join(command.argv)
    for part in ("--tools Read,Bash(git *)", "--disallowedTools WebFetch", "--max-turns 50", "--permission-mode plan"):
        assert part in argv
    assert command.environ["MAX_THINKING_TOKENS"] == "1000"
    servers = json.loads(command.files["servers.json"])["mcpServers"]
    assert servers["confirmation"] == ours["confirmation"]
    assert servers["docs"]["url"] == "https://docs.example/mcp"
    assert "allowed_tools" not in command.files["settings.json"].decode()


OTHER = {"type": "http", "url": "https://evil.example/mcp"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_tools", ["--dangerously-skip-permissions"]),
        ("allowed_tools", ["a\nb"]),
        ("allowed_tools", "Bash"),
        ("disallowed_tools", [""]),
        ("max_turns", 0),
        ("max_turns", "5"),
        ("permission_mode", "bypassPermissions"),
        ("permission_mode", "acceptEdits"),
        ("mcp_servers", {"x": {"command": "rm"}}),
        ("mcp_servers", {"x": {"type": "stdio", "url": "http://a"}}),
        ("mcp_servers", {"../x": OTHER}),
        ("cwd", "/"),
        ("cwd", "relative"),
        ("cwd", "/etc/../etc"),
        ("cwd", "\0"),
        ("resume", "5a931be5"),
        ("continue_conversation", True),
    ],
)
def test_an_option_that_would_widen_it_is_refused_by_name(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        order({"messages": TURNS[:1], field: value}, client_options=True, folder=str(tmp_path))

    assert refused.value.failure.param == field


def test_options_are_refused_where_the_provider_does_not_allow_them(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="allowed_tools: clients may not"):
        order({"messages": TURNS[:1], "allowed_tools": ["Bash"]})
    with pytest.raises(Forbidden, match="no working folder"):
        order({"messages": TURNS[:1], "cwd": str(tmp_path)}, client_options=True)


def test_a_folder_within_the_provider_s_own_may_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    chosen = order({"messages": TURNS[:1], "cwd": str(tmp_path / "project")}, client_options=True, folder=str(tmp_path))

    assert chosen.options.cwd == str(tmp_path / "project")
