"""Errors whose status says little or something else: the words decide what helps, and clients are told the kind.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from app.settings import RouteSettings
from tests.field.asking import CLIENTS, UPSTREAMS, every_client, every_upstream
from tests.field.pairs import ask, chat_events, chat_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

BILLING, QUOTA, AUTH, FILTER, ABSENT, BUSY, FORBIDDEN = (
    "billing",
    "quota",
    "auth",
    "filter",
    "absent",
    "busy",
    "forbidden",
)
# The status that clients of Messages, of Chat and of Responses get.
STATUSES = {
    BILLING: (402, 429, 429),
    QUOTA: (402, 429, 429),
    AUTH: (502, 502, 502),
    FILTER: (400, 400, 400),
    ABSENT: (404, 404, 404),
    BUSY: (529, 503, 503),
    FORBIDDEN: (403, 403, 403),
}


def plain(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


CASES: dict[str, tuple[int, Any, str]] = {
    "Alishahryar1/free-claude-code#1543": (403, plain("User's credit limit is insufficient", type="api_error", code="insufficient_user_quota"), QUOTA),
    "the same in Chinese": (403, plain("用户额度不足, 剩余额度: 0", type="new_api_error"), QUOTA),
    "code-yeongyu/oh-my-openagent#3610": (400, plain("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"), BILLING),
    "can1357/oh-my-pi#3169": (401, plain("Insufficient balance. Manage your billing here: https://vendor.example/billing"), BILLING),
    "bagofwords1/bagofwords#784": (403, plain("You have exceeded your assigned quota."), QUOTA),
    "promptfoo/promptfoo#10855": (429, plain("You have no credits remaining.", type="rate_limit_error"), BILLING),
    "awsl-project/maxx#843": (403, {"detail": "User is locked. Reason: TOP_UP."}, BILLING),
    "awsl-project/maxx#843 in full": (403, {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}, BILLING),
    "code-yeongyu/senpi#484": (429, plain("Usage credits are required for this model.", type="rate_limit_error", details={"error_code": "credits_required"}), BILLING),
    "coder/xum#2076": (400, plain("Insufficient Balance", type="unknown_error", code="invalid_request_error"), BILLING),
    "LiteLLM's budget of a key": (400, plain("ExceededTokenBudget: Current spend for token: 10.1; Max Budget for Token: 10.0", type="auth_error", code="400"), QUOTA),
    "OpenRouter's limit of a key": (403, plain("Key limit exceeded (total limit).", code=403), QUOTA),
    "Qwen's free tier": (403, plain("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly"), QUOTA),
    "Ark's plan": (429, plain("You have exceeded the 5-hour usage quota.", code="AccountQuotaExceeded", type="TooManyRequests"), QUOTA),
    "GLM's week": (429, plain("Weekly/Monthly Limit Exhausted.", code="1310"), QUOTA),
    "GLM's plan is over": (400, plain("您的套餐已到期", code="1309"), BILLING),
    "Kimi's account": (429, plain("Your account is suspended", type="exceeded_current_quota_error"), QUOTA),
    "Gemini's key": (400, plain("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT", code=400), AUTH),
    "AWS's token": (403, plain("The security token included in the request is expired", type="ExpiredTokenException"), AUTH),
    "AWS's token, bare": (403, {"message": "The security token included in the request is invalid."}, AUTH),
    "a proxy's session": (400, {"code": "390112", "message": "Your session has expired. Please login again."}, AUTH),
    "new-api's key": (403, plain("无效的令牌", type="new_api_error"), AUTH),
    "DeepSeek's filter": (400, plain("Content Exists Risk", type="invalid_request_error", code="invalid_request_error"), FILTER),
    "Qwen's filter": (400, plain("Input data may contain inappropriate content."), FILTER),
    "GLM's filter": (500, plain("系统检测到输入或生成内容可能包含不安全或敏感内容"), FILTER),
    "Ark's filter": (400, plain("The request failed.", code="SensitiveContentDetected"), FILTER),
    "Ark's filter of texts": (400, plain("The request failed.", code="InputTextRiskDetection"), FILTER),
    "OpenAI's policy": (400, plain("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"), FILTER),
    "new-api's channels": (503, plain("当前分组 default 下对于模型 m 无可用渠道", type="new_api_error"), ABSENT),
    "new-api's channels in English": (500, plain("No available channel for model m under group default"), ABSENT),
    "Bedrock's model": (400, {"message": "The provided model identifier is invalid."}, ABSENT),
    "LM Studio unloads": (400, {"error": "Model unloaded."}, BUSY),
    "NVIDIA's function": (400, {"status": 400, "title": "Bad Request", "detail": "Function id 'x': DEGRADED function cannot be invoked"}, BUSY),
    "Groq's flexible tier": (498, plain("Flex tier capacity exceeded"), BUSY),
    "experientiallabs/experiential#967": (400, {"id": "chatcmpl-1", "model": "", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter", "content_filter_results": {"error": {"code": "content_filter", "message": "Response content blocked by label 'X'."}}}]}, FILTER),
    "the same without a reason": (400, {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]}, FILTER),
    "experientiallabs/experiential#953": (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance", "metadata": {}}, BILLING),
    "UKGovernmentBEIS/inspect_ai#2267": (403, {"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, FILTER),
    "Azure/azure-sdk-for-go#23936": (400, plain("The response was filtered.", param="prompt", code="content_filter", status=400, innererror={"code": "ResponsibleAIPolicyViolation"}), FILTER),
    "Gemini's country": (400, plain("User location is not supported for the API use.", status="FAILED_PRECONDITION", code=400), FORBIDDEN),
}  # fmt: skip


@every_client
@every_upstream
def test_an_error_is_what_its_words_say(every: Client, upstream: FakeUpstream, dialect: str, to: str) -> None:
    wrong = {}
    for name, (status, body, kind) in CASES.items():
        upstream.script(json_reply(body, status))

        told = ask(every, dialect, UPSTREAMS[to])

        if told.status != STATUSES[kind][CLIENTS.index(dialect)]:
            wrong[name] = told

    assert wrong == {}


@every_client
def test_an_error_inside_a_stream_is_what_its_words_say(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    wrong = {}
    for name, (_, body, kind) in CASES.items():
        if kind not in (BILLING, QUOTA, FILTER) or "error" not in body:
            continue
        upstream.script(chat_events(body))

        told = ask(client, dialect, "chat/m", stream=True)

        if told.status != STATUSES[kind][CLIENTS.index(dialect)]:
            wrong[name] = told

    assert wrong == {}


@pytest.mark.parametrize("kind", [BILLING, QUOTA, AUTH, ABSENT, BUSY, FORBIDDEN])
def test_another_upstream_is_asked_where_the_words_say_that_it_may_help(
    make_client: MakeClient, upstream: FakeUpstream, kind: str
) -> None:
    client = make_client(
        other={"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-other"},
        models={"routes": {"both": RouteSettings(targets=("chat/m", "other/n"))}},
    )
    for name, (status, body, said) in CASES.items():
        if said == kind:
            upstream.seen.clear()
            upstream.script(json_reply(body, status), json_reply(chat_reply({"content": "t"})))

            assert ask(client, "C", "both").text == "t", name
            # One that is busy may be asked once more.
            assert kind == BUSY or upstream.seen[-1].headers["authorization"] == "Bearer sk-other"
