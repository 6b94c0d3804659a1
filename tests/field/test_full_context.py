"""A full context, in the words of each server and for each client."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json

import pytest

from tests.field.asking import every_client
from tests.field.pairs import ask, chat_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

LONG = "word " * 30_000


OVERFLOWS = {
    "no word we know": ({"error": {"message": "Sequence of 31000 tokens is beyond what this endpoint can take (limit 30000)."}}, LONG),
    "a length": ({"error": {"message": "The length of your input is larger than 30720."}}, LONG),
    "FB-250 Kimi": ({"error": {"message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 336148)"}}, "hi"),
    "FB-250 Z.ai": ({"error": {"code": "1261", "message": "Prompt too long"}}, "hi"),
    "FB-250 Qwen": ({"error": {"message": "Range of input length should be [1, 98304]"}}, "hi"),
    "Together": ({"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens and 2000 `max_new_tokens`"}}, "hi"),
    "SiliconFlow": ({"code": 20015, "message": "length of prompt_tokens (40000) must be less than max_seq_len (32768)."}, "hi"),
    "GitHub": ({"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens."}}, "hi"),
    "TGI": ({"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", "error_type": "validation"}, "hi"),
    "LiteLLM": ({"error": {"message": "litellm.BadRequestError: ContextWindowExceededError: no more room", "code": "400"}}, "hi"),
    "vLLM": ({"error": {"message": "The decoder prompt (length 40000) is longer than the maximum model length of 32768."}}, "hi"),
    "Volcengine": ({"error": {"code": "InvalidParameter", "message": "Total tokens of image and text exceed max message tokens."}}, "hi"),
}  # fmt: skip


@every_client
def test_a_full_context_is_said_in_the_words_of_each_client(
    client: Client, upstream: FakeUpstream, dialect: str
) -> None:
    for name, (body, text) in OVERFLOWS.items():
        upstream.script(json_reply(body, 413 if name == "GitHub" else 400))
        given = {"input": text} if dialect == "R" else {"messages": [{"role": "user", "content": text}]}

        told = ask(client, dialect, "chat/m", **given)

        assert told.status == 400, name
        if dialect == "A":
            assert "prompt is too long" in told.error or "exceed context limit" in told.error, name
        else:
            assert told.code == "context_length_exceeded", name


@every_client
@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
        "tool name exceeds max length of 64",
        "The image exceeds the maximum size",
    ],
)
def test_what_else_may_be_too_long_is_no_full_context(
    client: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    upstream.script(json_reply({"error": {"message": said}}, 400))
    given = {"input": LONG} if dialect == "R" else {"messages": [{"role": "user", "content": LONG}]}

    told = ask(client, dialect, "chat/m", **given)

    assert "prompt is too long" not in told.error
    assert told.code != "context_length_exceeded"


def test_a_context_that_is_cut_in_silence_is_noticed_once(
    make_client: MakeClient, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(chat={"profile": "ollama"})
    upstream.script(
        json_reply(chat_reply({"content": "t"}) | {"usage": {"prompt_tokens": 4096, "completion_tokens": 1}})
    )

    for _ in range(2):
        ask(client, "C", "chat/m", messages=[{"role": "user", "content": LONG}])

    assert [record.message for record in caplog.records if "read only 4096 of" in record.message] != []
    assert len([record for record in caplog.records if "num_ctx" in record.message]) == 1
    assert "4096" in json.dumps(client.http.get("/health").json["providers"]["chat"]["context_cuts"])
