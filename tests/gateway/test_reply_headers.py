"""Specifies where an error is recognised in what goes to a client, so that secrets in it are masked."""

from __future__ import annotations

import pytest

from app.gateway.replies.reply_headers import mask_errors
from app.known_secrets import MASK, known_secrets
from tests.gateway.conftest import Client
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, json_reply

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


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("通义千问", "%E9%80%9A%E4%B9%89%E5%8D%83%E9%97%AE"),
        ("a b", "a%20b"),
        ("x\r\nset-cookie: a=b", "x%0D%0Aset-cookie:%20a=b"),
        ("\x00\x7f\x85\u2028", "%00%7F%C2%85%E2%80%A8"),
        ("org/model-1.5:free@eu%2F", "org/model-1.5:free@eu%2F"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_model_has_any_name_and_its_header_none_that_http_cannot_carry(
    client: Client, upstream: FakeUpstream, path: str, model: str, told: str
) -> None:
    upstream.script(json_reply(chat_answer()))

    answer = client.ask(
        path, {"model": f"chat/{model}", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    )

    assert (answer.status_code, answer.headers["x-dragoman-upstream"]) == (200, f"chat/{told}")
