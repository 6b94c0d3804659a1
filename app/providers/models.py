"""What families of models can take, as rows of data; servers have theirs in profiles.py.

A row's names are globs over the bare name of a model: lower case, without the vendor in front ("oca/", "anthropic.")
and with dashes for dots, so that `Claude-Sonnet-4.5`, `anthropic/claude-sonnet-4-5` and
`us.anthropic.claude-sonnet-4-5-20250929-v1:0` are one family. Rows apply in order, so a later one is the exception to
an earlier one.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from app.conversation.blocks import DialectName

_CHAT: tuple[DialectName, ...] = ("openai_chat",)
_MESSAGES: tuple[DialectName, ...] = ("anthropic_messages",)
_OPENAI: tuple[DialectName, ...] = ("openai_chat", "openai_responses")


class Row(msgspec.Struct, frozen=True):
    """Fields of Capabilities that hold where a name matches; no dialects or profiles listed means all of them."""

    names: tuple[str, ...]
    fields: dict[str, Any]
    dialects: tuple[DialectName, ...] = ()
    profiles: tuple[str, ...] = ()

    def applies(self, name: str, dialect: DialectName, profile: str) -> bool:
        return (
            (not self.dialects or dialect in self.dialects)
            and (not self.profiles or profile in self.profiles)
            and any(fnmatchcase(name, glob) for glob in self.names)
        )


def bare_name(model: str) -> str:
    """The name that the globs of a row are held against."""
    name = model.lower().rsplit("/", 1)[-1].replace(".", "-").replace("@", "-")
    return _VENDOR.sub("", name)


_VENDOR = re.compile(r"^(?:(?:us|eu|apac|global)-)?(?:anthropic|openai|google|meta|mistralai|deepseek-ai|xai)-")

# OpenAI's reasoning models refuse whatever steers sampling, whichever server stands before them.
_NO_SAMPLING: dict[str, Any] = {
    "temperature": False,
    "top_p": False,
    "top_k": False,
    "penalties": False,
    "logit_bias": False,
    "logprobs": False,
}
# A model that must be given its own thinking back in a tool loop, signed or not.
_REPLAY_ON_CHAT: dict[str, Any] = {"reasoning_replay": "reasoning_content", "reasoning_required": True}
_REPLAY_ON_MESSAGES: dict[str, Any] = {
    "reasoning_replay": "thinking_blocks",
    "reasoning_required": True,
    "reasoning_must_lead": False,
    "proofs": (),
}
# A date may follow the version: claude-opus-4-20250514 is Opus 4, claude-opus-4-1-20250805 is Opus 4.1.
_CLAUDE_BEFORE_4_5 = (
    "claude-[1-3]*",
    "claude-instant*",
    "claude-opus-4",
    "claude-opus-4-[02]*",
    "claude-sonnet-4",
    "claude-sonnet-4-[02]*",
)
_CLAUDE_TO_4_5 = (
    *_CLAUDE_BEFORE_4_5,
    "claude-opus-4-[15]*",
    "claude-sonnet-4-5*",
    "claude-haiku-4*",
    "claude-4*",
)
_CLAUDE_5_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_ALWAYS_THINKS: dict[str, Any] = {"reasoning_off": "never", "reasoning_by_default": True, "forced_tool": False}

FAMILIES: tuple[Row, ...] = (
    # OpenAI
    Row(("gpt-*", "chatgpt-*", "o[134]", "o[134]-*"), {"top_k": False, "documents": True}, _OPENAI),
    Row(("gpt-3*", "gpt-4*", "chatgpt-*"), {"reasoning_style": "none", "reasoning_replay": "none"}, _OPENAI),
    Row(("gpt-3-5*",), {"images": False, "documents": False, "structured": "json_object"}, _OPENAI),
    Row(
        ("gpt-5*", "gpt5*", "gpt-[6-9]*", "o[134]", "o[134]-*"),
        {"max_tokens_field": "max_completion_tokens", "stop_limit": 0},
        _CHAT,
    ),
    Row(
        ("gpt-5*", "gpt5*", "gpt-[6-9]*", "o[134]", "o[134]-*"),
        {**_NO_SAMPLING, "reasoning_by_default": True, "reasoning_replay": "none"},
        _OPENAI,
    ),
    Row(("o[134]", "o[134]-*"), {"efforts": ("low", "medium", "high")}, _OPENAI),
    Row(("o1-mini*", "o1-preview*"), {"reasoning_style": "none", "images": False, "tools": False}, _OPENAI),
    Row(("o3-mini*",), {"images": False}, _OPENAI),
    Row(("gpt-5*", "gpt5*"), {"efforts": ("minimal", "low", "medium", "high"), "verbosity": True}, _OPENAI),
    Row(("gpt-5-codex*",), {"efforts": ("low", "medium", "high")}, _OPENAI),
    Row(
        ("gpt-5-1", "gpt-5-1-*"),
        {"efforts": ("low", "medium", "high"), "reasoning_off": "none", "reasoning_by_default": False},
        _OPENAI,
    ),
    Row(("gpt-5-1-codex*",), {"reasoning_off": "omit", "reasoning_by_default": True}, _OPENAI),
    Row(("gpt-5-1-codex-max*",), {"efforts": ("low", "medium", "high", "xhigh")}, _OPENAI),
    # "gpt-5-2*" would also be the date of gpt-5-2025-08-07.
    Row(
        ("gpt-5-2", "gpt-5-2-*", "gpt-5-[3-9]*", "gpt-[6-9]*"),
        {"efforts": ("low", "medium", "high", "xhigh"), "reasoning_off": "none", "verbosity": True},
        _OPENAI,
    ),
    Row(("gpt-5-[2-9]-codex*",), {"reasoning_off": "omit"}, _OPENAI),
    Row(("gpt-[6-9]*",), {"efforts": ("low", "medium", "high", "xhigh", "max")}, _OPENAI),
    Row(("gpt-6-astra*", "gpt-6-1-sol*"), {"reasoning_off": "omit"}, _OPENAI),
    Row(("gpt-6-1-sol*",), {"efforts": ("low", "medium", "high", "xhigh")}, _CHAT),
    # OpenAI's own Chat endpoint answers 400 to function tools with an effort; proxies may reroute such a request.
    Row(
        ("gpt-5-[4-9]*", "gpt-[6-9]*"),
        {"reasoning_excludes_tools": True},
        _CHAT,
        ("openai", "azure", "generic"),
    ),
    Row(
        ("gpt-5-[6-9]*", "gpt-[6-9]*"),
        {"cache_hints": "breakpoint"},
        _OPENAI,
        ("openai",),
    ),
    Row(
        ("gpt-5*-chat*",),
        {"reasoning_style": "none", "reasoning_by_default": False, "temperature": True, "top_p": True},
        _OPENAI,
    ),
    Row(("gpt-5*", "gpt-[6-9]*"), {"custom_tools": True}, _CHAT, ("openai", "azure")),
    Row(("gpt-oss*",), {"efforts": ("low", "medium", "high"), "images": False, "documents": False}, _OPENAI),
    # Claude: an unknown name is taken for a new model; older ones are the exceptions
    Row(
        ("claude-*",),
        {
            "temperature": False,
            "temperature_max": 1.0,
            "top_p": False,
            "top_k": False,
            "prefill": False,
            "structured": "schema",
            "strict_tools": True,
        },
    ),
    Row(
        ("claude-*",),
        {
            "reasoning_style": "adaptive",
            "efforts": _CLAUDE_5_EFFORTS,
            "reasoning_by_default": True,
            "reasoning_off": "omit",
            "reasoning_visibility": True,
            "reasoning_must_lead": False,
            "late_system": "system",
        },
        _MESSAGES,
    ),
    Row(("claude-*",), {"cache_hints": "cache_control"}, _CHAT, ("openrouter", "litellm")),
    Row(
        ("claude-*",),
        {"reasoning_replay": "thinking_blocks", "proofs": ("openai_chat",)},
        _CHAT,
        ("litellm",),
    ),
    Row(("claude-sonnet-5*",), {"reasoning_off": "disabled"}, _MESSAGES),
    Row(("claude-opus-5*",), {"reasoning_off": "disabled"}, _MESSAGES),
    Row(("claude-fable-*", "claude-mythos-*"), {"forced_tool": False}),
    Row(("claude-fable-*", "claude-mythos-*"), _ALWAYS_THINKS, _MESSAGES),
    Row(("claude-opus-5-5*",), {"forced_tool": False}),
    Row(("claude-opus-5-5*",), {**_ALWAYS_THINKS, "bound_reasoning": True}, _MESSAGES),
    Row(("claude-fable-5-[1-9]*", "claude-mythos-5-[1-9]*"), {"bound_reasoning": True}, _MESSAGES),
    Row(("claude-sonnet-5-5*",), {"reasoning_off": "between_tools"}, _MESSAGES),
    Row(("claude-haiku-5-5*",), {"reasoning_off": "disabled"}, _MESSAGES),
    Row(
        ("claude-opus-4-[78]*",),
        {"reasoning_by_default": False},
        _MESSAGES,
    ),
    Row(("claude-opus-4-7*",), {"late_system": "reminder"}, _MESSAGES),
    Row(("claude-opus-4-6*", "claude-sonnet-4-6*"), {"temperature": True, "top_p": True}),
    Row(
        ("claude-opus-4-6*", "claude-sonnet-4-6*"),
        {
            "top_k": True,
            "efforts": ("low", "medium", "high", "max"),
            "reasoning_by_default": False,
            "reasoning_visibility": False,
            "late_system": "reminder",
        },
        _MESSAGES,
    ),
    Row(
        _CLAUDE_TO_4_5,
        {"temperature": True, "top_p": True, "top_p_with_temperature": False, "prefill": True},
    ),
    Row(
        _CLAUDE_TO_4_5,
        {
            "top_k": True,
            "reasoning_style": "budget",
            "efforts": (),
            "reasoning_by_default": False,
            "reasoning_visibility": False,
            "reasoning_must_lead": True,
            "late_system": "reminder",
            "max_output": 64000,
        },
        _MESSAGES,
    ),
    Row(("claude-opus-4-5*",), {"efforts": ("low", "medium", "high")}, _MESSAGES),
    # Structured output and strict tools began with 4.5 (Opus: 4.1).
    Row(
        _CLAUDE_BEFORE_4_5,
        {"structured": "tool", "strict_tools": False},
        _MESSAGES,
    ),
    Row(("claude-opus-4", "claude-opus-4-[012]*"), {"max_output": 32000, "default_output": 32000}, _MESSAGES),
    Row(
        ("claude-[12]*", "claude-instant*", "claude-3-5-*", "claude-3-opus*", "claude-3-sonnet*", "claude-3-haiku*"),
        {"reasoning_style": "none"},
        _MESSAGES,
    ),
    Row(("claude-3-5-*",), {"max_output": 8192, "default_output": 8192}, _MESSAGES),
    Row(
        ("claude-[12]*", "claude-instant*", "claude-3-opus*", "claude-3-sonnet*", "claude-3-haiku*"),
        {"max_output": 4096, "default_output": 4096},
        _MESSAGES,
    ),
    # Models that think and want their thinking back
    Row(
        ("deepseek-reasoner*", "deepseek-v3-2*", "deepseek-v[4-9]*", "kimi-*-thinking*", "kimi-k2-[5-9]*", "mimo-*"),
        _REPLAY_ON_CHAT,
        _CHAT,
    ),
    Row(("deepseek-*", "kimi-*", "mimo-*"), _REPLAY_ON_MESSAGES, _MESSAGES),
    Row(("kimi-*",), {"temperature_max": 1.0}),
    # They take their own sampling alone, and no forced call while they think, as they do unless told not to.
    Row(
        ("kimi-k2-[5-9]*", "kimi-k[3-9]*", "kimi-for-coding*"),
        {
            "temperature": False,
            "top_p": False,
            "penalties": False,
            "n": False,
            "reasoning_by_default": True,
            "reasoning_excludes_forced_tool": True,
        },
        _CHAT,
    ),
    Row(
        ("kimi-k2-[5-9]*", "kimi-k[3-9]*", "kimi-for-coding*"),
        {"reasoning_off_fields": {"thinking": {"type": "disabled"}}},
        _CHAT,
        ("kimi", "generic"),
    ),
    # They think unless told not to, and there only in streams: a whole answer is collected.
    Row(("qwen3*", "qwen-3*", "qwq*", "qvq*"), {"stream_only": True}, _CHAT, ("qwen", "modelscope")),
    # Models that read text only; the exceptions follow
    Row(
        (
            "deepseek-*",
            "kimi-k2*",
            "glm-4-[5-7]*",
            "glm-5*",
            "qwen3-coder*",
            "codestral*",
            "grok-code*",
            "grok-3*",
            "grok3*",
        ),
        {"images": False, "documents": False},
    ),
    Row(("deepseek-vl*", "deepseek-ocr*", "kimi-k2-[5-9]*", "glm-[4-9]*v", "glm-[4-9]*v-*"), {"images": True}),
    # Others
    Row(("grok-4*", "grok4*", "grok-code*"), {"reasoning_style": "none", "penalties": False}, _OPENAI),
    Row(("grok-4*", "grok4*", "grok-code*", "grok-3-mini*"), {"stop_limit": 0}, _CHAT),
    Row(
        ("mistral-*", "ministral-*", "devstral*", "codestral*", "magistral*", "pixtral*"),
        {"tool_id": "mistral", "user_after_results": False},
        _CHAT,
        ("mistral", "generic", "vllm"),
    ),
    Row(("gemini-*",), {"proofs": ("openai_chat",), "documents": True}, _CHAT),
    Row(("gemini-*",), {"schema": "gemini"}, _CHAT, ("gemini", "generic")),
)
