"""Rewords a failure for the person who can remedy it."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from typing import NoReturn

import msgspec

from app.dialects.error_bodies import replace_message
from app.errors import DragomanError, Failure, UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamUnreachable
from app.gateway.attempt import Attempt
from app.gateway.failures.policy import is_lasting
from app.gateway.failures.retry_after import find_retry_after, read_moment
from app.providers.names import LONGEST_NAME
from app.routing.upstream import Upstream

# Maximum models of a provider named in an error.
MAX_NAMED = 10
# Kinds of failures caused by the request itself; and servers' words for refusing its tools, each with the remedy.
_REQUESTS_OWN = ("invalid_request", "unsupported", "not_found")
_LONGEST_LOOK = 500
_NO_TOOLS = {
    "requires --enable-auto-tool-choice": "start vLLM with --enable-auto-tool-choice and --tool-call-parser, "
    "or send the request without tools",
    "does not support tools": "choose a model with tool support (see `ollama show MODEL`), "
    "or send the request without tools",
    "no endpoints found that support tool use": "choose a model that OpenRouter serves with tools, "
    "or send the request without tools",
}
# How any other server refuses tools.
_TOOLS_REFUSED = re.compile(
    r"(?:tools?|functions?)(?: use| usage| call(?:ing|s)?)?['`\"]? (?:(?:is|are) )?(?:currently )?"
    r"(?:not (?:currently )?(?:supported|enabled|available|allowed)|unsupported)"
    r"|(?:n't|not) (?:currently )?support ['`\"]?(?:tools?\b(?!_| types?\b)|function call)"
    r"|no support for (?:tool|function call)"
    r"|不支持(?:工具|函数|tool|function)"
)
_ASK_WITHOUT = "choose a model with tool support, or send the request without tools"
# Other requests for which OpenRouter has no server, each with the remedy.
_NO_ENDPOINTS = {
    "no endpoints found that can handle the requested parameters": "send fewer parameters, or leave out "
    "provider.require_parameters",
    "no endpoints found matching your data policy": "allow what its servers do with data in OpenRouter's privacy "
    "settings, or choose another model",
    "no allowed providers are available": "allow more in provider.only, provider.order or provider.ignore, or choose "
    "another model",
}
# Failures in which the vendor's own clients read more than the message: the plan, and when its limit ends.
_OWN_FIELDS = ("rate_limit", "quota", "billing")


def raise_explained(error: DragomanError, attempt: Attempt, remedy: str) -> NoReturn:
    """Raises the error with a helpful message. No frame of its traceback refers to it and it is not its own cause: a
    cycle would keep everything read of the reply in memory until the next full garbage collection."""
    explained = _explained(error, attempt, remedy)
    try:
        if explained is error:
            raise error
        raise explained from error
    finally:
        del error, explained


def _explained(error: DragomanError, attempt: Attempt, remedy: str) -> DragomanError:
    """The error with a message that helps the person who can remedy it; unchanged if there is nothing to add."""
    if isinstance(error, UpstreamError) and not isinstance(error, UpstreamRefused | UpstreamBusy):
        return _placed(error, attempt.target.upstream)
    if not isinstance(error, UpstreamRefused):
        return error
    provider, failure = attempt.target.upstream.provider, error.failure
    explained = provider.explain(failure)
    if failure.kind == "not_found":
        explained = _explain_absent(explained, attempt)
    if failure.kind in _REQUESTS_OWN:
        explained = _explain_refused(explained, attempt.target.upstream)
    if failure.kind == "quota" or is_lasting(failure):
        explained = _explain_reset(explained)
    if failure.kind == "upstream_auth":
        if attempt.target.credential is None and provider.auth_headers(None, attempt.client_request.headers):
            # The client's own credential was passed on, so the refusal is the client's as well.
            own = msgspec.structs.replace(failure, kind="authentication", status=401)
            refused = UpstreamRefused(own, error.headers)
            refused.body, refused.events = error.body, error.events
            return refused
        # Not a 401, which makes agents ask the user to log in.
        message = f"{explained.message.rstrip('. ')}. {remedy}"
        explained = msgspec.structs.replace(explained, message=message)
    if explained is failure:
        return error
    refused = UpstreamRefused(explained, error.headers)
    refused.events = error.events
    if error.body is not None and failure.kind in _OWN_FIELDS:
        refused.body = replace_message(error.body, failure.message, explained.message)
    return refused


def _placed(error: UpstreamError, upstream: Upstream) -> UpstreamError:
    """The error with the provider's name and base URL added to the message."""
    provider = upstream.provider
    failure = provider.explain(error.failure) if isinstance(error, UpstreamUnreachable) else error.failure
    place = f"{provider.name} ({provider.base_url})" if provider.base_url else provider.name
    remedy = ""
    # A provider's explanation already contains a remedy.
    if isinstance(error, UpstreamUnreachable) and failure is error.failure:
        remedy = f". Is it running, and is providers.{provider.name}.base_url its address?"
    error.failure = msgspec.structs.replace(failure, message=f"upstream {place}: {failure.message}{remedy}")
    error.args = (error.failure.message,)
    return error


def _explain_reset(failure: Failure) -> Failure:
    """Adds when the quota is filled again: agents that stop show the message, and not the header."""
    seconds = None if failure.retry_after is None else read_moment(failure.retry_after, time.time())
    if seconds is None or find_retry_after({}, Failure(kind=failure.kind, message=failure.message), time.time()):
        return failure
    end = datetime.fromtimestamp(math.ceil((time.time() + seconds) / 60) * 60, UTC)
    message = f"{failure.message.rstrip('. ')}. The limit resets at {end:%Y-%m-%d %H:%M} UTC."
    return msgspec.structs.replace(failure, message=message)


def _explain_refused(failure: Failure, upstream: Upstream) -> Failure:
    """Adds the model's name and a remedy if the refusal is about something that the model, as served, cannot do."""
    lowered = failure.message[:_LONGEST_LOOK].lower()
    model = f"{upstream.model[:LONGEST_NAME]} of {upstream.provider.name}"
    remedy = next((remedy for words, remedy in _NO_TOOLS.items() if words in lowered), None)
    if remedy is None and _TOOLS_REFUSED.search(lowered) is not None:
        remedy = _ASK_WITHOUT
    if remedy is not None:
        message = f"{model} cannot use tools as it is served: {remedy}. It said: {failure.message}"
        return msgspec.structs.replace(failure, message=message)
    remedy = next((remedy for words, remedy in _NO_ENDPOINTS.items() if words in lowered), None)
    if remedy is None:
        return failure
    message = f"no server of {model} accepts this request: {remedy}. It said: {failure.message}"
    return msgspec.structs.replace(failure, message=message)


def _explain_absent(failure: Failure, attempt: Attempt) -> Failure:
    """Adds the models that the provider has, and why this one was requested, if the provider does not list it."""
    upstream, asked = attempt.target.upstream, attempt.client_request.peek.model
    provider, model = upstream.provider, upstream.model
    names = [provider.public_name(name) for name in provider.known_names()]
    if not names or model in names or provider.lists(model):
        return failure
    why = f" (asked for as {asked[:LONGEST_NAME]}, by {upstream.matched})" if asked != upstream.label else ""
    shown = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
    message = f"{provider.name} has no model {model[:LONGEST_NAME]}{why}; it has {shown}. It said: {failure.message}"
    return msgspec.structs.replace(failure, message=message)
