"""A long conversation costs no more with each turn than what the turn adds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import InvalidRequest, NotFound
from app.gateway.responses_api import conversations
from app.gateway.responses_api.conversations import PART, RENEWAL, Conversations
from app.ledger import Ledger
from app.settings import LedgerSettings

Figure = Callable[[str, object, object], None]

ANNA = "anna"
DAY = 86_400


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(conversations.time, "time", clock)
    return clock


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.sqlite3", ttl_days=1), clock)
    yield ledger
    ledger.close()


def item(size: int) -> bytes:
    """An item that cannot be compressed to less than half."""
    return msgspec.json.encode({"type": "message", "role": "user", "content": os.urandom(size // 2).hex()})


def begin(kept: Conversations, *items: bytes) -> str:
    body = msgspec.json.encode({"items": [msgspec.Raw(each) for each in items]})
    made = kept.create(ANNA, body)
    assert isinstance(made.body, bytes)
    return str(msgspec.json.decode(made.body)["id"])


def written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> int:
    """The bytes that `work` writes to the ledger."""
    sizes = []
    write = ledger.write

    def watched(*args: Any) -> Any:
        sizes.append(args[1])
        return write(*args)

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "write", watched)
        work()
    return sum(sizes)


def test_a_turn_writes_what_it_adds_however_long_the_conversation_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    kept = Conversations(ledger)
    place = begin(kept)

    sizes = [written(ledger, monkeypatch, lambda: kept.append(ANNA, place, [item(10_000)])) for _ in range(60)]

    figure("written by turn 60 of a conversation, of turn 1", f"{sizes[-1] / sizes[0]:.2f} x", "1.3 x")
    assert sizes[-1] < 1.3 * sizes[0]
    assert len(kept.find_items(ANNA, place) or ()) == 60


def test_large_items_are_stored_in_parts_and_come_back_in_order(ledger: Ledger) -> None:
    items = [item(PART // 3) for _ in range(10)]
    kept = Conversations(ledger)
    place = begin(kept, *items)

    found = kept.find_items(ANNA, place) or []

    assert [msgspec.json.decode(each)["content"][0]["text"] for each in found] == [
        msgspec.json.decode(each)["content"] for each in items
    ]


def test_many_short_turns_are_read_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen at a time, 20,000 of them took four seconds for a request of a hundred bytes."""
    kept = Conversations(ledger)
    place = begin(kept, item(10))
    for _ in range(200):
        kept.append(ANNA, place, [item(10)])
    parts, looks = ledger.conversation_parts, []
    get_many = parts.get_many
    monkeypatch.setattr(parts, "get_many", lambda *keys: (looks.append(keys), get_many(*keys))[1])

    found = kept.find_items(ANNA, place) or []
    kept.delete_item(ANNA, place, msgspec.json.decode(found[100])["id"])

    assert (len(found), len(kept.find_items(ANNA, place) or [])) == (201, 200)
    assert len(looks) == 4


def test_a_conversation_that_goes_on_keeps_its_beginning(ledger: Ledger, clock: Clock) -> None:
    kept = Conversations(ledger)
    place = begin(kept, item(10))

    for _ in range(4):
        clock.now += DAY - 2 * RENEWAL
        kept.append(ANNA, place, [item(10)])

    assert len(kept.find_items(ANNA, place) or ()) == 5


def test_a_conversation_with_a_gap_is_none(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    kept = Conversations(ledger)
    place = begin(kept, item(10))
    kept.append(ANNA, place, [item(10)])
    parts = msgspec.json.decode(ledger.conversations.get(ANNA, place) or b"")["parts"]

    ledger.conversation_parts.delete(ANNA, f"{place}:{parts[0]}")

    assert kept.find_items(ANNA, place) is None
    assert "a part of the conversation" in caplog.text
    with pytest.raises(NotFound):
        kept.list_items(ANNA, place, {})


def test_nothing_of_a_deleted_conversation_stays(ledger: Ledger) -> None:
    kept = Conversations(ledger)
    place = begin(kept, item(PART), item(PART))

    kept.delete(ANNA, place)

    assert ledger.conversation_parts.scan() == []


def test_a_conversation_has_a_maximum(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MAX_SIZE", 1 << 20)
    kept = Conversations(ledger)
    place = begin(kept, item(900_000))

    with pytest.raises(InvalidRequest, match="at most 1 MB; begin another"):
        kept.append(ANNA, place, [item(200_000)])
    assert len(kept.find_items(ANNA, place) or ()) == 1


def test_items_that_an_older_version_stored_are_still_there(ledger: Ledger) -> None:
    kept = Conversations(ledger)
    old = [{"id": f"item_{number}", "type": "message", "role": "user", "content": "x"} for number in range(3)]
    ledger.conversations.put(ANNA, "conv_old", msgspec.json.encode({"created": 1, "metadata": {}, "items": old}))

    kept.append(ANNA, "conv_old", [item(10)])
    kept.delete_item(ANNA, "conv_old", "item_1")

    found = [msgspec.json.decode(each)["id"] for each in kept.find_items(ANNA, "conv_old") or ()]
    assert found[:2] == ["item_0", "item_2"]
    assert len(found) == 3
