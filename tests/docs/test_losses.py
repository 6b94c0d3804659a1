"""docs/losses.md tells what becomes of each field: every row is sent through the dialects that it names."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest

from app.adaptation.adapt import adapt
from app.conversation.losses import Loss
from app.dialects.anthropic_messages import vocabulary as messages
from app.dialects.openai_chat import vocabulary as chat
from app.dialects.openai_responses import vocabulary as responses
from app.dialects.registry import DIALECTS
from app.providers.profiles import capabilities_for
from tests.docs.blocks import ROOT

DOCUMENT = (ROOT / "docs" / "losses.md").read_text()

WORDS = {"ignorable": "left out", "degrading": "reported", "wrong": "refused"}
UPSTREAMS = {
    "anthropic_messages": ("https://api.anthropic.com", "claude-sonnet-4-6"),
    "openai_chat": ("https://api.openai.com/v1", "gpt-4.1"),
    "openai_responses": ("https://api.openai.com/v1", "gpt-4.1"),
}
TURN = {"role": "user", "content": "Hello"}
PLAIN: dict[str, dict[str, Any]] = {
    "anthropic_messages": {"model": "m", "max_tokens": 64, "messages": [TURN]},
    "openai_chat": {"model": "m", "messages": [TURN]},
    "openai_responses": {"model": "m", "input": "Hello"},
}

_HEAD = re.compile(r"^\| `(\w+)` \| to `(\w+)` \| to `(\w+)` \|$")
_ROW = re.compile(r"^\| `(\w+)` = `(.+)` \| ([\w ]+) \| ([\w ]+) \|$")


class Case(NamedTuple):
    client: str
    field: str
    value: str
    upstream: str
    outcome: str

    @property
    def id(self) -> str:
        return f"{self.field}={self.value[:20]} {self.client} to {self.upstream}"


class Sent(NamedTuple):
    body: Any
    losses: set[Loss]
    stages: int


def cases() -> list[Case]:
    found: list[Case] = []
    client, upstreams = "", ("", "")
    for line in DOCUMENT.splitlines():
        if head := _HEAD.match(line):
            client, upstreams = head[1], (head[2], head[3])
        elif row := _ROW.match(line):
            found += [Case(client, row[1], row[2], upstreams[at], row[3 + at]) for at in (0, 1)]
    return found


def send(client: str, upstream: str, **fields: Any) -> Sent:
    base_url, model = UPSTREAMS[upstream]
    capabilities = capabilities_for(DIALECTS[upstream].NAME, base_url, model)
    body = json.dumps({**PLAIN[client], **fields}).encode()
    adapted = adapt(DIALECTS[client].parse_request(body, {}), capabilities)
    rendered = DIALECTS[upstream].render_request(adapted.request, capabilities)
    return Sent(json.loads(rendered.body), {*adapted.losses, *rendered.losses}, len(adapted.stages))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_a_field_has_the_fate_that_its_row_tells(case: Case) -> None:
    plain = send(case.client, case.upstream)

    sent = send(case.client, case.upstream, **{case.field: json.loads(case.value)})

    classes = [loss.severity for loss in sent.losses - plain.losses]
    worst = max(classes, key=list(WORDS).index, default=None)
    assert case.outcome == (WORDS[worst] if worst else "carried")
    assert worst or (sent.body, sent.stages) != (plain.body, plain.stages), "it is lost in silence"


def test_each_pair_of_dialects_has_its_rows() -> None:
    pairs = {(case.client, case.upstream) for case in cases()}

    assert pairs == {(client, upstream) for client in DIALECTS for upstream in DIALECTS if client != upstream}


@pytest.mark.parametrize("name", [*chat.FIELD_LOSSES, *responses.FIELD_LOSSES, *messages.FIELD_LOSSES])
def test_every_field_that_a_dialect_lists_as_lost_is_told(name: str) -> None:
    assert re.search(rf"[`\"]{name.rpartition('.')[2]}[`\"]", DOCUMENT)
