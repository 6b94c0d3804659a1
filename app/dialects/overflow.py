"""Recognises errors that say that a request exceeds the model's context.

Clients compact their history when they are told of an overflow, and are stuck for good when they are not. Nearly every
server words it differently, so the phrases are a table; the numbers are read if given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Tokens = tuple[int | None, int | None, int | None]

# Only the beginning of a message is examined: the numbers come first, the prompt may follow.
LONGEST_LOOK = 2000  # characters

CODES = frozenset(
    {"context_length_exceeded", "model_max_prompt_tokens_exceeded", "exceed_context_size_error", "tokens_limit_reached",
     "string_above_max_tokens", "max_prompt_tokens_exceeded", "context_window_exceeded", "prompt_too_long",
     "input_too_long", "1261"}
)  # fmt: skip

# In lower case, with single blanks; "…" separates words that may have others between them. Each phrase says that the
# input, not the answer, is too long.
PHRASES = (
    "context length",
    "context window",
    "context limit",
    "context size",
    "context_length",
    "context the overflows",  # LM Studio's own grammar
    "max context",
    "maximum context",
    "max_seq_len",
    "max_input_length",
    "max_prompt_tokens",
    "max message tokens",
    "maximum model length",
    "maximum prompt length",
    "maximum input length",
    "maximum allowed input length",
    "input length…exceed",
    "input length…maximum",
    "inputs…must be <=",
    "prompt…max length",
    "prompt_tokens…must be less",
    "max input length",
    "max prompt length",
    "prompt is too long",
    "prompt too long",
    "prompt is longer",
    "prompt exceeds",
    "prompt length exceeds",
    "input is too long",
    "input too long",
    "input exceeds",
    "input tokens exceed",
    "inputs exceed",
    "request is too long",
    "conversation is too long",
    "messages are too long",
    "longer than the model",
    "too many tokens",
    "too many input tokens",
    "too many total text bytes",
    "prompt token count",
    "input token count",
    "number of input tokens",
    "number of tokens in the prompt",
    "maximum number of tokens allowed",
    "max tokens allowed",
    "model token limit",
    "range of input length",
    "input length [",
    "reduce the length of the messages",
    "reduce the length of the prompt",
    "reduce the length of the input",
    "reduce the length of your prompt",
    "reduce your prompt",
    "`inputs` tokens",
    "inputs…must have less than",
    "contextwindowexceeded",
    "body too large for",
    "max_tokens must be at least 1, got -",  # vLLM: the remaining space is negative
    "prompt tokens…exceed",
    "messages resulted in",
)
# Phrases for an answer or part of a request that is too long, which compaction would not cure.
OTHERS = ("completion tokens, whereas", "max_tokens is too large", "max length of tool", "string too long")

# One whole message or result is too long, which compaction does cure.
_LONG_PART = re.compile(r"(?:input|messages)\[\d{1,6}\]\.(?:content|output)(?:\[\d{1,6}\]\.text)?'?: string too long")

_N = r"(?<!\d)(?P<n>\d[\d,]{0,14})"


def _patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


_LIMITS = _patterns(
    rf"exceed context limit: [\d,]{{1,15}} \+ [\d,]{{1,15}} > {_N}",
    rf"available context size \({_N}",
    rf"context (?:length|window|size|limit)(?: of the model)?(?: is| of|:)?(?: only)? {_N}",
    rf"context (?:length|window|size|limit) \({_N}",
    rf"{_N} maximum context",
    rf"exceeds the limit of {_N}",
    rf"tokens allowed \({_N}",
    rf"token limit:? {_N}",
    rf"limit is {_N}",
    rf"max size: {_N} tokens",
    rf"(?:maximum|max) (?:prompt|input|model|allowed|allowed input) length(?: is| of|:)? {_N}",
    rf"max_seq_len \({_N}",
    rf"input length should be \[1, ?{_N}",
    rf"must be <= {_N}",
    rf"cannot exceed(?: the total tokens limit)? {_N}",
    rf"> {_N} (?:tokens )?maximum",
)
_INPUTS = _patterns(
    rf"exceed context limit: {_N} \+",
    rf"prompt (?:is )?too long: {_N}",
    rf"token count (?:of |\(){_N}",
    rf"{_N}(?: tokens)? (?:from|in|of) (?:the |your )?(?:input messages|messages|prompt|text input|input)",
    rf"(?:prompt|request|input) (?:contains|has)(?: at least)? {_N} (?:input )?tokens",
    rf"messages resulted in {_N} tokens",
    rf"(?:request|input) \({_N} tokens\)",
    rf"requested: {_N}\)",
    rf"input length \(?{_N}",
    rf"prompt \(length {_N}",
    rf"prompt_tokens \({_N}",
    rf"current length is {_N}",
    rf"given: {_N} `inputs`",
    rf"number of input tokens {_N}",
)
_OUTPUTS = _patterns(
    rf"exceed context limit: [\d,]{{1,15}} \+ {_N} >",
    rf"{_N}(?: tokens)? (?:for|in) the (?:completion|output)",
    rf"requested {_N} output tokens",
    rf"is too large: {_N}",
    rf"and {_N} draft tokens",
    rf"{_N} `max_new_tokens`",
)
_TOTALS = _patterns(rf"requested(?: a total of| about)? {_N} tokens", rf"total of(?: at least)? {_N} tokens")

# If no phrase matches: the subject of a message and what is wrong with it, one word of each row.
_ABOUT = ("token", "length", "input", "context", "prompt", "window", "conversation", "history")
_EXCESS = ("exceed", "max", "limit", "range", "too long", "too large", "too many", "longer", "larger", "overflow",
           "more than", "greater", "beyond", "at most", "超", "上限", "过长")  # fmt: skip
# Other things that may be too long, or too many per minute.
_ELSEWHERE = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "completion token",
              "output token", "per minute", "per day", "rate limit", "quota", "image", "file", "audio", "tool", "name",
              "stop", "header", "url", "metadata", "temperature", "top_p", "seed", "_id", " id ", "budget")  # fmt: skip
# If no phrase matches: one sentence that names the input and says that it is too long.
_EXCEEDS = re.compile(
    r"\b(?:prompt|inputs?|conversation|context|history|sequence|messages?|total tokens|tokens in|number of tokens"
    r"|token count)\b[^.;:]{0,60}?(?:too (?:long|large|big)|exceed|longer than|larger than|greater than"
    r"|must be (?:less|smaller|under)|must not be (?:longer|larger|more))"
    r"|exceed(?:ed|s|ing)?\b[^.;:]{0,30}?"
    r" (?:number of tokens|(?:input|prompt|context|sequence|token) (?:tokens|count|length|size|window))"
)
# The same in other languages: the subject, the excess, and other subjects.
_THINGS = ("输入", "提示词", "上下文", "对话", "消息", "文本", "内容", "token", "prompt", "長度", "长度",
           "字数", "入力", "プロンプト", "コンテキスト", "トークン", "입력", "컨텍스트", "토큰",
           "프롬프트", "eingabe", "kontext", "anfrage", "entrée", "contexte", "requête", "entrada",
           "contexto", "solicitud", "контекст", "запрос", "ввод", "токен")  # fmt: skip
_TOO_MUCH = ("过长", "超长", "太长", "超限", "超过", "超出", "超過", "長すぎ", "超え", "너무 깁",
             "너무 길", "초과", "zu lang", "zu groß", "überschreit", "trop long", "dépass",
             "demasiado larg", "excede", "muito long", "слишком длин", "превыша")  # fmt: skip
_NOT_THESE = ("频", "次数", "速率", "额度", "配额", "余额", "并发", "图片", "图像", "文件", "工具",
              "每分钟", "每秒", "요청 수", "回数", "bild", "datei", "pro minute", "imagen", "archivo",
              "fichier", "изображ", "файл")  # fmt: skip
# A token count next to a smaller number that is given as the maximum.
_COUNTED = re.compile(r"(?<![\w.,-])\d[\d,]{3,10}(?![\w-])")
_MAY_BE = ("support", "limit", "max", "allow", "only", "up to", ">", "capacity", "at most")
_NUMBER = re.compile(r"(?<!\d)\d[\d,]{2,14}")
# Our estimate is rough, and an upstream also counts its own template.
NEAR = 0.7
# Minimum context window in tokens if nobody states it.
LEAST_WINDOW = 32_768


# How vendors word rate limits, in lower case.
_PACED = re.compile(
    r"(?:tokens|requests) per (?:second|minute|min|hour|day)|too many tokens,? please wait|\b[tr]p[md]\b[^.]{0,20}limit"
    r"|throttling ?(?:error|exception)|rate limit (?:reached|exceeded)|exceed(?:ed)? (?:the |your )?(?:\w+ )?rate limit"
)


def is_paced(message: str) -> bool:
    """Whether a message is about a rate limit rather than a full context."""
    return _PACED.search(message[:LONGEST_LOOK].lower()) is not None


def find_overflow(message: str) -> Tokens | None:
    """Input tokens, requested output tokens and limit of a context overflow, each None if not given; None if the
    message is about something else."""
    text = " ".join(message[:LONGEST_LOOK].lower().split())
    if _LONG_PART.search(text) is not None:
        return None, None, None
    if any(other in text for other in OTHERS):
        return None
    counted: Tokens = (None, None, None)
    if not any(is_said(phrase, text) for phrase in PHRASES):
        if any(word in text for word in _ELSEWHERE):
            return None
        counted = _compare(text)
        if counted[0] is None and not _exceeds(text):
            return None
    limit = _first_number(_LIMITS, text)
    asked = _first_number(_INPUTS, text)
    output = _first_number(_OUTPUTS, text)
    if (total := _first_number(_TOTALS, text)) is not None and (asked is None or output is not None):
        asked = max(asked or 0, total - output if output is not None and output < total else total)
    return counted[0] or asked, output, counted[2] or limit


def _exceeds(text: str) -> bool:
    """Whether a sentence says that the input is too long."""
    if (found := _EXCEEDS.search(text)) is not None and "should" not in found[0]:
        return True
    if not any(words in text for words in _TOO_MUCH) or any(words in text for words in _NOT_THESE):
        return False
    return any(words in text for words in _THINGS)


def _compare(text: str) -> Tokens:
    """A message's token count and the maximum it names, if the count is larger."""
    if "token" not in text or not any(words in text for words in _MAY_BE):
        return None, None, None
    numbers = {int(found.replace(",", "")) for found in _COUNTED.findall(text)}
    return (max(numbers), None, min(numbers)) if len(numbers) == 2 else (None, None, None)


def may_overflow(message: str) -> bool:
    """Whether a message is about too much input, in whatever words."""
    text = message[:LONGEST_LOOK].lower()
    return (
        any(word in text for word in _ABOUT)
        and any(word in text for word in _EXCESS)
        and not any(word in text for word in _ELSEWHERE)
    )


def is_near(message: str, estimate: int, window: int | None) -> bool:
    """Whether a message that `may_overflow` fits a request of `estimate` tokens: the estimate is near the model's
    window, or else near a number in the message."""
    numbers = [int(found.replace(",", "")) for found in _NUMBER.findall(message[:LONGEST_LOOK])]
    limits: Iterable[int] = (window,) if window is not None else [number for number in numbers if number >= 1000]
    return any(estimate >= NEAR * limit for limit in limits or (LEAST_WINDOW,))


def is_said(phrase: str, text: str) -> bool:
    if "…" not in phrase:
        return phrase in text
    place = 0
    for words in phrase.split("…"):
        place = text.find(words, place)
        if place < 0:
            return False
        place += len(words)
    return True


def _first_number(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    for pattern in patterns:
        if found := pattern.search(text):
            return int(found["n"].replace(",", ""))
    return None
