"""Adapts limits and sampling: output length, stop sequences, temperature and similar settings."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from app.adaptation import features as has
from app.adaptation.features import Features
from app.adaptation.notes import Notes, field
from app.adaptation.replies.stop import StopMatcher
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Severity
from app.conversation.request import Request, Sampling, State
from app.dialects.registry import have_one_owner, traits_of
from app.errors import InvalidRequest
from app.json_values import decode_or_none, object_decoder

# Characters of all stop sequences that we watch for ourselves: each of their beginnings is kept.
MAX_WATCHED = 2048
MAX_ID = 64  # characters of a user id or cache key that every vendor accepts

# Sampling settings, the capability that each needs, and the severity of its loss.
KNOBS: dict[str, tuple[str, Severity]] = {
    "temperature": ("temperature", "degrading"),
    "top_p": ("top_p", "degrading"),
    "top_k": ("top_k", "degrading"),
    "frequency_penalty": ("penalties", "degrading"),
    "presence_penalty": ("penalties", "degrading"),
    "logit_bias": ("logit_bias", "degrading"),
    "seed": ("seed", "ignorable"),
}
# Values that ask for nothing, as clients with a page of sliders send them: to lose one is no loss.
_DEFAULTS: dict[str, object] = {
    "temperature": 1, "top_p": 1, "top_k": -1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {},
}  # fmt: skip
# Settings that some models accept while they do not think.
FREED = ("temperature", "top_p")
_UNSAMPLED = Sampling()
_STATELESS = State()
_NOT_TAKEN = "this model does not accept it"


def wakes_limits(can: Capabilities) -> Features:
    limited = can.max_output is not None or can.max_tokens_field in can.refused_fields
    return (
        has.NO_ANSWER | has.STOP | has.SAMPLING | has.SEVERAL | has.STATE | has.HINTS
        | (has.LIMIT if limited else has.NONE)
        | (has.ALWAYS if can.default_output is not None else has.NONE)
        | (has.CACHE if can.cache_hints == "none" else has.NONE)
    )  # fmt: skip


def adapt_limits(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    changes: dict[str, Any] = {"max_tokens": _limit_length(request, capabilities, notes)}
    if request.stop:
        changes["stop"] = _limit_stop(request, capabilities, notes)
    if request.sampling != _UNSAMPLED:
        changes["sampling"] = _adapt_sampling(request, capabilities, notes)
    if request.n > 1 or request.logprobs is not None:
        changes["n"] = _check_choices(request, capabilities, notes)
        changes["logprobs"] = _check_logprobs(request, capabilities, notes)
    if request.state != _STATELESS:
        changes["state"] = _check_state(request, capabilities, notes)
    changes |= _adapt_hints(request, capabilities, notes)
    changed = {name: value for name, value in changes.items() if value != getattr(request, name)}
    return replace(request, **changed) if changed else request


def _limit_length(request: Request, capabilities: Capabilities, notes: Notes) -> int | None:
    asked = request.max_tokens
    maximum = capabilities.max_output
    if asked is None:
        default = None if capabilities.max_tokens_field in capabilities.refused_fields else capabilities.default_output
        return min(default, maximum) if default is not None and maximum is not None else default
    path = field(request.dialect, "max_tokens")
    if capabilities.max_tokens_field in capabilities.refused_fields:
        notes.lose("degrading", path, "this upstream accepts no limit")
        return None
    if asked == 0:
        notes.lose("degrading", path, "a request without an answer is useful only for Anthropic's cache")
        return 1
    if maximum is not None and asked > maximum:
        why = f"lowered from {asked} to the {maximum} tokens that this model can answer"
        notes.lose("degrading", path, why, lowered=(asked, maximum))
        return maximum
    return asked


def _limit_stop(request: Request, capabilities: Capabilities, notes: Notes) -> tuple[str, ...]:
    """The stop sequences for the upstream; a stage watches for the full list if it is too long."""
    path = field(request.dialect, "stop")
    stop = tuple(sequence for sequence in request.stop if sequence)
    if not capabilities.stop_blank:
        seen = tuple(sequence for sequence in stop if not sequence.isspace())
        if len(seen) < len(stop):
            notes.lose("degrading", path, "the upstream rejects sequences of only whitespace")
        stop = seen
    if capabilities.stop_limit is not None and len(stop) > capabilities.stop_limit:
        if sum(map(len, stop)) > MAX_WATCHED:
            raise InvalidRequest(
                f"this model takes up to {capabilities.stop_limit} stop sequences, and more of them may have "
                f"{MAX_WATCHED} characters in all; send fewer or shorter ones",
                param=path,
            )
        notes.on_reply(partial(StopMatcher, stop))
        stop = stop[: capabilities.stop_limit]
    return stop


def _adapt_sampling(request: Request, capabilities: Capabilities, notes: Notes) -> Sampling:
    sampling = request.sampling
    changes: dict[str, Any] = {}
    free = _is_free(request, capabilities)
    for name, (capability, loss) in KNOBS.items():
        if getattr(sampling, name) is not None and not (getattr(capabilities, capability) or (free and name in FREED)):
            changes[name] = None
            if getattr(sampling, name) != _DEFAULTS.get(name):
                notes.lose(loss, name, _NOT_TAKEN)
    sampling = replace(sampling, **changes)
    if sampling.temperature is not None and sampling.temperature > capabilities.temperature_max:
        why = f"lowered to {capabilities.temperature_max:g}, the highest accepted value"
        lowered = (sampling.temperature, capabilities.temperature_max)
        notes.lose("degrading", "temperature", why, lowered=lowered)
        sampling = replace(sampling, temperature=capabilities.temperature_max)
    if sampling.temperature is not None and sampling.top_p is not None and not capabilities.top_p_with_temperature:
        notes.lose("degrading", "top_p", "it cannot be set together with temperature")
        sampling = replace(sampling, top_p=None)
    return sampling


def _is_free(request: Request, capabilities: Capabilities) -> bool:
    """Whether the model will certainly not think, and so accepts what it refuses while thinking."""
    asked = request.reasoning
    off = asked.mode == "off" or (asked.effort == "none" and asked.mode is None)
    by_itself = asked.mode is None and asked.effort is None and not capabilities.reasoning_by_default
    return capabilities.reasoning_off == "none" and (off or by_itself)


def _check_choices(request: Request, capabilities: Capabilities, notes: Notes) -> int:
    if request.n > 1 and not capabilities.n:
        notes.lose("wrong", "n", "this upstream returns one answer per request")
        return 1
    return request.n


def _check_logprobs(request: Request, capabilities: Capabilities, notes: Notes) -> int | None:
    if request.logprobs is not None and not (capabilities.logprobs or _is_free(request, capabilities)):
        notes.lose("wrong", field(request.dialect, "logprobs"), "this model reports no log probabilities")
        return None
    return request.logprobs


def _check_state(request: Request, capabilities: Capabilities, notes: Notes) -> State:
    """The state without what another server would have to remember. Whatever the gateway stores for the client has
    already been resolved."""
    state = request.state
    for name in ("previous_id", "conversation"):
        if getattr(state, name) is not None:
            notes.lose(
                "wrong",
                field(request.dialect, name),
                "the upstream does not know this conversation; send the whole history",
            )
    if state.background:
        notes.lose("wrong", "background", "this upstream cannot answer in the background")
    if state.store and not capabilities.store:
        notes.lose("degrading", "store", "this upstream stores nothing")
    return State(store=state.store if capabilities.store else None)


def _adapt_hints(request: Request, capabilities: Capabilities, notes: Notes) -> dict[str, Any]:
    """Fields beside the answer: user, service tier, metadata and similar.

    Clients of Chat know most of them as fields of Responses too, so any server of that dialect gets them; the few that
    refuse one say which.
    """
    shared = capabilities.dialect in traits_of(request.dialect).hints_known_to
    keyed = capabilities.cache_key or (shared and request.cache_key)
    hints: dict[str, Any] = {
        "user": _name_user(request, capabilities) if request.user and capabilities.user_field != "none" else None,
        "cache_key": _cache_key(request) if keyed else None,
        "service_tier": request.service_tier if shared or capabilities.service_tier else None,
        "metadata": request.metadata if shared or capabilities.metadata else None,
        "verbosity": request.verbosity if shared or capabilities.verbosity else None,
    }
    for name, kept in hints.items():
        if kept is None and getattr(request, name) is not None:
            notes.lose("degrading" if name == "verbosity" else "ignorable", field(request.dialect, name), _NOT_TAKEN)
    if capabilities.cache_hints == "none" and has.find_hints(request):
        notes.lose("ignorable", field(request.dialect, "cache"), "this upstream caches automatically or not at all")
    return hints


def _name_user(request: Request, capabilities: Capabilities) -> str:
    """A user name that reveals nothing: other vendors learn no account, device or address. Names for the vendor of the
    client's own dialect are intentional and are kept."""
    user = request.user or ""
    same_vendor = have_one_owner(request.dialect, capabilities.dialect)
    return user if same_vendor and len(user) <= MAX_ID else _digest(_split_user(user)[0])


def _cache_key(request: Request) -> str | None:
    """The client's own key, or one derived from the session in its user id."""
    if request.cache_key:
        return request.cache_key if len(request.cache_key) <= MAX_ID else _digest(request.cache_key)
    return _digest(_split_user(request.user)[1]) if request.user else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:MAX_ID]


def _split_user(user: str) -> tuple[str, str]:
    """Person and session of a user id. Claude Code puts both into it, as JSON or around `_session_`."""
    if user.startswith("{"):
        known = decode_or_none(user, object_decoder) or {}
        session = str(known.pop("session_id", ""))
        if session:
            return msgspec.json.encode(known, order="sorted").decode(), session
    person, _, session = user.partition("_session_")
    return (person, session) if session else (user, user)
