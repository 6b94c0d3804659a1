"""Finish reasons that are in no dialect's own table.

Servers invent words of their own. Their parts show what they mean: `guardrail_intervened` is a refusal,
`max_tokens_reached` a limit, `internal_error` a failure; anything else is an ordinary end.
"""

from __future__ import annotations

from typing import Literal

from app.conversation.response import FinishReason

_LONGEST = 100  # characters of a word that are examined

_INTERVENTION = ("filter", "guardrail", "interven", "moderat", "safety", "unsafe", "block", "prohibit", "refus",
                 "recitation", "sensitive", "policy", "violat", "spii", "denied", "deny", "harm", "toxic", "censor",
                 "jailbreak", "inspection")  # fmt: skip
_BROKEN = ("error", "fail", "abort", "cancel", "timeout", "timed_out", "exception", "crash", "malformed", "broken",
           "disconnect", "unavailable", "overload", "insufficient", "rate_limit", "killed", "preempt",
           "evict", "unexpected", "too_many", "missing")  # fmt: skip
_LIMIT = ("length", "max_tok", "maxtok", "max_new", "max_output", "token_limit", "tokenlimit", "truncat", "limit",
          "context_window", "repetition", "repeat")  # fmt: skip
_CALL = ("tool", "function_call", "functioncall")


def judge_word(word: str) -> FinishReason | Literal["broken"]:
    """The finish reason that a server's own word means; "broken" if it means a failure rather than an end."""
    plain = word[:_LONGEST].lower().replace("-", "_").replace(" ", "_")
    if any(part in plain for part in _INTERVENTION):
        return "content_filter"
    if any(part in plain for part in _BROKEN):
        return "broken"
    if any(part in plain for part in _LIMIT):
        return "length"
    if any(part in plain for part in _CALL):
        return "tool_calls"
    return "stop"
