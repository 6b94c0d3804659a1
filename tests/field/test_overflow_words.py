"""Full contexts in the words of servers that have their own: clients must be told in those that they know.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from app.dialects.overflow import find_overflow
from tests.field.asking import every_client
from tests.field.pairs import ask, chat_events
from tests.gateway.conftest import Client
from tests.support.answers import named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

# What the upstream says, and the numbers that are in it: of the input, and of the limit.
OVERFLOWS: dict[str, tuple[str, int | None, int | None]] = {
    "earendil-works/pi#4943": ("Input length 131393 exceeds the maximum allowed input length of 131040 tokens.", 131393, 131040),
    "earendil-works/pi#5677": ("Input length (265330) exceeds model's maximum context length (262144).", 265330, 262144),
    "open-octo/octo-agent#2124": ("Prompt 超长", None, None),
    "open-octo/octo-agent#2124 generic": ("上下文长度超过限制", None, None),
    "open-octo/octo-agent#2124 short": ("输入长度超限", None, None),
    "vllm-project/vllm#10440": ("Input prompt (35247 tokens) is too long and exceeds limit of 1000", 35247, 1000),
    "vllm-project/vllm#33418": ("max_tokens must be at least 1, got -2000.", None, None),
    "abetlen/llama-cpp-python#120": ("Requested tokens exceed context window of 512", None, 512),
    "openclaw/openclaw#85921": ("This endpoint's maximum context length is 262144 tokens. However, you requested about 284283 tokens (270000 of text input, 13176 of tool input, 1107 in the output).", 283176, 262144),
    "vellum-ai/vellum-assistant#40740": ("Invalid 'input[191].content[1].text': string too long. Expected a string with maximum length 10485760, but got a string with length 11436754 instead.", None, None),
    "the same of a result": ("Invalid 'input[7].output': string too long. Expected a string with maximum length 10485760, but got a string with length 11436754 instead.", None, None),
    "the same of Chat": ("Invalid 'messages[7].content': string too long. Expected a string with maximum length 10485760, but got a string with length 11436754 instead.", None, None),
    "two counts": ("This request requires 210000 tokens but the model supports 200000", 210000, 200000),
    "two counts, the limit first": ("This model only supports 8192 tokens of input but got 9000", 9000, 8192),
    "greater": ("Token limit exceeded: 140000 > 128000", 140000, 128000),
    "a sum": ("The sum of prompt tokens (120000) and max_tokens (16000) is 136000, which exceeds 131072", None, None),
    "a sequence": ("Sequence length exceeds what the engine was built for", None, None),
    "larger": ("Prompt length (9000) is larger than max_position_embeddings", None, None),
    "too large": ("The requested prompt is too large", None, None),
    "a conversation": ("Conversation too long to continue", None, None),
    "the order turned": ("Exceeded the maximum token count for this deployment", None, None),
    "less than": ("inputs tokens must be less than 8192", None, None),
    "请求": ("请求的tokens总数超过模型最大长度", None, None),
    "内容": ("输入内容过长, 请缩短后重试", None, None),
    "Japanese": ("入力トークン数がモデルの上限を超えています", None, None),
    "Korean": ("입력 토큰이 최대 길이를 초과했습니다", None, None),
    "German": ("Ihre Eingabe ist zu lang für dieses Modell", None, None),
    "French": ("L'entrée dépasse la taille du contexte", None, None),
    "Russian": ("Запрос превышает размер контекста", None, None),
}  # fmt: skip


@every_client
@pytest.mark.parametrize("status", [400, 500])
def test_a_full_context_is_told_in_words_that_the_client_knows(
    client: Client, upstream: FakeUpstream, dialect: str, status: int
) -> None:
    wrong = {}
    for name, (message, asked, limit) in OVERFLOWS.items():
        upstream.script(json_reply({"error": {"message": message, "type": "BadRequestError", "code": status}}, status))

        told = ask(client, dialect, "chat/m")

        known = "prompt is too long" in told.error if dialect == "A" else told.code == "context_length_exceeded"
        numbers = find_overflow(message)
        if told.status != 400 or not known or message not in told.error or numbers is None:
            wrong[name] = told
        elif (numbers[0], numbers[2]) != (asked, limit):
            wrong[name] = numbers

    assert wrong == {}


@every_client
@pytest.mark.parametrize(
    "broken",
    [
        {
            "choices": None,
            "error_type": "BadRequestError",
            "error_message": "400 the prompt exceeds the context window",
        },
        {"choices": [], "error": {"message": "Prompt 超长", "code": "1261"}},
        {"error": "Input length (265330) exceeds model's maximum context length (262144)."},
        {"type": "error", "error": {"type": "invalid_request_error", "message": "input is too large: 200000 tokens"}},
    ],
    ids=["NousResearch/hermes-agent#65738", "GLM", "a text", "an event of Messages"],
)
def test_a_full_context_inside_a_stream_is_one(
    client: Client, upstream: FakeUpstream, dialect: str, broken: dict[str, Any]
) -> None:
    upstream.script(chat_events(broken))

    told = ask(client, dialect, "chat/m", stream=True)

    known = "prompt is too long" in told.error if dialect == "A" else told.code == "context_length_exceeded"
    assert known, told
    assert told.status == 400, "nothing was said yet"


def test_a_full_context_within_a_messages_stream_is_told_in_the_vendor_s_words(
    client: Client, upstream: FakeUpstream
) -> None:
    start = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}}  # fmt: skip
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "Range of input length should be [1, 98304]"}}  # fmt: skip
    upstream.script(Reply(named(start, error), headers={"content-type": "text/event-stream"}))

    assert "prompt is too long" in ask(client, "A", "messages/m", stream=True).error


OTHERS = [
    "Input should be greater than or equal to 0",
    "messages: at least one message is required",
    "Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got 60",
    "max_tokens: 40000 > 32000, which is the maximum allowed number of output tokens for this model",
    "`max_tokens` must be greater than `thinking.budget_tokens`",
    "messages.1.content.0.image.source.base64: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes",
    "At least one of the image dimensions exceed max allowed size: 8000 pixels",
    "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    "Cached content is too small. total_token_count=500, min_total_token_count=1024",
    "Tool description exceeds the maximum length 1024",
    "Invalid schema for function 'x': exceeds maximum nesting depth",
    "工具调用次数超过限制",
    "请求频率超过限制",
    "输入图片大小超过限制",
    "参数 max_tokens 超出范围[1, 8192]",
    "Requested 32,000 output tokens for this model, the limit is 16,384",
    "Conversation roles must alternate user/assistant/user/assistant",
    "n is larger than 1",
]


@pytest.mark.parametrize("message", OTHERS)
def test_what_else_may_be_too_much_is_no_full_context(message: str) -> None:
    assert find_overflow(message) is None
