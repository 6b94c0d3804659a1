"""Parses legacy Completions requests, and splits those for several answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app.conversation.blocks import Text
from app.conversation.request import Extension, Request, Sampling, Turn
from app.dialects.json_bodies import encode_body, read_body, read_value
from app.dialects.openai_completions.vocabulary import DEFAULT_MAX_TOKENS, MAX_ANSWERS, NAME, WireRequest
from app.errors import InvalidRequest, Unsupported

# Fields that only a server of this dialect supports, and their values without effect.
NATIVE_ONLY: dict[str, tuple[object, ...]] = {"suffix": (None, ""), "logprobs": (None,), "best_of": (None, 0, 1)}

_decoder = msgspec.json.Decoder(WireRequest)


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """The prompt as the only message. Raises InvalidRequest, and Unsupported for features that only a server of this
    dialect has."""
    wire = read_request(body)
    prompts = _read_prompts(wire)
    if len(prompts) > 1:
        raise Unsupported(
            "prompt: this upstream accepts one prompt at a time; send one request per prompt", param="prompt"
        )
    unknown = [name for name in read_body(body) if name not in WireRequest.__struct_fields__]
    return Request(
        dialect=NAME,
        model=wire.model,
        turns=(Turn("user", (Text(prompts[0]),), path="prompt"),),
        sampling=Sampling(
            temperature=wire.temperature,
            top_p=wire.top_p,
            frequency_penalty=wire.frequency_penalty,
            presence_penalty=wire.presence_penalty,
            seed=wire.seed,
            logit_bias=wire.logit_bias,
        ),
        max_tokens=DEFAULT_MAX_TOKENS if wire.max_tokens is None else max(1, wire.max_tokens),
        stop=(wire.stop,) if isinstance(wire.stop, str) else tuple(wire.stop or ()),
        n=wire.n or 1,
        user=wire.user,
        stream=bool(wire.stream),
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        extensions=tuple(Extension(NAME, name, None, "ignorable") for name in unknown),
    )


def split_request(body: bytes) -> list[bytes]:
    """One whole-answer request per answer, in the order of the choices: all of the first prompt, then the next.

    Raises InvalidRequest, and Unsupported for too many.
    """
    wire = read_request(body)
    prompts, n = _read_prompts(wire), wire.n or 1
    if len(prompts) * n > MAX_ANSWERS:
        raise Unsupported(f"prompt: one request can have at most {MAX_ANSWERS} answers", param="prompt")
    fields = {name: raw for name, raw in read_body(body).items() if name not in ("n", "stream", "stream_options")}
    return [encode_body({**fields, "prompt": prompt}) for prompt in prompts for _ in range(n)]


def read_request(body: bytes) -> WireRequest:
    """The decoded request. Raises InvalidRequest."""
    read_body(body)
    try:
        return read_value(msgspec.Raw(body), _decoder, "")
    except InvalidRequest as error:
        where = (error.failure.param or "").lstrip(".")
        raise InvalidRequest(str(error).lstrip(".:").strip(), param=where or None) from error


def _read_prompts(wire: WireRequest) -> list[str]:
    """The prompts as text. Raises InvalidRequest, and Unsupported for features that a chat model lacks."""
    for name, harmless in NATIVE_ONLY.items():
        if getattr(wire, name) not in harmless:
            raise Unsupported(f"{name}: supported only by servers with a native text completions API", param=name)
    prompts = wire.prompt if isinstance(wire.prompt, list) else [wire.prompt or ""]
    if not prompts:
        raise InvalidRequest("prompt: must not be an empty list", param="prompt")
    if not all(isinstance(prompt, str) for prompt in prompts):
        message = "prompt: this upstream accepts only text, not tokens"
        error = InvalidRequest(message, param="prompt", code="unsupported_value")
        raise error
    return prompts
