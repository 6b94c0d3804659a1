"""Checks each provider: credential, context window, and one real request."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from app.cli.doctor.finding import Finding, Subject
from app.cli.logins.credential_words import describe_expiry
from app.cli.running_gateway import ask_model, own_key
from app.cli.serving.start_screen import ANY_KEY, KEY_VARIABLE
from app.credentials.oauth.login_choice import list_logins
from app.gateway.endpoints.tool_trial import Answer, make_request
from app.providers.provider import Provider
from app.settings import Settings

# A login that cannot be renewed is reported this many seconds before it expires.
SOON = 3 * 86400
# An agent's system prompt and tools fill this many tokens before a user says a word.
LEAST_WINDOW = 32768
# Seconds before the first event above which an answer counts as slow.
SLOW = 20.0
TIMEOUT = 5.0


def check_credentials(subject: Subject) -> Iterator[Finding]:
    if subject.routing is None or subject.settings is None:
        return
    for name, provider in subject.routing.providers.items():
        if provider.source is None:
            continue
        known = provider.source.describe()
        check, mend = f"login {name}", _mend_credential(provider)
        if known.kind == "none":
            yield Finding("error", check, known.problem or "no credential", mend)
        elif known.problem is not None:
            yield Finding("error", check, known.problem, mend)
        elif known.expires_at is None:
            yield Finding("ok", check, f"from {known.source}")
        elif known.expires_at <= subject.now and not known.renewable:
            yield Finding("error", check, f"expired {describe_expiry(known.expires_at, subject.now)}", mend)
        elif known.expires_at - subject.now < SOON and not known.renewable:
            message = f"ends {describe_expiry(known.expires_at, subject.now)}, and cannot be renewed"
            yield Finding("warning", check, message, mend)
        else:
            yield Finding("ok", check, f"until {describe_expiry(known.expires_at, subject.now)}")


def check_windows(subject: Subject) -> Iterator[Finding]:
    """Compares the configured window with the one in the provider's own list."""
    for provider, model in _list_chosen(subject):
        if provider.local:
            continue
        listed = provider.catalogue.read().get(model)
        configured, known = provider.settings.window_of(model), listed.context_window if listed else None
        check = f"window {provider.name}"
        if configured and known and configured > known:
            message = f"context_window is {configured}, but {provider.name} reports {known} for {model}"
            yield Finding("warning", check, message, f"context_window = {known} in [providers.{provider.name}]")
        window = configured or known or provider.capabilities(model).context_window
        if window is None:
            message = f"the context window of {model} is unknown, so clients guess when to compact"
            yield Finding("note", check, message, f"context_window = … in [providers.{provider.name}]")
        elif window < LEAST_WINDOW:
            message = f"{model} has a context window of {window} tokens; an agent's instructions alone can fill it"
            yield Finding("warning", check, message, f"choose a model with at least {LEAST_WINDOW} tokens")


def check_ollama(subject: Subject) -> Iterator[Finding]:
    """Checks Ollama's context, because Ollama silently truncates longer requests."""
    for provider in subject.routing.providers.values() if subject.routing else ():
        if provider.profile != "ollama":
            continue
        parts = urlsplit(provider.base_url)
        try:
            session, headers = provider.transport.session, {"connection": "close"}
            url = f"{parts.scheme}://{parts.netloc}/api/ps"
            answer = session.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False).json()
        except (requests.RequestException, OSError, ValueError, RecursionError):
            continue
        loaded = answer.get("models") if isinstance(answer, dict) else None
        for model in loaded if isinstance(loaded, list) else ():
            match model:
                case {"name": str(name), "context_length": int(length)} if length < LEAST_WINDOW:
                    message = f"{name[:80]} is loaded with a context of {length} tokens; Ollama silently truncates more"
                    yield Finding(
                        "warning",
                        f"ollama {provider.name}",
                        message,
                        f"OLLAMA_CONTEXT_LENGTH={LEAST_WINDOW} ollama serve",
                    )


def check_answers(subject: Subject, url: str) -> Iterator[Finding]:
    """Sends one streamed tool call to each provider, through the gateway at `url`."""
    assert subject.settings is not None
    key = own_key(subject.settings) or ANY_KEY
    for provider, model in _list_chosen(subject):
        named = f"{provider.name}/{model}"
        # A Claude program that uses its own tools takes none of its clients.
        takes_tools = provider.capabilities(model).tools
        answer = ask_model(url, key, make_request(named, with_tool=takes_tools))
        yield judge_answer(provider, named, answer, takes_tools=takes_tools)


def judge_answer(provider: Provider, named: str, answer: Answer, *, takes_tools: bool = True) -> Finding:
    check = f"answer {provider.name}"
    if answer.problem is not None:
        return Finding("error", check, f"{named}: {answer.problem[:400]}", _find_remedy(provider, answer))
    times = f"first event after {answer.first_event or 0:.1f} s, all after {answer.total:.1f} s"
    if not takes_tools:
        return Finding("ok", check, f"{named} answered: {times}")
    if not answer.called:
        message = f"{named} answered ({times}) but did not call the tool; agents need a model that calls tools"
        return Finding("warning", check, message, f"choose another model of {provider.name} from: dragoman models")
    if (answer.first_event or 0) > SLOW:
        return Finding("warning", check, f"{named} called the tool, but slowly: {times}", "choose a smaller model")
    return Finding("ok", check, f"{named} called the tool: {times}")


def _find_remedy(provider: Provider, answer: Answer) -> str:
    """The command that fixes a refusal, by its status."""
    problem, renewed = answer.problem or "", _mend_credential(provider)
    remedies = {
        400: f"dragoman explain {provider.name}/MODEL",
        401: f"export {KEY_VARIABLE}=…, with a key of this gateway" if "client key" in problem else renewed,
        403: renewed,
        404: "dragoman models",
        429: "wait, or add another credential: credentials = […]",
    }
    return remedies.get(answer.status, renewed if "credential" in problem else "dragoman status")


def _mend_credential(provider: Provider) -> str:
    """The command or setting that gives a provider a good credential."""
    has_login = provider.name in list_logins({provider.name: provider.settings})
    return f"dragoman login {provider.name}" if has_login else f"set a valid api_key in [providers.{provider.name}]"


def _list_chosen(subject: Subject) -> Iterator[tuple[Provider, str]]:
    """One model per provider: the one that names are routed to, else the first of its list."""
    if subject.routing is None or subject.settings is None:
        return
    providers = subject.routing.providers
    real = [provider for provider in providers.values() if not provider.local] or list(providers.values())
    for provider in real:
        model = _choose_model(subject.settings, provider)
        if model is not None:
            yield provider, model


def _choose_model(settings: Settings, provider: Provider) -> str | None:
    chosen = settings.models
    tiers = (chosen.default, chosen.big, chosen.sonnet, chosen.small)
    prefix = f"{provider.name}/"
    wanted = [name.removeprefix(prefix) for name in tiers if name and name.startswith(prefix)]
    wanted += [provider.settings.default_model] if provider.settings.default_model else []
    return next(iter(wanted), None) or next((model.id for model in provider.models()), None)


CHECKS = (check_credentials, check_windows, check_ollama)
