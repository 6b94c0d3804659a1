"""What servers can take, as rows of data; families of models have theirs in models.py.

A dialect's row is what its own vendor takes. For a "generic" server, one that is neither named nor known, only what
nearly every server takes is assumed.
"""

from __future__ import annotations

from typing import Any

from app.conversation.blocks import DialectName
from app.providers.models import Row
from app.settings import Profile

_CHAT: tuple[DialectName, ...] = ("openai_chat",)
_MESSAGES: tuple[DialectName, ...] = ("anthropic_messages",)
_RESPONSES: tuple[DialectName, ...] = ("openai_responses",)
_OPENAI: tuple[DialectName, ...] = ("openai_chat", "openai_responses")

VENDORS: dict[DialectName, str] = {
    "anthropic_messages": "api.anthropic.com",
    "openai_chat": "api.openai.com",
    "openai_responses": "api.openai.com",
}

# Host, with the port where the URL names one. The two ports are those that nothing else commonly listens on.
HOSTS: dict[str, Profile] = {
    "api.openai.com": "openai",
    "*.openai.azure.com": "azure",
    "*.cognitiveservices.azure.com": "azure",
    "*.services.ai.azure.com": "azure",
    "openrouter.ai": "openrouter",
    "api.deepseek.com": "deepseek",
    "api.moonshot.*": "kimi",
    "api.kimi.com": "kimi",
    "open.bigmodel.cn": "glm",
    "api.z.ai": "glm",
    "dashscope*.aliyuncs.com": "qwen",
    "api.mistral.ai": "mistral",
    "codestral.mistral.ai": "mistral",
    "generativelanguage.googleapis.com": "gemini",
    "*aiservice.*.oci.oraclecloud.com": "oca",
    "chatgpt.com": "codex",
    "api.anthropic.com": "anthropic",
    "*:11434": "ollama",
    "*:1234": "lmstudio",
}

_COMMON_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

DIALECTS: dict[DialectName, dict[str, Any]] = {
    "anthropic_messages": {
        "default_output": 32000,
        "stop_blank": False,
        "temperature_max": 1.0,
        "top_k": True,
        "penalties": False,
        "seed": False,
        "logit_bias": False,
        "logprobs": False,
        "n": False,
        "reasoning_style": "budget",
        "efforts": (),
        "reasoning_excludes_sampling": True,
        "reasoning_excludes_forced_tool": True,
        "reasoning_must_lead": True,
        "proofs": ("anthropic_messages",),
        "late_system": "reminder",
        "native_tools": (
            "web_search_20250305",
            "web_search_20260209",
            "web_search_20260318",
            "web_fetch_20250910",
            "web_fetch_20260209",
            "web_fetch_20260309",
            "web_fetch_20260318",
            "code_execution_20250522",
            "code_execution_20250825",
            "code_execution_20260120",
            "code_execution_20260521",
            "bash_20250124",
            "text_editor_20250124",
            "text_editor_20250429",
            "text_editor_20250728",
            "memory_20250818",
            "mcp_toolset",
        ),
        "strict_tools": False,
        "tool_id": "anthropic",
        "tool_name_limit": 128,
        "schema": "anthropic",
        "tool_result_media": True,
        "error_flag": True,
        "structured": "tool",
        "json_object": False,
        "image_types": _COMMON_IMAGES,
        "document_types": ("application/pdf",),
        "document_urls": True,
        "text_documents": True,
        "refusals": False,
        "cache_hints": "cache_control",
        "user_field": "metadata",
        "service_tier": True,
    },
    "openai_chat": {
        "stop_limit": 4,
        "top_k": True,
        "documents": False,
        "document_types": ("application/pdf",),
    },
    "openai_responses": {
        "max_tokens_field": "max_output_tokens",
        "stop_limit": 0,
        "penalties": False,
        "seed": False,
        "logit_bias": False,
        "n": False,
        "reasoning_visibility": True,
        "proofs": ("openai_responses",),
        "system_role": "developer",
        "late_system": "developer",
        "custom_tools": True,
        "namespaces": True,
        "native_tools": (
            "web_search",
            "web_search_2025_08_26",
            "web_search_preview",
            "web_search_preview_2025_03_11",
            "file_search",
            "code_interpreter",
            "image_generation",
            "mcp",
            "computer",
            "computer_use_preview",
            "shell",
            "local_shell",
            "apply_patch",
            "programmatic_tool_calling",
        ),
        "strict_explicit": True,
        "tool_id": "responses",
        "tool_result_media": True,
        "image_types": _COMMON_IMAGES,
        "document_urls": True,
        "prefill": False,
        "store": True,
    },
    "openai_completions": {"stop_limit": 4, "tools": False, "images": False, "documents": False},
}

_OPENAI_HINTS: dict[str, Any] = {
    "cache_key": True,
    "user_field": "safety_identifier",
    "service_tier": True,
    "metadata": True,
    "store": True,
}
# An open server behind the Responses dialect: none of OpenAI's own tools, and nothing it could decrypt.
_OPEN_RESPONSES: dict[str, Any] = {
    "proofs": (),
    "custom_tools": False,
    "namespaces": False,
    "native_tools": (),
    "store": False,
    "document_urls": False,
}
_TEMPLATE_SWITCH: dict[str, Any] = {
    "reasoning_off": "omit",
    "reasoning_off_fields": {"chat_template_kwargs": {"enable_thinking": False}},
}
_THINKING_SWITCH: dict[str, Any] = {
    "reasoning_on_fields": {"thinking": {"type": "enabled"}},
    "reasoning_off_fields": {"thinking": {"type": "disabled"}},
}
_LOCAL: dict[str, Any] = {"stop_limit": None, "documents": False, "rescue_calls": True, "think_tags": True}

SERVERS: tuple[Row, ...] = (
    Row(("openai",), _OPENAI_HINTS, _OPENAI),
    Row(
        ("openai",),
        {
            "max_tokens_field": "max_completion_tokens",
            "system_role": "developer",
            "late_system": "developer",
            "top_k": False,
            "image_types": _COMMON_IMAGES,
            "documents": True,
        },
        _CHAT,
    ),
    Row(("openai", "azure"), {"prefill": False}, _CHAT),
    Row(("azure",), {"top_k": False, "documents": True, "user_field": "user", "cache_key": True}, _OPENAI),
    Row(
        ("openrouter",),
        {
            "reasoning_replay": "reasoning_details",
            "proofs": ("openai_chat",),
            "reasoning_off_fields": {"reasoning": {"enabled": False}},
            "efforts": ("minimal", "low", "medium", "high", "xhigh"),
            "documents": True,
            "stop_limit": None,
            "user_field": "user",
        },
        _CHAT,
    ),
    Row(("vllm",), {"reasoning_replay": "reasoning", "stop_limit": None, **_TEMPLATE_SWITCH}, _CHAT),
    Row(("vllm", "ollama", "lmstudio", "llamacpp"), _OPEN_RESPONSES, _RESPONSES),
    Row(
        ("ollama",),
        {
            **_LOCAL,
            "image_urls": False,
            "reasoning_off": "none",
            "reasoning_replay": "reasoning",
            "parallel_switch": False,
            "strict_tools": False,
            "logit_bias": False,
            "n": False,
        },
        _CHAT,
    ),
    Row(
        ("llamacpp",),
        {
            **_LOCAL,
            **_TEMPLATE_SWITCH,
            "merge_system": True,
            "late_system": "reminder",
            "alternate": True,
            "string_content": True,
            "reasoning_replay": "reasoning_content",
        },
        _CHAT,
    ),
    Row(
        ("lmstudio",),
        {
            **_LOCAL,
            "image_urls": False,
            "merge_system": True,
            "late_system": "reminder",
            "strict_tools": False,
        },
        _CHAT,
    ),
    Row(
        ("deepseek",),
        {
            **_THINKING_SWITCH,
            "reasoning_replay": "reasoning_content",
            "reasoning_required": True,
            "structured": "json_object",
            "strict_tools": False,
            "top_k": False,
            "stop_limit": 16,
            "images": False,
            "seed": False,
            "logit_bias": False,
            "n": False,
        },
        _CHAT,
    ),
    Row(
        ("deepseek", "kimi"),
        {
            "reasoning_replay": "thinking_blocks",
            "reasoning_required": True,
            "reasoning_must_lead": False,
            "proofs": (),
            "native_tools": (),
            "documents": False,
            "document_urls": False,
            "text_documents": False,
        },
        _MESSAGES,
    ),
    Row(
        ("kimi",),
        {
            **_THINKING_SWITCH,
            "reasoning_replay": "reasoning_content",
            "reasoning_required": True,
            "temperature_max": 1.0,
            "top_k": False,
            "image_urls": False,
        },
        _CHAT,
    ),
    Row(
        ("glm",),
        {**_THINKING_SWITCH, "reasoning_replay": "reasoning_content", "temperature_max": 1.0, "strict_tools": False},
        _CHAT,
    ),
    Row(
        ("qwen",),
        {
            "reasoning_on_fields": {"enable_thinking": True},
            "reasoning_off_fields": {"enable_thinking": False},
            "reasoning_style": "none",
            "reasoning_replay": "reasoning_content",
            "cache_hints": "cache_control",
            "strict_tools": False,
            "logit_bias": False,
        },
        _CHAT,
    ),
    Row(
        ("mistral",),
        {
            "tool_id": "mistral",
            "user_after_results": False,
            "alternate": True,
            "prefill": False,
            "stop_limit": None,
            "top_k": False,
            "seed": False,
            "logit_bias": False,
            "logprobs": False,
            "temperature_max": 1.5,
            "stream_usage": False,
            "reasoning_style": "none",
        },
        _CHAT,
    ),
    Row(
        ("gemini",),
        {
            "schema": "gemini",
            "strict_tools": False,
            "parallel_switch": False,
            "proofs": ("openai_chat",),
            # Documented for calls that another model made, or whose signature a client has lost.
            "unsigned_call": {"google": {"thought_signature": "skip_thought_signature_validator"}},
            "documents": True,
            "image_urls": False,
            "top_k": False,
            "seed": False,
            "logit_bias": False,
            "logprobs": False,
            "stop_limit": 5,
            "refused_fields": (
                "store",
                "metadata",
                "parallel_tool_calls",
                "prompt_cache_key",
                "prompt_cache_retention",
                "prompt_cache_options",
                "safety_identifier",
                "user",
                "service_tier",
                "verbosity",
            ),
        },
        _CHAT,
    ),
    Row(
        ("litellm",),
        {"documents": True, "user_field": "user", "cache_hints": "cache_control"},
        _CHAT,
    ),
    Row(
        ("oca",),
        {
            "stream_only": True,
            "parallel_switch": False,
            "top_k": False,
            "seed": False,
            "logit_bias": False,
            "logprobs": False,
            "service_tier": True,
            "verbosity": True,
        },
        _CHAT,
    ),
    Row(
        ("oca",),
        {
            "stream_only": True,
            "store": False,
            "service_tier": True,
            "stream_usage": False,
            "refused_fields": ("previous_response_id",),
        },
        _RESPONSES,
    ),
    Row(
        ("codex",),
        {
            "stream_only": True,
            "store": False,
            "temperature": False,
            "top_p": False,
            "instructions_required": True,
            "cache_key": True,
            "service_tier": True,
            "verbosity": True,
            "refused_fields": (
                "max_output_tokens",
                "max_tokens",
                "max_completion_tokens",
                "temperature",
                "top_p",
                "metadata",
                "user",
                "truncation",
                "previous_response_id",
            ),
        },
        _RESPONSES,
    ),
)
