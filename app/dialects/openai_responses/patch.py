"""What a request still needs when the client and the upstream both speak this dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.envelope import PREFIX, unseal
from app.conversation.literals import text_of
from app.conversation.losses import Loss
from app.conversation.request import DEFAULT_INSTRUCTIONS
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import change_fields, list_decoder, read_body, read_value, replace_model
from app.dialects.openai_responses.history import input_items
from app.dialects.openai_responses.items import summary_message
from app.dialects.openai_responses.request import ENCRYPTED_CONTENT
from app.dialects.openai_responses.vocabulary import NAME, NULL, REFUSED_FIELDS

_names_decoder = msgspec.json.Decoder(list[str] | None)
_SEALED = b'"' + PREFIX.encode()


class _ItemHead(msgspec.Struct):
    """What decides whether an item may go upstream as it is."""

    type: str | None = None
    role: str | None = None
    encrypted_content: str | None = None


_head_decoder = msgspec.json.Decoder(_ItemHead)


def patch_request(body: bytes, capabilities: Capabilities) -> RenderedRequest:
    """The body with the upstream's name of the model; all other bytes stay unless something in it cannot go upstream.

    That is: proofs in our envelope (those of this dialect are taken out of it, others removed), encrypted content
    where the upstream cannot decrypt any, and whatever the server is known to refuse. Raises InvalidRequest only for
    a body that needs such a change and cannot be read.
    """
    losses: list[Loss] = []
    if _needs_change(body, capabilities):
        fields = read_body(body)
        changed = dict(fields)
        _patch_input(changed, capabilities, losses)
        if NAME not in capabilities.proofs:
            _drop_include(changed)
        if capabilities.instructions_required:
            _fit_stateless(changed)
        if capabilities.stream_only and bytes(fields.get("stream", NULL)) != b"true":
            changed["stream"] = msgspec.Raw(b"true")
        for name, value in capabilities.extra_body.items():
            changed[name] = msgspec.Raw(msgspec.json.encode(value))
        for name in capabilities.refused_fields:
            if changed.pop(name, None) is not None:
                losses.append(Loss(REFUSED_FIELDS.get(name, "ignorable"), name, "the upstream refuses this field"))
        if changed != fields:
            body = msgspec.json.encode(changed)
    return RenderedRequest(
        replace_model(body, capabilities.model) if capabilities.model else body, losses=tuple(losses)
    )


def _needs_change(body: bytes, capabilities: Capabilities) -> bool:
    return (
        _SEALED in body
        or (NAME not in capabilities.proofs and b"encrypted_content" in body)
        or capabilities.instructions_required
        or capabilities.stream_only
        or bool(capabilities.refused_fields)
        or bool(capabilities.extra_body)
    )


def _patch_input(fields: dict[str, Any], capabilities: Capabilities, losses: list[Loss]) -> None:
    """Items in order; one that needs no change keeps its bytes."""
    raw: msgspec.Raw = fields.get("input", NULL)
    if not bytes(raw).startswith(b"["):
        if capabilities.instructions_required:  # that server takes no string
            fields["input"] = [msgspec.Raw(item) for item in input_items(msgspec.json.encode({"input": raw}))]
        return
    before = read_value(raw, list_decoder, "input")
    after: list[msgspec.Raw] = []
    for index, item in enumerate(before):
        kept = _patch_item(item, f"input[{index}]", capabilities)
        after.extend(kept)
        if not kept:
            losses.append(Loss("ignorable", f"input[{index}]", "the upstream cannot read this item"))
    after = _without_loose_reasoning(after)
    if [bytes(item) for item in after] != [bytes(item) for item in before]:
        fields["input"] = after


def _without_loose_reasoning(items: list[msgspec.Raw]) -> list[msgspec.Raw]:
    """Items without reasoning that led to nothing, for it was interrupted: the vendor refuses it."""
    kept: list[msgspec.Raw] = []
    thoughts: list[msgspec.Raw] = []
    for item in items:
        head = _head_decoder.decode(item)
        if head.type == "reasoning":
            thoughts.append(item)
            continue
        follows = head.role == "assistant" or (head.role is None and not str(head.type).endswith("_output"))
        kept += [*thoughts, item] if follows else [item]
        thoughts = []
    return [*kept, *thoughts]


def _patch_item(item: msgspec.Raw, path: str, capabilities: Capabilities) -> list[msgspec.Raw]:
    head = read_value(item, _head_decoder, path)
    if head.encrypted_content and head.encrypted_content.startswith(PREFIX):
        proof = unseal(head.encrypted_content)
        if proof is not None and proof.kind == "compaction" and proof.originals[0].startswith(b'"'):
            return [msgspec.Raw(msgspec.json.encode(summary_message(text_of(proof.originals[0]))))]
        if proof is None or proof.dialect != NAME or not proof.originals[0].startswith(b"{"):
            return []
        originals = [msgspec.Raw(original) for original in proof.originals]
        return [kept for original in originals for kept in _patch_item(original, path, capabilities)]
    if head.encrypted_content and NAME not in capabilities.proofs:
        # The vendor would look up what is left of an item, in vain; other servers read the text in it.
        looked_up = capabilities.first_party or capabilities.instructions_required
        readable = head.type == "reasoning" and b'"text"' in bytes(item) and not looked_up
        return [change_fields(item, encrypted_content=None)] if readable else []
    if not capabilities.instructions_required:
        return [item]
    if head.type == "item_reference" or (head.type == "reasoning" and not head.encrypted_content):
        return []  # what was not stored cannot be looked up
    return [change_fields(item, role="developer")] if head.role == "system" else [item]


def _drop_include(fields: dict[str, Any]) -> None:
    if "include" in fields:
        names = read_value(fields["include"], _names_decoder, "include") or []
        if ENCRYPTED_CONTENT in names:
            fields["include"] = [name for name in names if name != ENCRYPTED_CONTENT]


def _fit_stateless(fields: dict[str, Any]) -> None:
    """What the backend of ChatGPT logins wants: instructions, nothing stored, all reasoning given away."""
    instructions = bytes(fields.get("instructions", NULL))
    if instructions in (b"null", b'""'):
        fields["instructions"] = DEFAULT_INSTRUCTIONS
    names = read_value(fields.get("include", NULL), _names_decoder, "include") or []
    if ENCRYPTED_CONTENT not in names:
        fields["include"] = [*names, ENCRYPTED_CONTENT]
    fields["store"] = False
