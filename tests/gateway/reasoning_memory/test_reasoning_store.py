"""What is remembered of reasoning: by whom, for how long, and what it costs to look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from app.conversation.blocks import Block, Proof, Reasoning, Text, ToolCall, ToolResult
from app.conversation.request import Request, Turn
from app.conversation.thoughts import Thought
from app.gateway.reasoning_memory import reasoning_store
from app.gateway.reasoning_memory.reasoning_store import Keys, Owner, ReasoningStore
from app.ledger import Ledger
from app.settings import LedgerSettings
from tests.support.clock import Clock

ALICE = Owner("alice", "provider/model")


def asked(text: str) -> Request:
    turns = (Turn("user", (Text(text),)), Turn("assistant", (ToolCall("c1", "f", "{}"),)))
    return Request(dialect="openai_chat", model="m", turns=turns)


def remember(memory: ReasoningStore, text: str, *thoughts: Reasoning, owner: Owner = ALICE) -> None:
    turns = asked(text).turns
    calls = [block for block in turns[1].blocks if isinstance(block, ToolCall)]
    placed = tuple(Thought(0, thought) for thought in thoughts)
    memory.remember(Keys(owner, turns[0]).key_of(turns[0], calls), placed, owner)


def recalled(memory: ReasoningStore, text: str, owner: Owner = ALICE) -> list[Block]:
    turn = memory.recall(asked(text), owner).turns[1]
    return [block for block in turn.blocks if isinstance(block, Reasoning)]


OpenMemory = Callable[..., ReasoningStore]


@pytest.fixture
def open_memory(tmp_path: Path, clock: Clock) -> Iterator[OpenMemory]:
    """open_memory(): what one worker remembers, with a ledger that all workers share."""
    ledgers: list[Ledger] = []

    def make(path: Path = tmp_path / "ledger.sqlite3") -> ReasoningStore:
        ledgers.append(Ledger(LedgerSettings(url=f"sqlite:///{path}"), clock))
        return ReasoningStore(ledgers[-1].reasoning, clock)

    yield make
    for ledger in ledgers:
        ledger.close()


def test_the_oldest_is_forgotten_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasoning_store, "MAX_BYTES", 3000)
    memory = ReasoningStore()

    for text in ("one", "two", "three"):
        remember(memory, text, Reasoning("x" * 400))

    assert recalled(memory, "one") == []
    assert recalled(memory, "three") == [Reasoning("x" * 400)]


def test_what_another_worker_heard_is_known(open_memory: OpenMemory) -> None:
    remember(open_memory(), "one", Reasoning("x"))

    assert recalled(open_memory(), "one") == [Reasoning("x")]


@pytest.mark.parametrize(
    "other", [Owner("bob", "provider/model"), Owner("", "provider/model"), Owner("alice", "provider/other")]
)
def test_another_owner_knows_nothing_of_it(open_memory: OpenMemory, other: Owner) -> None:
    remember(open_memory(), "one", Reasoning("x"))

    assert recalled(open_memory(), "one", other) == []


def test_a_proof_comes_back_byte_for_byte(open_memory: OpenMemory) -> None:
    original = b'{"type": "thinking",\n "thinking": "h\\u00e4\\ud83d", "n": 1.0e5, "signature":"\xc3\xa4=="}'
    thought = Reasoning("half a pair \ud83d", Proof("anthropic_messages", "thinking", (original, b"{}"), "claude"))
    remember(open_memory(), "one", thought, Reasoning("", None))

    assert recalled(open_memory(), "one") == [thought, Reasoning("", None)]


def test_what_is_too_old_is_forgotten_by_all_workers(open_memory: OpenMemory, clock: Clock) -> None:
    workers = [open_memory(), open_memory()]
    remember(workers[0], "one", Reasoning("x"))
    clock.now += 6 * 3600
    last = recalled(workers[1], "one")

    clock.now += 1

    assert last == [Reasoning("x")]
    assert [recalled(worker, "one") for worker in workers] == [[], []]


def test_what_is_not_to_be_stored_stays_in_memory(open_memory: OpenMemory, tmp_path: Path) -> None:
    memory = open_memory()
    owner = Owner("alice", "provider/model", lasting=False)

    remember(memory, "one", Reasoning("x"), owner=owner)

    assert recalled(memory, "one", owner) == [Reasoning("x")]
    assert list(tmp_path.iterdir()) == []


class Counting:
    """A shelf that counts how often it is read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def put(self, tenant: str, key: str, value: bytes) -> None:
        self.value = value

    def get_many(self, tenant: str, keys: Sequence[str]) -> dict[str, bytes]:
        self.reads.append(len(keys))
        return {}


def conversation(calls: int) -> Request:
    turns = [Turn("user", (Text("go"),))]
    for number in range(calls):
        turns.append(Turn("assistant", (ToolCall(f"c{number}", "f", "{}"),)))
        turns.append(Turn("user", (ToolResult(f"c{number}", (Text("r"),)),)))
    return Request(dialect="openai_chat", model="m", turns=tuple(turns))


def test_many_turns_are_looked_for_once_and_not_again_for_a_while(clock: Clock) -> None:
    shelf = Counting()
    memory = ReasoningStore(shelf, clock)  # type: ignore[arg-type]

    memory.recall(conversation(50), ALICE)
    memory.recall(conversation(51), ALICE)
    clock.now += 301
    memory.recall(conversation(51), ALICE)

    assert shelf.reads == [50, 1, 51]


def test_what_this_worker_heard_is_not_looked_for(clock: Clock) -> None:
    shelf = Counting()
    memory = ReasoningStore(shelf, clock)  # type: ignore[arg-type]
    remember(memory, "thought", Reasoning("x"))
    remember(memory, "thoughtless")

    assert recalled(memory, "thought") == [Reasoning("x")]
    assert recalled(memory, "thoughtless") == []
    assert shelf.reads == []


def test_what_another_version_wrote_is_as_if_it_were_not_there(clock: Clock) -> None:
    shelf = Counting()
    shelf.get_many = lambda tenant, keys: dict.fromkeys(keys, b"\x93nonsense")  # type: ignore[method-assign]

    assert recalled(ReasoningStore(shelf, clock), "one") == []  # type: ignore[arg-type]


def test_a_ledger_that_fails_is_told_once_and_memory_goes_on(
    open_memory: OpenMemory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notes"
    path.write_bytes(b"precious notes " * 100)
    memory = open_memory(path)

    with caplog.at_level(logging.WARNING):
        for text in ("one", "two", "three"):
            remember(memory, text, Reasoning(text))

    assert recalled(memory, "two") == [Reasoning("two")]
    assert recalled(memory, "four") == []
    assert path.read_bytes() == b"precious notes " * 100
    assert len(caplog.records) == 1


def test_a_client_that_sends_its_reasoning_is_believed() -> None:
    memory = ReasoningStore()
    remember(memory, "one", Reasoning("ours"))
    request = asked("one")
    own = Turn("assistant", (Reasoning("its own"), *request.turns[1].blocks))
    request = Request(dialect="openai_chat", model="m", turns=(request.turns[0], own))

    assert memory.recall(request, ALICE) == request


def test_reasoning_without_its_proof_is_none_where_proofs_count() -> None:
    memory = ReasoningStore()
    owner = Owner("alice", "provider/model", proven=True)
    signed = Reasoning("ours", Proof("anthropic_messages", "thinking", (b"{}",)))
    remember(memory, "one", signed, owner=owner)
    request = asked("one")
    own = Turn("assistant", (Reasoning("its own"), *request.turns[1].blocks))
    request = Request(dialect="openai_chat", model="m", turns=(request.turns[0], own))

    assert memory.recall(request, owner).turns[1].blocks == (signed, *asked("one").turns[1].blocks)
