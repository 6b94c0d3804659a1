"""What servers demand when they refuse a request, in words that need no look at what was sent."""

from __future__ import annotations

from typing import Any

# How DeepSeek, Kimi and similar servers demand the reasoning of a past turn.
_PAST_REASONING: tuple[tuple[str, ...], ...] = (
    ("reasoning_content", "passed back"), ("reasoning_content", "is missing"), ("missing", "reasoning_content"),
    ("reasoning_content is required",), ("reasoning_content` is required",),
)  # fmt: skip
# How servers refuse a content part for its type.
_PART_WORDS = ("unknown variant `{}`", "content type '{}'", "content type: {}", "input tag '{}'", "value: '{}'",
               "part type: {}")  # fmt: skip


def _part_words(*types: str) -> tuple[tuple[str, ...], ...]:
    return tuple([(words.format(kind),) for kind in types for words in _PART_WORDS])


# How Anthropic refuses schemas that it would have to enforce.
_GRAMMAR = (
    ("compiled grammar", "too large"), ("too complex for compilation",), ("grammar compilation",),
    ("too many strict tools",), ("strict tools", "maximum number"),
)  # fmt: skip
# What a server demands: words that occur together, the repair's name, and the capabilities. If the first row for the
# words is already in force, the next one is tried. The second subject is the backend of ChatGPT logins and proxies.
DEMANDS: tuple[tuple[tuple[tuple[str, ...], ...], str, dict[str, Any]], ...] = (
    (
        _PAST_REASONING,
        "past reasoning",
        {"reasoning_replay": "reasoning_content", "reasoning_required": True, "reasoning_always": True},
    ),
    (_PAST_REASONING, "empty past reasoning", {"empty_content": False}),  # for Kimi, empty text is none
    (
        (("instructions are required",), ("instructions are not valid",), ("instructions is required",),
         ("store must be", "false"), ("store", "must be set to false"), ("input must be a list",),
         ("input must be an array",)),
        "instructions", {"instructions_required": True, "store": False},
    ),
    (
        (("roles must alternate",), ("must alternate between",), ("must alternate user",), ("successive", "messages"),
         ("assistant messages at the end",)),
        "alternation", {"alternate": True, "merge_system": True, "late_system": "reminder"},
    ),
    (
        (("system message must be at the beginning",), ("system message must be the first",),
         ("system messages are not allowed",), ("multiple system messages",), ("only one system message",),
         ("system message", "only", "first"), ("unexpected role 'system'",),
         ("role", "system", "不支持"), (".role: input should be 'user' or 'assistant'",),
         ("role must be", "user", "assistant", "messages")),
        "system", {"merge_system": True, "late_system": "reminder"},
    ),
    (
        (("system role not supported",), ("system role is not supported",), ("does not support system",),
         ("does not support the system",), ("developer instruction is not enabled",),
         ("system messages are not supported",), ("system prompts are not supported",),
         ("only user and assistant roles",), ("system is not supported",), ("system: extra inputs",),
         ("unknown field `system`",), ("argument supplied: system",), ("system must be a string",),
         ("system: input should be a valid string",), ("system: expected", "string"), ("system: invalid type",),
         ("request.system of type string",)),
        "system text", {"system_text": False, "late_system": "reminder"},
    ),
    (
        (("thinking.type", "'enabled' or 'disabled'"), ("adaptive thinking", "not support"),
         ("thinking", "adaptive", "not support"), ("thinking", "input tag 'adaptive'")),
        "adaptive thinking", {"reasoning_style": "budget"},
    ),
    ((("thinking.type.enabled", "not support"),), "adaptive thinking", {"reasoning_style": "adaptive"}),
    ((("thinking", "only type=enabled"),), "thinking", {"reasoning_off": "never"}),
    ((("too many strict tools",), ("number of strict tools",)), "strict", {"strict_tools": False}),
    ((("reasoning input items", "only", "reasoning"),), "past reasoning", {"proofs": (), "reasoning_replay": "none"}),
    (_GRAMMAR, "strict tools", {"strict_tools": False}),
    (_GRAMMAR, "format", {"structured": "tool"}),
    ((("unexpected role 'user' after role 'tool'",),), "results", {"user_after_results": False}),
    (
        (("must define tools",), ("without `tools=`",), ("toolconfig field must be defined",)),
        "past tools", {"past_tools": True},
    ),
    ((("tool call id", "length of 9"), ("tool_call_id", "length of 9")), "tool ids", {"tool_id": "mistral"}),
    (
        (("tool_calls", "id'", "maximum length 40"), ("tool_call_id", "maximum length 40"),
         ("tool_call_id", "at most 40")),
        "tool ids", {"tool_id": "openai"},
    ),
    (
        (("tool_use.id", "at most 64"), ("tool_use.id", "64 characters")),
        "tool ids", {"tool_id": "responses", "passes": False},
    ),
    (
        (("function_response.name",), ("tool message", "'name' field"), ("tool name is required",)),
        "result names", {"result_names": True},
    ),
    ((("tool_result content", "must be a string"),), "results", {"tool_result_media": False}),
    (
        (("content type: <nil>",), ("content' field must be a string or an array",), ("received null", "content"),
         ("content", "none is not an allowed")),
        "content", {"null_content": False},
    ),
    (
        (("content", "value must be a string"), ("unexpected item type in content",), ("content", "must be a string"),
         ("content", "expected a string, but got an array")),
        "text", {"string_content": True},
    ),
    (
        (*_part_words("image_url", "image", "input_image"), ("no endpoints found that support image",),
         ("not support image",), ("n't support image",), ("unknown variant `image",), ("image_url is only supported",),
         ("not support multimodal",), ("not support vision",), ("image input is not supported",),
         ("images are not supported",), ("not a multimodal model",), ("at most 0 image",),
         ("required for image input",), ("only supports text",)),
        "images", {"images": False},
    ),
    (
        (*_part_words("file", "input_file"), ("no endpoints found that support file",), ("not support file input",),
         ("not support pdf",), ("n't support pdf",), ("not support document",)),
        "documents", {"documents": False},
    ),
    (
        (("no endpoints found that support structured",), ("no endpoints found that support response",),
         ("no endpoints found that support json",)),
        "format", {"structured": "none", "json_object": False},
    ),
    ((("property keys should match",),), "properties", {"plain_properties": True}),
    (
        (("external image url", "not supported"), ("image url", "not supported"), ("only base64", "image"),
         ("image", "source", "input tag 'url'"), ("image_url", "must be a base64"), ("image_url", "only data url")),
        "image URLs", {"image_urls": False},
    ),
)  # fmt: skip


def contains_any(text: str, rows: tuple[tuple[str, ...], ...]) -> bool:
    return any(all(words in text for words in row) for row in rows)
