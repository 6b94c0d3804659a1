"""Classifies failures by the vendors' codes and types, then by status."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from app.dialects.error_bodies import BODY_LIMIT, ErrorBody, find_error, read_error_body, read_error_value
from app.dialects.overflow import CODES as OVERFLOW_CODES
from app.dialects.overflow import Tokens, find_overflow, is_paced, is_said
from app.errors import STATUS, Failure, FailureKind
from app.json_values import any_decoder, decode_or_none


def _kinds_of(words: Mapping[FailureKind, Sequence[str]]) -> dict[str, FailureKind]:
    return {word: kind for kind, known in words.items() for word in known}


# Kinds by `code` or `type`, which overrule the status; in lower case, without separators. Numbers of three digits are
# statuses (LiteLLM, OpenRouter) and are left out; longer ones are codes of Z.ai and SiliconFlow.
KINDS: dict[str, FailureKind] = _kinds_of({
    "upstream_auth": (
        "authenticationerror", "autherror", "invalidapikey", "invalidauthenticationtoken", "expiredkey",
        "tokennotfoundindb", "unauthenticated", "expiredtokenexception", "unrecognizedclientexception", "unauthorized",
        "notauthenticated", "1000", "1001", "1002", "1003", "1004",
    ),
    "billing": (
        "billingerror", "arrearage", "accountoverdueerror", "usagenotincluded", "insufficientbalance", "1309", "1113",
        "30001",
    ),
    "quota": (
        "creditbalanceexhausted", "insufficientquota", "budgetexceeded", "usagelimitreached",
        "exceededcurrentquotaerror", "setlimitexceeded", "1304", "1308", "1310",
    ),
    "permission": (
        "permissionerror", "permissiondenied", "insufficientpermissions", "accessdenied", "accessdeniedexception",
        "keymodelaccessdenied", "teammodelaccessdenied", "unsupportedcountryregionterritory", "modelnotopen", "1311",
    ),
    "not_found": (
        "modelnotfound", "modelnotexist", "resourcedoesnotexist", "notfounderror", "notfound", "1211", "20012",
    ),
    "too_large": ("requesttoolarge",),
    "content_filter": (
        "contentfilter", "contentpolicyviolation", "datainspectionfailed", "inputtextsensitivecontentdetected",
        "outputtextsensitivecontentdetected", "1301",
    ),
    "rate_limit": (
        "ratelimitexceeded", "ratelimiterror", "throttlingerror", "throttlingexception", "throttling", "slowdown",
        "resourceexhausted", "requestlimitexceeded", "toomanyrequests", "toomanyrequestserror", "toomanytokenserror",
        "tokenquotaexceeded",  # Cerebras: tokens per minute
        "requestquotaexceeded", "ratelimitreachederror", "ratelimited", "limitrequests", "1302", "1303", "1305",
    ),
    "overloaded": (
        "overloaded", "overloadederror", "engineoverloadederror", "serverisoverloaded", "serveroverloaded",
        "serviceunavailable", "temporarilyunavailable", "unavailable", "50505", "50507",
    ),
    "timeout": ("timeouterror", "timeout", "requesttimeout", "deadlineexceeded"),
})  # fmt: skip

# MiniMax's codes, under `base_resp`.
BASE_KINDS: dict[str, FailureKind] = {
    "1001": "timeout",
    "1002": "rate_limit",
    "1004": "upstream_auth",
    "1008": "billing",
    "1026": "content_filter",
    "1027": "content_filter",
    "1039": "rate_limit",
    "2013": "invalid_request",
    "2049": "upstream_auth",
    "2056": "quota",
}

# Words too broad to overrule a status; they decide if there is none: inside a stream, or in a reply of status 200.
BROAD_KINDS: dict[str, FailureKind] = {
    "invalidrequesterror": "invalid_request",
    "invalidprompt": "invalid_request",
    "badrequesterror": "invalid_request",
    "invalidargument": "invalid_request",
    "apierror": "internal",
    "servererror": "internal",
    "internalservererror": "internal",
    "internal": "internal",
}
# The same by substrings of a code, for vendors that no table covers; the first row with a matching word decides.
BROAD_WORDS: tuple[tuple[FailureKind, tuple[str, ...]], ...] = (
    ("rate_limit", ("ratelimit", "throttl", "toomany", "qpslimit", "flowlimit")),
    ("billing", ("balance", "arrear", "overdue", "billing", "payment")),
    ("quota", ("quota", "usagelimit", "spendlimit", "budget")),
    (
        "content_filter",
        (
            "sensitive",
            "moderation",
            "inspection",
            "contentfilter",
            "contentpolicy",
            "safety",
            "riskdetect",
            "contentrisk",
            "responsibleai",
            "cyberpolicy",
            "biopolicy",
        ),
    ),
    ("invalid_request", ("image",)),
    ("upstream_auth", ("apikey", "authenticat", "unauthorized", "invalidtoken", "tokeninvalid", "tokenexpired")),
    ("permission", ("permission", "forbidden", "accessdenied", "notallowed")),
    ("not_found", ("notfound", "notexist", "doesnotexist")),
    ("timeout", ("timeout", "timedout")),
    ("overloaded", ("overload", "unavailable", "busy", "capacity")),
    ("invalid_request", ("invalid", "badrequest", "validation", "malformed", "illegal")),
)

# The kinds among them that say more than an unspecific status does.
_INFORMATIVE = ("billing", "quota", "content_filter")

# The same by phrases of a message, in lower case; "…" separates words that may have others between them. For servers
# that give no code and one status for everything: the kind decides whether a renewed credential, another upstream or
# nothing helps.
MESSAGE_KINDS: tuple[tuple[FailureKind, tuple[str, ...]], ...] = (
    ("billing", (
        "credit balance", "insufficient balance", "insufficient credit", "insufficient fund",
        "balance is insufficient", "not enough credit", "not enough balance", "out of credit", "run out of credit",
        "no credits", "credits expired", "credits have been exhausted", "requires more credits", "included credits",
        "purchase credits", "purchase more credits", "payment required", "payment method", "account is overdue",
        "overdue payment", "good standing", "billing is not active", "credits are required", "credit is required",
        "credits required", "credits remaining", "exhausted balance", "balance exhausted", "balance is exhausted",
        "top up your", "top_up", "credit limit is insufficient", "credit limit reached", "billing account…disabled",
        "余额不足", "余额耗尽", "欠费", "请充值", "insufficient_balance", "insufficient account balance",
    )),
    ("quota", (
        "exceeded your current quota", "exceeded your quota", "out of quota", "quota…used up",
        "quota has been exhausted", "exhausted your quota", "exceeded your assigned quota", "额度不足", "额度已用",
        "额度已耗尽", "额度用尽", "配额不足", "配额已用", "budget has been exceeded", "budgetexceeded",
        "exceededbudget", "exceededtokenbudget", "exceeded budget", "max budget", "over budget", "spending limit",
        "spend limit", "key limit exceeded", "usage limit", "usage quota", "usage cap", "monthly limit",
        "weekly limit", "daily limit", "free tier…exhausted", "free quota", "免费额度", "使用上限",
    )),
    ("content_filter", (
        "content exists risk", "inappropriate content", "considered high risk", "content management policy",
        "usage guidelines", "safety_check",
        "content policy", "content safety", "content filter", "flagged as", "flagged by", "flagged for",
        "usage policies", "our usage policy", "safety system", "responsible ai", "moderation system",
        "prohibited content", "sensitive content", "sensitive word", "敏感", "违规", "不安全", "不当内容", "风险内容",
        "内容安全",
    )),
    ("upstream_auth", (
        "api key not valid", "api key…invalid", "invalid api key", "incorrect api key", "invalid_api_key",
        "api key…expired", "api key…revoked", "api key not found", "missing api key", "no api key", "invalid api-key",
        "wrong api key", "security token…expired", "security token…invalid", "token has expired", "token is expired",
        "token expired", "expired token", "expired_token", "invalid access token", "access token…invalid",
        "invalid bearer", "jwt expired", "invalid jwt", "session has expired", "authentication failed",
        "failed to authenticate", "invalid authentication", "invalid credential", "credentials have expired",
        "无效的令牌", "令牌已过期", "令牌无效", "token无效", "token 无效", "token已过期", "token过期", "身份验证",
        "鉴权失败", "认证失败", "密钥无效", "无效的api", "无效的密钥", "未提供令牌",
    )),
    ("permission", (
        "location is not supported", "not available in your country", "not available in your region",
        "unsupported country", "country, region, or territory", "not supported in your region",
        "region is not supported",
    )),
    ("not_found", (
        "model identifier is invalid", "no available channel", "无可用渠道", "模型不存在", "模型未找到",
        "不存在该模型", "no such model", "unknown model", "invalid model name", "model…does not exist",
        "model not found", "model_not_found", "is not a valid model", "not a valid model id",
        "model…could not be found", "unrecognized model",
    )),
    ("overloaded", (
        "overloaded", "at capacity", "over capacity", "访问量过大", "负载已饱和", "负载过高", "系统繁忙", "服务繁忙",
        "服务器繁忙", "server is busy", "server busy", "too busy", "system is busy", "temporarily unavailable",
        "high demand", "high load", "heavy load", "loading model", "model is loading", "is currently loading",
        "still loading", "degraded function", "model unloaded", "model has unloaded", "model reloaded",
        "model has crashed", "no capacity", "capacity exceeded", "insufficient capacity", "unexpected capacity",
    )),
)  # fmt: skip
# Kinds that a message may give to a failure despite its status: a rate limit may mean an exhausted account, and so may
# a refused key. If the status says little, any kind may apply.
_ACCOUNTS: tuple[FailureKind, ...] = ("billing", "quota")
_REPLACEABLE: dict[FailureKind, tuple[FailureKind, ...]] = {
    "rate_limit": _ACCOUNTS,
    "upstream_auth": _ACCOUNTS,
    "permission": (*_ACCOUNTS, "content_filter", "upstream_auth"),
    "overloaded": (*_ACCOUNTS, "not_found"),
    "not_found": (),
    "timeout": (),
    "billing": (),
    "too_large": (),
    "conflict": (),
    "unsupported_media": (),
}
_LONGEST_MESSAGE = 600  # characters of a message that are examined

STATUS_KINDS: dict[int, FailureKind] = {
    400: "invalid_request",
    401: "upstream_auth",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    410: "not_found",
    413: "too_large",
    415: "unsupported_media",
    422: "invalid_request",
    424: "internal",  # Bedrock: an error behind it
    429: "rate_limit",
    451: "permission",
    498: "overloaded",  # Groq: flex tier at capacity
    499: "internal",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

# Kinds that clients recognise by status, although some servers send a different one.
_OWN_STATUS = ("rate_limit", "quota", "billing", "overloaded", "content_filter", "permission", "not_found")
_VAGUE_STATUSES = (400, 401, 403, 413, 422, 500, 503)  # 413: Groq's for tokens per minute
_ODD_STATUSES = (424, 498, 499)  # no client can interpret these
_HEAD = re.compile(r"\w{1,64}")
_PARTS = re.compile(r"[^a-z0-9]")


def read_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that a reply of `status` (400 or more) means; see `judge_error`."""
    retry_after = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    return judge_error(status, read_error_body(status, headers, body), retry_after)


def judge_error(status: int, error: ErrorBody, retry_after: str | None = None) -> Failure:
    """The failure of an error that came with `status`; 0 for an error inside a stream, whose own code may be a status.

    A refused credential is the operator's problem: its 401 never reaches a client, which would log in anew in vain.
    """
    code = error.code
    if code is not None and code.isdigit() and len(code) <= 3:
        if status == 0 and 400 <= int(code) < 600:
            status = int(code)
        code = None
    usual = STATUS_KINDS.get(status) or ("invalid_request" if 400 <= status < 500 else "internal")
    named = _named(error, code, usual)
    if status == 422 and named == "upstream_auth":
        named = None  # numbers mean one thing to Z.ai and another to Mistral; no credential is refused like this
    if named is None and is_paced(error.message):
        named = "rate_limit"
    if named in (None, "upstream_auth", "permission", "rate_limit"):
        by_message = _by_message(error.message, named or usual)
        # What vendors call a quota may be a per-minute limit.
        named = by_message if by_message is not None and (named != "rate_limit" or by_message == "billing") else named
    if named in (None, "overloaded") and status == 0:
        named = _broadly(code) or _broadly(error.type) or named  # a code takes precedence over the message
    kind = named or usual
    tokens = None
    overflows = code in OVERFLOW_CODES or error.type in OVERFLOW_CODES
    if overflows or kind in ("invalid_request", "too_large", "internal"):
        tokens = find_overflow(error.message) or ((None, None, None) if overflows else None)
    if tokens is not None:
        kind, status, tokens = "context_overflow", 400, _fill(tokens, error.tokens)
    elif kind == "upstream_auth" or (status == 0 and named is None):
        status = 502
    elif status in _ODD_STATUSES or (named in _OWN_STATUS and status in _VAGUE_STATUSES):
        status = STATUS[kind]
    return Failure(
        kind=kind,
        message=error.message,
        status=status,
        code=code,
        param=error.param,
        retry_after=retry_after or error.retry_after,
        resets_at=error.resets_at,
        origin="upstream",
        tokens=tokens,
    )


def own_name(param: str | None, names: Mapping[str, str]) -> str | None:
    """The field that an upstream complains about, by its name in the client's dialect. If the top-level name differs,
    that name alone is returned, because fields below it differ too."""
    head = _HEAD.match(param) if param else None
    return names.get(head[0], param) if head is not None else param


def judge_reported(error: object, body: bytes = b"") -> Failure:
    """The failure under an `error` of a body or an event; if `error` is missing or a mere text, the rest of the body
    may explain it."""
    if (error is None or isinstance(error, str | int | float)) and (decoded := decode_error(body)) is not None:
        return decoded
    return judge_error(0, read_error_value(error))


def decode_error(body: bytes) -> Failure | None:
    """The failure that a body or an event reports without marking it as one; None if it reports none."""
    found = find_error(decode_or_none(body, any_decoder)) if len(body) <= BODY_LIMIT else None
    return judge_error(0, found) if found is not None else None


def decode_named_error(words: tuple[object, ...], body: bytes) -> Failure | None:
    """The failure of an event of no known type, if one of `words`, its type and its code, names an error."""
    plain = [_plain(word) for word in words if isinstance(word, str)]
    named = any(word in KINDS or word in BROAD_KINDS or word.endswith(("error", "exception")) for word in plain)
    return decode_error(body) if named else None


def _named(error: ErrorBody, code: str | None, usual: FailureKind) -> FailureKind | None:
    if error.place == "base_resp" and code in BASE_KINDS:
        return BASE_KINDS[code]
    for word in (code, error.type):
        if named := KINDS.get(_plain(word)) or _by_word(word, usual):
            return named
    return None


def _broadly(word: str | None) -> FailureKind | None:
    plain = _plain(word)
    if not plain or plain in BROAD_KINDS:
        return BROAD_KINDS.get(plain)
    return next((kind for kind, words in BROAD_WORDS if any(part in plain for part in words)), None)


def _by_word(word: str | None, usual: FailureKind) -> FailureKind | None:
    """The kind that a word implies about the account or the content, if the status says less."""
    kind = _broadly(word)
    return kind if kind in _INFORMATIVE and kind in _REPLACEABLE.get(usual, _INFORMATIVE) else None


def _by_message(message: str, usual: FailureKind) -> FailureKind | None:
    """The kind that a message implies, if it may replace the `usual` one."""
    text = " ".join(message[:_LONGEST_MESSAGE].lower().split())
    for kind, phrases in MESSAGE_KINDS:
        if kind in _REPLACEABLE.get(usual, (kind,)) and any(is_said(phrase, text) for phrase in phrases):
            return kind
    return None


def _plain(word: str | None) -> str:
    return _PARTS.sub("", word[:100].lower()) if word else ""


def _fill(reported: Tokens, counted: Tokens) -> Tokens:
    """The numbers of a message, completed by those given as separate fields."""
    return (reported[0] or counted[0], reported[1] or counted[1], reported[2] or counted[2])


# Words in an error that make Claude Code show its login page, whatever the status, and human-readable replacements.
_LOGIN_WORDS = {
    "x-api-key": "API key",
    "oauth token has been revoked": "OAuth token was revoked",
    "oauth authentication is currently not allowed for this organization": (
        "OAuth authentication is not allowed for this organization at present"
    ),
}
_LOGIN_PATTERN = re.compile("|".join(map(re.escape, _LOGIN_WORDS)), re.IGNORECASE)


def has_login_words(text: str) -> bool:
    return _LOGIN_PATTERN.search(text) is not None


def replace_login_words(text: str) -> str:
    """The text with the words replaced that would make Claude Code show its login page."""
    return _LOGIN_PATTERN.sub(lambda found: _LOGIN_WORDS[found[0].lower()], text)
