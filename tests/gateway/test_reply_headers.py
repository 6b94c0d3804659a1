"""Specifies where an error is recognised in what goes to a client, so that secrets in it are masked."""

from __future__ import annotations

import pytest

from app.gateway.replies.reply_headers import mask_errors
from app.known_secrets import MASK, known_secrets

SECRET = "sk-quoted-by-an-upstream-0123456789"


@pytest.fixture(autouse=True)
def secret() -> None:
    known_secrets.configure([SECRET])


@pytest.mark.parametrize("before", ["", '"error":null ' * 3, "no error " * 40, "x" * 100_000])
@pytest.mark.parametrize(
    "error",
    [
        '"error" : {"message":"SAID"}',
        '"error":"SAID"',
        '"errors":["SAID"]',
        '"type" : "error","m":"SAID"',
        "event: error\ndata: SAID",
    ],
)
def test_a_secret_in_an_error_is_masked_whatever_stands_before_it(before: str, error: str) -> None:
    out = (before + error).replace("SAID", f"the key {SECRET} is wrong").encode()

    masked = mask_errors(out)

    assert SECRET.encode() not in masked
    assert MASK.encode() in masked


@pytest.mark.parametrize("text", ['{"error":null,"text":"SAID"}', "an error of SAID", '{"terrors":["SAID"]}'])
def test_an_answer_that_only_mentions_errors_passes_as_it_is(text: str) -> None:
    out = text.replace("SAID", SECRET).encode()

    assert mask_errors(out) is out
