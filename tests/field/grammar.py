"""What every stream keeps to, whatever its upstream sent: the order of events that the vendors' own clients rely on."""

from __future__ import annotations

import json
from typing import Any

A, C, R = "A", "C", "R"
Events = list[tuple[str | None, Any]]

_OF_BLOCK = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
}
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_DONE = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}


def read_events(text: str) -> Events:
    """The name and the decoded data of each event; the end mark stays text."""
    events: Events = []
    for block in text.split("\n\n"):
        parts = [line.partition(":") for line in block.split("\n") if line and not line.startswith(":")]
        fields = [(name, value.removeprefix(" ")) for name, _, value in parts]
        lines = [value for name, value in fields if name == "data"]
        if lines:
            data = "\n".join(lines)
            events.append((dict(fields).get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


def check(dialect: str, events: Events) -> None:
    """Raises AssertionError unless a stream is in order."""
    {A: _check_messages, C: _check_chunks, R: _check_items}[dialect](events)


def _check_messages(events: Events) -> None:
    events = [(name, event) for name, event in events if event["type"] != "ping"]
    kinds = [event["type"] for _, event in events]
    assert [name for name, _ in events] == kinds
    if kinds[-1] == "error":
        kinds.pop()
        events = events[:-1]
    else:
        assert kinds[-2:] == ["message_delta", "message_stop"], kinds
        assert events[-2][1]["delta"]["stop_reason"], "no stop_reason"
        assert isinstance(events[-2][1].get("usage"), dict), "no usage"
    assert kinds.count("message_start") == kinds[:1].count("message_start"), kinds
    assert kinds.count("message_stop") <= 1, kinds
    assert kinds.count("message_delta") <= 1, kinds
    open_kind, index, ids = "", -1, set[str]()
    for _, event in events:
        match event:
            case {"type": "content_block_start", "content_block": block}:
                assert not open_kind, f"{block} within {open_kind}"
                assert event["index"] == index + 1
                open_kind, index = block["type"], event["index"]
                if open_kind == "tool_use":
                    assert block["input"] == {}
                    assert block["name"]
                    assert block["id"]
                    assert block["id"] not in ids, block
                    ids.add(block["id"])
            case {"type": "content_block_delta", "delta": delta}:
                assert event["index"] == index
                assert delta["type"] in _OF_BLOCK.get(open_kind, (delta["type"],)), f"{delta} within {open_kind!r}"
            case {"type": "content_block_stop"}:
                assert open_kind
                assert event["index"] == index
                open_kind = ""
            case {"type": "message_delta"}:
                assert not open_kind, f"the end within {open_kind}"


def _check_chunks(events: Events) -> None:
    heads, finishes, begun = set(), 0, set()
    chunks = [chunk for _, chunk in events if chunk != "[DONE]"]
    if "error" in chunks[-1]:
        chunks.pop()
    else:
        assert events[-1][1] == "[DONE]"
    for chunk in chunks:
        heads.add((chunk["id"], chunk["created"], chunk["model"], chunk["object"]))
        assert (type(chunk["id"]), type(chunk["created"]), type(chunk["model"])) == (str, int, str), chunk
        for choice in chunk["choices"]:
            assert choice["index"] == 0
            delta = choice["delta"]
            assert delta.get("role") in ("assistant", None)
            said = any(delta.get(name) for name in ("content", "tool_calls", "reasoning_content", "refusal"))
            assert not (said and finishes), f"{delta} after the finish"
            for call in delta.get("tool_calls") or []:
                if call["index"] not in begun:
                    assert call["index"] == len(begun)
                    assert call["id"]
                    assert call["type"]
                    assert call["function"]["name"]
                    begun.add(call["index"])
                else:
                    assert not call.get("id"), call
                    assert not call["function"].get("name"), call
            finishes += choice["finish_reason"] is not None
    assert len(heads) <= 1, heads
    assert finishes == 1 or events[-1][1] != "[DONE]", finishes


def _check_items(events: Events) -> None:
    """The order of a Responses stream, with the deltas of each part adding up to the whole of it."""
    told = [event for _, event in events if event != "[DONE]" and event["type"] != "ping"]
    assert all(name in (event["type"], None) for name, event in events if event != "[DONE]")
    kinds = [event["type"] for event in told]
    assert kinds[0] == "response.created"
    assert kinds.count("response.created") == 1
    assert [kind for kind in kinds if kind in _ENDS] == kinds[-1:], kinds
    assert [event["sequence_number"] for event in told] == list(range(len(told))), "numbers"
    assert len({event["response"]["id"] for event in told if "response" in event}) == 1
    ids: dict[int, str] = {}
    said: dict[tuple[Any, ...], str] = {}
    done: dict[int, Any] = {}
    for event in told:
        kind, place = event["type"], event.get("output_index")
        part = (place, event.get("content_index"), event.get("summary_index"))
        if kind == "response.output_item.added":
            assert place > max(ids, default=-1), f"item {place} after {len(ids)}"
            ids[place] = event["item"]["id"]
        elif kind == "response.output_item.done":
            assert event["item"]["id"] == ids[place]
            assert place not in done
            done[place] = event["item"]
        elif "item_id" in event:
            assert event["item_id"] == ids[place], event
            assert place not in done, f"{kind} of a finished item"
            base, _, end = kind.rpartition(".")
            if base in _DONE and end == "delta":
                said[base, part] = said.get((base, part), "") + event["delta"]
            elif base in _DONE and end == "done":
                assert said.get((base, part), "") == event[_DONE[base]], event
    if kinds[-1] != "response.failed":
        assert sorted(done) == list(ids), "open items"
        assert told[-1]["response"]["output"] == [done[place] for place in sorted(done)]
        for (base, part), words in said.items():
            assert words in _texts_of(done[part[0]]), (base, words)
        for place, item in done.items():
            whole = "".join(_texts_of(item))
            spoken = "".join(words for (_, part), words in said.items() if part[0] == place)
            assert whole == spoken or not (spoken or item["type"] == "message"), f"told {spoken!r} of {whole!r}"


def _texts_of(item: dict[str, Any]) -> list[str]:
    match item["type"]:
        case "function_call":
            return [item["arguments"]]
        case "custom_tool_call":
            return [item["input"]]
        case "message":
            return [part.get("text") or part.get("refusal") or "" for part in item["content"]]
        case "reasoning":
            return [part["text"] for part in [*item["summary"], *(item.get("content") or [])]]
        case _:
            return []
