"""OpenAI Embeddings, which only pass: no other dialect has an equivalent.

Source: OpenAI API reference, "Embeddings".
"""

from __future__ import annotations

import base64
import itertools
import struct
from typing import Any, Literal, NoReturn

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.response import Usage
from app.conversation.traits import DialectTraits
from app.dialects import openai_chat
from app.dialects.error_bodies import quote, read_error_body
from app.dialects.error_kinds import judge_error
from app.dialects.json_bodies import read_body, read_value, replace_model
from app.dialects.openai_chat.errors import write_error
from app.dialects.openai_chat.usage import find_usage
from app.errors import Failure, InvalidRequest, NotFound, UpstreamMalformed, UpstreamRefused
from app.json_values import UNREADABLE

NAME = "openai_embeddings"
TRAITS = DialectTraits(name=NAME)

error_status, parse_error = openai_chat.error_status, openai_chat.parse_error


class _Asked(msgspec.Struct):
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    stream: bool | None = None


class _Entry(msgspec.Struct):
    embedding: str | list[float] | None = None
    index: int = 0


class _Whole(msgspec.Struct):
    data: list[_Entry]


_asked_decoder = msgspec.json.Decoder(_Asked)
_whole_decoder = msgspec.json.Decoder(_Whole)


def render_error(failure: Failure, request_id: str) -> bytes:
    """The body of an error reply; field names are the same on both sides because requests only pass."""
    return write_error(failure, failure.param, "input", request_id)


def check_request(body: bytes) -> None:
    """Raises InvalidRequest for requests that no upstream could answer."""
    asked = read_value(msgspec.Raw(body), _asked_decoder, "")
    if asked.stream:
        raise InvalidRequest("stream: embeddings cannot be streamed", param="stream")
    if bytes(read_body(body).get("input", msgspec.Raw(b"null"))) in (b"null", b'""', b"[]"):
        raise InvalidRequest("input: must be a text or a list that is not empty", param="input")


def pass_request(body: bytes, capabilities: Capabilities) -> bytes:
    """The body with the upstream's model name. It always passes, because no other upstream could accept what this one
    refuses."""
    return replace_model(body, capabilities.model) if capabilities.model else body


def pass_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> tuple[bytes, Usage | None]:
    """The reply with the client's model name, in the order of the input and in the requested format.

    Some servers know only one format, whatever they are asked for. Base64 is of 32-bit floats, little-endian. Raises
    UpstreamRefused for an error inside a reply of status 200, UpstreamMalformed for anything that is no reply.
    """
    try:
        entries = _whole_decoder.decode(body).data
    except msgspec.ValidationError as error:
        raise UpstreamRefused(judge_error(0, read_error_body(200, {}, body))) from error
    except UNREADABLE as error:
        raise UpstreamMalformed("the upstream's reply is not a list of embeddings") from error
    if not entries or any(entry.embedding is None for entry in entries):
        raise UpstreamMalformed(f"the upstream sent no embedding: {quote(body)}")
    wanted = str if _asked_decoder.decode(context.body).encoding_format == "base64" else list
    sorted_already = all(first.index <= second.index for first, second in itertools.pairwise(entries))
    if not sorted_already or not all(isinstance(entry.embedding, wanted) for entry in entries):
        whole: dict[str, Any] = msgspec.json.decode(body)
        data = sorted(whole["data"], key=lambda entry: entry.get("index", 0))
        whole["data"] = [{**entry, "embedding": _convert(entry.get("embedding"), wanted)} for entry in data]
        body = msgspec.json.encode(whole)
    return replace_model(body, context.model), find_usage(body)


def _convert(embedding: Any, wanted: type) -> Any:
    try:
        if wanted is str and isinstance(embedding, list):
            return base64.b64encode(struct.pack(f"<{len(embedding)}f", *embedding)).decode()
        if wanted is list and isinstance(embedding, str):
            packed = base64.b64decode(embedding, validate=True)
            return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (struct.error, OverflowError, ValueError) as error:
        raise UpstreamMalformed("the upstream sent an embedding that is not valid") from error
    return embedding


def _refuse(*_: Any) -> NoReturn:
    """What there is no equivalent of at an upstream without embeddings. Raises NotFound."""
    raise NotFound(
        "this model's upstream does not offer embeddings; use a model of an OpenAI-compatible provider",
        param="model",
        code="model_not_found",
    )


parse_request = parse_response = render_response = _refuse
StreamParser = StreamRenderer = StreamPassthrough = _refuse
