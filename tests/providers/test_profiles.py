"""The specification of the tables: each quirk of a server or a family of models, by what it changes."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from app.conversation.capabilities import Capabilities
from app.errors import ConfigError
from app.providers.names import bare_name
from app.providers.profiles import DIALECTS, FAMILIES, HOSTS, SERVERS, capabilities_for, profile_of
from app.settings import Profile

URL = "http://127.0.0.1:9000/v1"


class Quirk(msgspec.Struct, frozen=True):
    """Behind `profile`, `model` has these values."""

    dialect: Any
    profile: str
    model: str
    fields: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.dialect.partition('_')[2]}-{self.profile}-{self.model}-{'-'.join(self.fields)}"[:100]


def chat(profile: str, model: str, **fields: Any) -> Quirk:
    return Quirk("openai_chat", profile, model, fields)


def messages(model: str, profile: str = "generic", **fields: Any) -> Quirk:
    return Quirk("anthropic_messages", profile, model, fields)


def responses(profile: str, model: str, **fields: Any) -> Quirk:
    return Quirk("openai_responses", profile, model, fields)


UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}

SERVER_QUIRKS = [
    chat("openai", "gpt-4.1", max_tokens_field="max_completion_tokens", system_role="developer", top_k=False),
    chat("openai", "gpt-4.1", user_field="safety_identifier", cache_key=True, store=True, metadata=True, prefill=False),
    chat("anthropic", "claude-sonnet-4-5", n=False, temperature_max=1.0, seed=False, tool_id="anthropic"),
    chat("azure", "gpt-4.1", user_field="user", cache_key=True, store=False, documents=True, prefill=False),
    chat("openrouter", "x", reasoning_replay="reasoning_details", proofs=("openai_chat",), stop_limit=None),
    chat("openrouter", "x", reasoning_off_fields={"reasoning": {"enabled": False}}),
    chat("vllm", "qwen3", reasoning_replay="reasoning", stop_limit=None, max_tokens_field="max_tokens"),
    chat("vllm", "qwen3", reasoning_off_fields={"chat_template_kwargs": {"enable_thinking": False}}),
    responses("vllm", "qwen3", proofs=(), custom_tools=False, native_tools=(), store=False),
    responses("ollama", "qwen3", proofs=(), namespaces=False),
    chat("ollama", "qwen3", image_urls=False, reasoning_off="none", strict_tools=False, n=False, text_tool_calls=True),
    chat("llamacpp", "x", merge_system=True, late_system="reminder", alternate=True, string_content=True),
    chat("llamacpp", "x", reasoning_off_fields={"chat_template_kwargs": {"enable_thinking": False}}, think_tags=True),
    chat("lmstudio", "x", merge_system=True, late_system="reminder", image_urls=False, text_tool_calls=True),
    chat("deepseek", "deepseek-chat", reasoning_replay="reasoning_content", reasoning_required=True, images=False),
    chat("deepseek", "deepseek-chat", structured="json_object", stop_limit=16, strict_tools=False),
    chat("deepseek", "deepseek-chat", reasoning_off_fields={"thinking": {"type": "disabled"}}),
    messages("deepseek-chat", "deepseek", reasoning_replay="thinking_blocks", reasoning_required=True, proofs=()),
    messages("kimi-latest", "kimi", reasoning_required=True, reasoning_must_lead=False, native_tools=()),
    chat("kimi", "kimi-latest", reasoning_required=True, temperature_max=1.0, image_urls=False),
    chat("glm", "glm-4.6", reasoning_on_fields={"thinking": {"type": "enabled"}}, temperature_max=1.0),
    chat("qwen", "qwen3-max", reasoning_off_fields={"enable_thinking": False}, cache_hints="cache_control"),
    chat("mistral", "mistral-large", tool_id="mistral", user_after_results=False, alternate=True, stream_usage=False),
    chat("mistral", "mistral-large", reasoning_style="none", seed=False, temperature_max=1.5, prefill=False),
    chat("gemini", "gemini-3-pro", schema="gemini", parallel_switch=False, strict_tools=False, image_urls=False),
    chat("gemini", "gemini-3-pro", proofs=("openai_chat",), documents=True, stop_limit=5),
    chat("lmstudio", "x", named_tool=False),
    chat("ollama", "qwen3", cuts_context=True),
    chat("groq", "x", logit_bias=False, logprobs=False, n=False, reasoning_replay="reasoning"),
    chat("cerebras", "x", penalties=False, parallel_switch=False, max_tokens_field="max_completion_tokens"),
    chat("xai", "grok-3", top_k=False, image_types=("image/jpeg", "image/png")),
    responses("xai", "grok-3", schema="plain", tools_limit=200),
    chat("minimax", "MiniMax-M2", temperature_max=1.0, images=False, n=False, think_tags=True),
    chat("together", "x", stop_limit=None),
    chat("fireworks", "x", stop_limit=4, reasoning_replay="reasoning_content"),
    chat("databricks", "x", stream_usage=False, parallel_switch=False),
    chat("modelscope", "x", reasoning_off_fields={"enable_thinking": False}, reasoning_style="none"),
    chat("siliconflow", "x", reasoning_on_fields={"enable_thinking": True}),
    chat("volcengine", "x", reasoning_off_fields={"thinking": {"type": "disabled"}}, n=False),
    chat("nvidia", "x", reasoning_off_fields={"chat_template_kwargs": {"enable_thinking": False}}, n=False),
    chat("huggingface", "x", stop_limit=4),
    chat("copilot", "x", n=False, top_k=False),
    chat("sglang", "x", reasoning_replay="reasoning_content", stop_limit=None),
    chat("tgi", "x", merge_system=True, strict_tools=False, parallel_switch=False),
    chat("litellm", "x", cache_hints="cache_control", documents=True, user_field="user"),
    chat("oca", "oca/gpt-4.1", stream_only=True, seed=False, parallel_switch=False, service_tier=True, store=False),
    responses("oca", "oca/gpt-5.4", stream_only=True, store=False, stream_usage=False),
    responses("codex", "gpt-5.5", stream_only=True, store=False, temperature=False, instructions_required=True),
    chat(
        "generic", "x", max_tokens_field="max_tokens", user_field="none", cache_key=False, store=False, documents=False
    ),
    chat("generic", "x", reasoning_replay="none", custom_tools=False, cache_hints="none", stop_limit=4),
    messages("x", "anthropic", tool_result_media=True, error_flag=True, tool_id="anthropic", tool_name_limit=128),
    responses("generic", "x", stop_limit=0, seed=False, strict_explicit=True, tool_id="responses", prefill=False),
]

MODEL_QUIRKS = [
    chat("anthropic", "claude-sonnet-4-5", strict_tools=False, structured="tool", json_object=False),
    chat("kimi", "kimi-k2.6", temperature=False, top_p=False, penalties=False, reasoning_excludes_forced_tool=True),
    chat("generic", "moonshotai/kimi-k2.6", reasoning_off_fields={"thinking": {"type": "disabled"}}),
    chat("qwen", "qwen3-32b", stream_only=True),
    chat("generic", "gpt-5-mini", max_tokens_field="max_completion_tokens", temperature=False, stop_limit=0),
    chat("generic", "o3-mini", max_tokens_field="max_completion_tokens", temperature=False, images=False),
    chat("oca", "oca/openai-o3", max_tokens_field="max_completion_tokens", efforts=("low", "medium", "high")),
    chat("oca", "oca/gpt5", max_tokens_field="max_completion_tokens", top_p=False),
    chat("generic", "qwen3", max_tokens_field="max_tokens", temperature=True, top_k=True),
    chat("generic", "gpt-4.1", reasoning_style="none", reasoning_replay="none", temperature=True, documents=True),
    chat("generic", "gpt-3.5-turbo", images=False, structured="json_object"),
    chat("generic", "o1-mini", reasoning_style="none", tools=False),
    chat("generic", "gpt-5", efforts=("minimal", "low", "medium", "high"), reasoning_off="omit", verbosity=True),
    chat("generic", "gpt-5-2025-08-07", efforts=("minimal", "low", "medium", "high")),
    chat("generic", "gpt-5-codex", efforts=("low", "medium", "high")),
    responses("generic", "gpt-5.1", reasoning_off="none", reasoning_by_default=False),
    responses("generic", "gpt-5.1-codex", reasoning_off="omit", reasoning_by_default=True),
    responses("generic", "gpt-5.1-codex-max", efforts=("low", "medium", "high", "xhigh")),
    responses("generic", "gpt-5.2", efforts=("low", "medium", "high", "xhigh"), reasoning_off="none"),
    responses("generic", "gpt-5.3-codex", reasoning_off="omit", efforts=("low", "medium", "high", "xhigh")),
    responses("generic", "gpt-6-sol", efforts=("low", "medium", "high", "xhigh", "max"), reasoning_off="none"),
    responses("generic", "gpt-6-astra", reasoning_off="omit"),
    chat("generic", "gpt-6.1-sol", efforts=("low", "medium", "high", "xhigh"), reasoning_off="omit"),
    chat("openai", "gpt-5.4", reasoning_excludes_tools=True),
    chat("oca", "oca/gpt-5.4", reasoning_excludes_tools=False),
    responses("openai", "gpt-5.4", reasoning_excludes_tools=False),
    responses("openai", "gpt-5.6-sol", cache_hints="breakpoint"),
    responses("generic", "gpt-5.6-sol", cache_hints="none"),
    chat("generic", "gpt-5-chat-latest", temperature=True, reasoning_style="none"),
    chat("openai", "gpt-5-mini", custom_tools=True),
    chat("generic", "gpt-oss-120b", images=False, max_tokens_field="max_tokens", temperature=True),
    messages("claude-opus-9", temperature=False, reasoning_style="adaptive", prefill=False, structured="schema"),
    messages("claude-opus-5-5", forced_tool=False, bound_reasoning=True, reasoning_off="never", late_system="system"),
    chat("openrouter", "anthropic/claude-opus-5.5", forced_tool=False, temperature=False, cache_hints="cache_control"),
    messages("claude-fable-5", forced_tool=False, reasoning_off="never", bound_reasoning=False),
    messages("claude-fable-5-1", forced_tool=False, bound_reasoning=True),
    messages("claude-sonnet-5-5", reasoning_off="between_tools", temperature=False),
    messages("claude-haiku-5-5", reasoning_off="disabled"),
    messages("claude-opus-5", reasoning_off="disabled", reasoning_by_default=True, forced_tool=True),
    messages("claude-sonnet-5", reasoning_off="disabled", efforts=("low", "medium", "high", "xhigh", "max")),
    messages("claude-opus-4-8", late_system="system", reasoning_by_default=False, temperature=False),
    messages("claude-opus-4-7", late_system="reminder", reasoning_visibility=True, temperature=False),
    messages("claude-opus-4-6", temperature=True, prefill=False, efforts=("low", "medium", "high", "max")),
    messages("claude-sonnet-4-5", reasoning_style="budget", efforts=(), prefill=True, top_p_with_temperature=False),
    messages("anthropic/claude-sonnet-4.5", reasoning_style="budget", structured="schema"),
    messages("us.anthropic.claude-sonnet-4-5-20250929-v1:0", reasoning_style="budget", max_output=64000),
    messages("claude-opus-4-5", efforts=("low", "medium", "high"), reasoning_style="budget"),
    messages("claude-opus-4-1-20250805", structured="schema", max_output=32000),
    messages("claude-opus-4-20250514", structured="tool", max_output=32000, strict_tools=False),
    messages("claude-sonnet-4@20250514", structured="tool", reasoning_style="budget"),
    messages("claude-3-7-sonnet-20250219", structured="tool", reasoning_style="budget", reasoning_must_lead=True),
    messages("claude-3-5-haiku-latest", reasoning_style="none", max_output=8192),
    messages("claude-3-haiku-20240307", max_output=4096, default_output=4096),
    chat("litellm", "claude-sonnet-4-6", reasoning_replay="thinking_blocks", proofs=("openai_chat",)),
    chat("generic", "deepseek-reasoner", reasoning_replay="reasoning_content", reasoning_required=True, images=False),
    chat("generic", "kimi-k2-thinking", reasoning_replay="reasoning_content", reasoning_required=True, images=False),
    chat("generic", "kimi-k2.5", images=True, reasoning_required=True),
    messages("deepseek-reasoner", reasoning_replay="thinking_blocks", reasoning_required=True, proofs=()),
    chat("generic", "kimi-k2", temperature_max=1.0, reasoning_required=False),
    chat("generic", "kimi-k3", schema="plain"),
    chat("openrouter", "x-ai/grok-4.6", schema="plain"),
    chat("generic", "glm-4.5v", images=True),
    chat("generic", "glm-4.6", images=False, reasoning_replay="reasoning_content", reasoning_required=False),
    chat("oca", "oca/grok-code-fast-1", reasoning_style="none", stop_limit=0, images=False, penalties=False),
    chat("oca", "oca/grok4", reasoning_style="none", images=True),
    chat("vllm", "mistralai/Devstral-Small", tool_id="mistral", user_after_results=False),
    chat("openrouter", "mistralai/mistral-large", tool_id="any"),
    chat("generic", "gemini-3-pro-preview", schema="gemini", proofs=("openai_chat",)),
    chat(
        "generic",
        "gemini-3-pro-preview",
        unsigned_call={"google": {"thought_signature": "skip_thought_signature_validator"}},
    ),
    chat("openrouter", "google/gemini-3-pro", schema="object", proofs=("openai_chat",)),
]


@pytest.mark.parametrize("quirk", [*SERVER_QUIRKS, *MODEL_QUIRKS], ids=lambda quirk: quirk.id)
def test_a_quirk_shows_in_the_capabilities(quirk: Quirk) -> None:
    capabilities = capabilities_for(quirk.dialect, URL, quirk.model, quirk.profile)

    assert {name: getattr(capabilities, name) for name in quirk.fields} == quirk.fields


def test_each_row_of_the_tables_is_shown_by_a_quirk() -> None:
    quirks = [*SERVER_QUIRKS, *MODEL_QUIRKS]

    def shown(row: Any, quirk: Quirk) -> bool:
        name = quirk.profile if row in SERVERS else bare_name(quirk.model)
        return row.applies(name, quirk.dialect, quirk.profile) and bool(row.fields.keys() & quirk.fields.keys())

    silent = [row for row in (*SERVERS, *FAMILIES) if not any(shown(row, quirk) for quirk in quirks)]

    assert silent == []


def test_rows_name_only_fields_of_the_capabilities() -> None:
    fields = set(Capabilities.__struct_fields__)
    named = {name for row in (*SERVERS, *FAMILIES) for name in row.fields}
    named |= {name for row in DIALECTS.values() for name in row}

    assert named <= fields


def test_fields_that_geminis_endpoint_does_not_document_are_refused_fields() -> None:
    refused = capabilities_for("openai_chat", URL, "gemini-3-pro", "gemini").refused_fields

    assert {"store", "metadata", "parallel_tool_calls", "prompt_cache_key", "safety_identifier"} <= set(refused)


def test_the_chatgpt_backend_refuses_limits_and_sampling() -> None:
    refused = capabilities_for("openai_responses", URL, "gpt-5.5", "codex").refused_fields

    assert {"max_output_tokens", "temperature", "top_p", "metadata", "user", "truncation"} <= set(refused)


@pytest.mark.parametrize(
    ("url", "profile"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://my.openai.azure.com/openai/v1", "azure"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.deepseek.com/anthropic", "deepseek"),
        ("https://api.moonshot.ai/v1", "kimi"),
        ("https://api.z.ai/api/paas/v4", "glm"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini"),
        ("https://code.aiservice.us-chicago-1.oci.oraclecloud.com/20250206/app/litellm", "oca"),
        ("https://code-internal.aiservice.us-chicago-1.oci.oraclecloud.com/20250206/app/litellm", "oca"),
        ("https://chatgpt.com/backend-api/codex", "codex"),
        ("https://api.anthropic.com", "anthropic"),
        ("http://localhost:11434/v1", "ollama"),
        ("http://127.0.0.1:1234/v1", "lmstudio"),
        ("http://user:secret@127.0.0.1:9000/v1", "generic"),
        ("", "generic"),
    ],
)
def test_a_server_is_known_by_its_address(url: str, profile: str) -> None:
    assert profile_of(url) == profile


def test_every_row_and_every_address_is_that_of_a_profile() -> None:
    named = {name for row in SERVERS for name in row.names}

    assert named | set(HOSTS.values()) <= set(get_args(Profile))


def test_a_named_profile_goes_before_the_address() -> None:
    capabilities = capabilities_for("openai_chat", "https://api.openai.com/v1", "m", "llamacpp")

    assert capabilities.string_content
    assert capabilities.system_role == "system"


def test_the_family_goes_over_the_profile_and_the_configuration_over_both() -> None:
    row = capabilities_for("openai_chat", URL, "gpt-5-mini", "vllm")
    told = capabilities_for("openai_chat", URL, "gpt-5-mini", "vllm", {"max_tokens_field": "max_tokens"})

    assert row.max_tokens_field == "max_completion_tokens"
    assert told.max_tokens_field == "max_tokens"


def test_the_servers_own_list_goes_over_the_tables_and_under_the_configuration() -> None:
    limits = {"max_output": 9000, "efforts": ("low",)}

    capabilities = capabilities_for("openai_chat", URL, "gpt-5-mini", quirks={"max_output": 7}, limits=limits)

    assert (capabilities.max_output, capabilities.efforts) == (7, ("low",))


def test_the_billing_line_is_kept_for_anthropic_itself_only() -> None:
    own = capabilities_for("anthropic_messages", "https://api.anthropic.com", "claude-opus-5-5")
    other = capabilities_for("anthropic_messages", "https://gateway.example.com", "claude-opus-5-5")
    told = capabilities_for("anthropic_messages", URL, "claude-opus-5-5", first_party=True)

    assert (own.keep_billing, other.keep_billing, told.keep_billing) == (True, False, True)
    assert (own.first_party, other.first_party) == (True, False)


def test_lists_of_a_configuration_file_become_what_the_field_holds() -> None:
    capabilities = capabilities_for("openai_chat", URL, "m", quirks={"efforts": ["low", "high"], "stop_limit": 2})

    assert (capabilities.efforts, capabilities.stop_limit) == (("low", "high"), 2)


@pytest.mark.parametrize(
    ("quirks", "words"),
    [
        ({"max_token_field": "x"}, "quirks.max_token_field"),
        ({"model": "x"}, "quirks.model"),
        ({"stop_limit": "many"}, "quirks.stop_limit"),
        ({"late_system": "sometimes"}, "quirks.late_system"),
    ],
)
def test_a_wrong_quirk_is_named(quirks: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        capabilities_for("openai_chat", URL, "m", quirks=quirks)
