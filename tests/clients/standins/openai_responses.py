"""The stand-in for a server of the Responses API: strict keys, named events, opaque reasoning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

from flask import Response, jsonify, request

from tests.clients.standins.openai_api import OpenAiStandIn
from tests.clients.standins.scripted_model import Offer, Say, Use, pieces
from tests.clients.standins.stand_in import Refusal, event_stream, keys, refuse_unknown_keys, sse

REQUEST_KEYS = keys(
    "model input instructions stream stream_options max_output_tokens max_tool_calls temperature top_p top_logprobs "
    "tools tool_choice parallel_tool_calls text reasoning include store previous_response_id background truncation "
    "metadata user safety_identifier prompt_cache_key service_tier client_metadata"
)
PROOF = "proof-of-the-stand-in"


@dataclass(frozen=True)
class Stored:
    """A response, and the items that led to it."""

    response: dict[str, Any]
    input: list[dict[str, Any]]

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.input + self.response["output"]

    def list_input(self) -> list[dict[str, Any]]:
        """The messages as the vendor lists them: with an id, and their text in parts."""
        return [
            {
                "type": "message",
                "id": f"msg_{number:024}",
                "status": "completed",
                "role": item["role"],
                "content": [{"type": "input_text", "text": item["content"]}],
            }
            for number, item in enumerate(self.input)
        ]


class ResponsesStandIn(OpenAiStandIn):
    model: ClassVar[str] = "gpt-5.4"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._stored: dict[str, Stored] = {}
        self.app.add_url_rule("/v1/responses", view_func=self._create, methods=["POST"])
        self.app.add_url_rule("/v1/responses/<name>", view_func=self._retrieve, methods=["GET"])
        self.app.add_url_rule("/v1/responses/<name>", view_func=self._delete, methods=["DELETE"])
        self.app.add_url_rule("/v1/responses/<name>/input_items", view_func=self._list_input_items)

    @property
    def settings(self) -> dict[str, str]:
        return super().settings | {"dialect": "openai_responses"}

    def _create(self) -> Response:
        body = request.get_json()
        refuse_unknown_keys(body, REQUEST_KEYS, "")
        items = [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]
        if body.get("previous_response_id"):
            items = self._find(body["previous_response_id"]).history + items
        _check_items(items)
        wanted = (body.get("text") or {}).get("format") or {}
        act = self.script.answer(_offers(body.get("tools") or ()), _results(items), wanted.get("schema"))
        output = [*_reasoning(body), _item(act, len(_results(items)))]
        response = _response(body, f"resp_{len(self.asked):024}", output)
        if body.get("store") is not False:
            self._stored[response["id"]] = Stored(response, items)
        return event_stream(_events(response)) if body.get("stream") else jsonify(response)

    def _retrieve(self, name: str) -> Response:
        return jsonify(self._find(name).response)

    def _delete(self, name: str) -> Response:
        self._find(name)
        del self._stored[name]
        return jsonify({"id": name, "object": "response", "deleted": True})

    def _list_input_items(self, name: str) -> Response:
        return jsonify({"object": "list", "data": self._find(name).list_input(), "has_more": False})

    def _find(self, name: str) -> Stored:
        if name not in self._stored:
            raise Refusal(f"Response with id '{name}' not found.", 404)
        return self._stored[name]


def _offers(tools: list[dict[str, Any]], namespace: str | None = None) -> list[Offer]:
    offers = []
    for tool in tools:
        match tool["type"]:
            case "function":
                offers.append(Offer(tool["name"], tool["parameters"], namespace))
            case "custom":
                offers.append(Offer(tool["name"], None, namespace))
            case "namespace":
                offers.extend(_offers(tool["tools"], tool["name"]))
    return offers


def _results(items: list[dict[str, Any]]) -> list[str]:
    return [_text(item["output"]) for item in items if item.get("type", "message").endswith("_call_output")]


def _text(output: str | list[dict[str, Any]]) -> str:
    return output if isinstance(output, str) else "".join(part.get("text", "") for part in output)


def _check_items(items: list[dict[str, Any]]) -> None:
    """Each result follows its call, each call has its result, and reasoning comes back as it was given."""
    waiting: set[str] = set()
    for item in items:
        kind = item.get("type", "message")
        if kind.endswith("_call_output"):
            if item["call_id"] not in waiting:
                raise Refusal(f"No tool call found for function call output with call_id {item['call_id']}.")
            waiting.remove(item["call_id"])
        elif kind.endswith("_call"):
            waiting.add(item["call_id"])
        elif kind == "reasoning" and item.get("encrypted_content") not in (None, PROOF):
            raise Refusal("The encrypted content could not be verified.")
    if waiting:
        raise Refusal(f"No tool output found for function call {waiting}.")


def _reasoning(body: dict[str, Any]) -> list[dict[str, Any]]:
    if not body.get("reasoning"):
        return []
    summary = [{"type": "summary_text", "text": "One command will tell."}]
    return [{"type": "reasoning", "id": "rs_standin", "summary": summary, "encrypted_content": PROOF}]


def _item(act: Say | Use, number: int) -> dict[str, Any]:
    if isinstance(act, Say):
        part = {"type": "output_text", "text": act.text, "annotations": [], "logprobs": []}
        return {"type": "message", "id": "msg_standin", "status": "completed", "role": "assistant", "content": [part]}
    name = {"name": act.offer.name} | ({"namespace": act.offer.namespace} if act.offer.namespace else {})
    call = {"id": f"fc_{number:024}", "call_id": f"call_{number:024}", "status": "completed", **name}
    if act.offer.schema is None:
        return {"type": "custom_tool_call", **call, "input": act.input}
    return {"type": "function_call", **call, "arguments": act.input}


def _response(body: dict[str, Any], name: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body["model"],
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 48,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 12,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 60,
        },
        "user": None,
        "metadata": {},
    }


def _events(response: dict[str, Any]) -> Iterator[str]:
    numbers = count()

    def event(kind: str, **data: Any) -> str:
        return sse({"type": kind, "sequence_number": next(numbers), **data}, kind)

    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        head, deltas = _streamed(item)
        yield event("response.output_item.added", output_index=index, item=head)
        for kind, data in deltas:
            yield event(kind, output_index=index, item_id=item["id"], **data)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=response)


def _streamed(item: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The head of an item and the events between its opening and its end."""
    match item["type"]:
        case "message":
            (part,) = item["content"]
            at = {"content_index": 0}
            said = [("response.output_text.delta", {**at, "delta": p, "logprobs": []}) for p in pieces(part["text"])]
            return {**item, "status": "in_progress", "content": []}, [
                ("response.content_part.added", {**at, "part": {**part, "text": ""}}),
                *said,
                ("response.output_text.done", {**at, "text": part["text"], "logprobs": []}),
                ("response.content_part.done", {**at, "part": part}),
            ]
        case "reasoning":
            (part,) = item["summary"]
            at = {"summary_index": 0}
            return {**item, "summary": []}, [
                ("response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}),
                ("response.reasoning_summary_text.delta", {**at, "delta": part["text"]}),
                ("response.reasoning_summary_text.done", {**at, "text": part["text"]}),
                ("response.reasoning_summary_part.done", {**at, "part": part}),
            ]
        case "custom_tool_call":
            return _called(item, "input", "response.custom_tool_call_input")
        case _:
            return _called(item, "arguments", "response.function_call_arguments")


def _called(item: dict[str, Any], key: str, event: str) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    deltas = [(f"{event}.delta", {"delta": piece}) for piece in pieces(item[key])]
    return {**item, "status": "in_progress", key: ""}, [*deltas, (f"{event}.done", {key: item[key]})]
