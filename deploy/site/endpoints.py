"""Describes each endpoint for programs; openapi.json and the page about endpoints are made of this.

A test holds it against the code's own routes. Pages for people (/_/ without /_/api, the login pages) are not in it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

HELLO = [{"role": "user", "content": "Hello"}]


class Described(NamedTuple):
    """`example` is a body that the demo answers, `answer` what such an answer has at least: field → JSON type."""

    group: str
    summary: str
    example: dict[str, Any] | None = None
    answer: dict[str, str] | None = None
    streams: bool = False


MESSAGES, OPENAI, STATE, WATCH, PERMISSIONS, CLIENTS = (
    "Anthropic Messages",
    "OpenAI",
    "Stored responses and conversations",
    "Health, metrics and accounts",
    "Tools of the Claude program",
    "What clients ask besides",
)
ACCOUNT = "by the same filters as the command; docs/monitoring.md lists them"

# Paths without /v1 answer alike and are not listed again.
ENDPOINTS: dict[tuple[str, str], Described] = {
    ("POST", "/v1/messages"): Described(
        MESSAGES,
        "Create a message; with `stream` as server-sent events.",
        {"model": "demo/demo", "max_tokens": 50, "messages": HELLO},
        {"id": "string", "type": "string", "role": "string", "content": "array", "usage": "object"},
        streams=True,
    ),
    ("POST", "/v1/messages/count_tokens"): Described(
        MESSAGES,
        "Count the tokens of a request; estimated where the upstream cannot count.",
        {"model": "demo/demo", "messages": HELLO},
        {"input_tokens": "integer"},
    ),
    ("POST", "/v1/chat/completions"): Described(
        OPENAI,
        "Create a chat completion; with `stream` as server-sent events.",
        {"model": "demo/demo", "messages": HELLO},
        {"id": "string", "object": "string", "choices": "array", "usage": "object"},
        streams=True,
    ),
    ("POST", "/v1/responses"): Described(
        OPENAI,
        "Create a response; with `stream` as server-sent events, with `background` as a job.",
        {"model": "demo/demo", "input": "Hello"},
        {"id": "string", "object": "string", "status": "string", "output": "array"},
        streams=True,
    ),
    ("POST", "/v1/responses/input_tokens"): Described(
        OPENAI,
        "Count the tokens of a request.",
        {"model": "demo/demo", "input": "Hello"},
        {"object": "string", "input_tokens": "integer"},
    ),
    ("POST", "/v1/responses/compact"): Described(
        OPENAI,
        "Put a long history into few items.",
        {"model": "demo/demo", "input": "Hello"},
        {"id": "string", "object": "string", "output": "array"},
    ),
    ("POST", "/v1/completions"): Described(
        OPENAI,
        "Complete a prompt, as older clients ask; with `stream` as server-sent events.",
        {"model": "demo/demo", "prompt": "Hello"},
        {"id": "string", "object": "string", "choices": "array"},
        streams=True,
    ),
    ("POST", "/v1/embeddings"): Described(OPENAI, "Make embeddings, where the model's upstream does."),
    ("GET", "/v1/models"): Described(
        OPENAI, "List the models that clients may name, for clients of all dialects.", None, {"data": "array"}
    ),
    ("GET", "/v1/models/{name}"): Described(OPENAI, "Describe one model."),
    ("GET", "/v1/responses/{response_id}"): Described(
        STATE, "Retrieve a stored response; `stream` with `starting_after` replays its events."
    ),
    ("DELETE", "/v1/responses/{response_id}"): Described(STATE, "Delete a stored response."),
    ("POST", "/v1/responses/{response_id}/cancel"): Described(STATE, "Cancel a response that runs in the background."),
    ("GET", "/v1/responses/{response_id}/input_items"): Described(STATE, "List what a stored response was asked with."),
    ("POST", "/v1/conversations"): Described(
        STATE, "Begin a conversation, with items and metadata.", {}, {"id": "string", "object": "string"}
    ),
    ("GET", "/v1/conversations/{place}"): Described(STATE, "Retrieve a conversation."),
    ("POST", "/v1/conversations/{place}"): Described(STATE, "Change its metadata."),
    ("DELETE", "/v1/conversations/{place}"): Described(STATE, "Delete a conversation; its items stay until they end."),
    ("GET", "/v1/conversations/{place}/items"): Described(STATE, "List its items."),
    ("POST", "/v1/conversations/{place}/items"): Described(STATE, "Add items."),
    ("GET", "/v1/conversations/{place}/items/{item}"): Described(STATE, "Retrieve one item."),
    ("DELETE", "/v1/conversations/{place}/items/{item}"): Described(STATE, "Delete one item."),
    ("GET", "/health"): Described(
        WATCH,
        "How providers, logins, loops and databases are; `degraded` comes with `reasons`.",
        None,
        {"status": "string", "service": "string", "version": "string"},
    ),
    ("GET", "/health/live"): Described(WATCH, "200 as long as the process answers at all.", None, {"status": "string"}),
    ("GET", "/health/ready"): Described(
        WATCH, "200, or 503 with reasons why no requests should be sent here.", None, {"status": "string"}
    ),
    ("GET", "/metrics"): Described(WATCH, "The counts of all workers, in Prometheus' text format."),
    ("GET", "/_/api/usage"): Described(WATCH, f"Sums of requests, tokens and cost, {ACCOUNT}.", None, {}),
    ("GET", "/_/api/requests"): Described(WATCH, f"Requests, the newest first, {ACCOUNT}.", None, {}),
    ("GET", "/_/api/requests/{request_id}"): Described(WATCH, "One request: its attempts, usage, cost and losses."),
    ("GET", "/_/api/sessions"): Described(WATCH, "Sessions with their sums.", None, {}),
    ("GET", "/_/api/running"): Described(WATCH, "What runs now, at all workers.", None, {"running": "array"}),
    ("GET", "/_/api/live"): Described(
        WATCH,
        "Server-sent events: the latest requests, then each as it ends; with `running=yes`, also what runs.",
        streams=True,
    ),
    ("GET", "/_/api/keys"): Described(WATCH, "The names of client keys, their rights and limits; for administrators."),
    ("GET", "/_/api/providers"): Described(WATCH, "Providers, and how they are."),
    ("GET", "/_/api/models"): Described(WATCH, "The names that clients may use, and where they lead."),
    ("GET", "/_/api/settings"): Described(WATCH, "The settings in force, with secrets masked."),
    ("GET", "/_/api/prices"): Described(WATCH, "Prices in US dollars a million tokens.", None, {"prices": "object"}),
    ("GET", "/_/api/limits"): Described(WATCH, "The limits and budgets of keys, and how far each is used.", None, {}),
    ("GET", "/plugins"): Described(WATCH, "The packages that added providers or hooks.", None, {}),
    ("GET", "/plugins/{name}/health"): Described(WATCH, "How one of them is."),
    ("GET", "/permissions"): Described(PERMISSIONS, "What a tool of the Claude program waits for.", None, {}),
    ("GET", "/permissions/stream"): Described(PERMISSIONS, "The same as server-sent events.", streams=True),
    ("GET", "/permissions/{permission_id}"): Described(PERMISSIONS, "One of them."),
    ("POST", "/permissions/{permission_id}/respond"): Described(PERMISSIONS, "Allow or deny it."),
    ("POST", "/mcp"): Described(PERMISSIONS, "The MCP server that the Claude program asks before it uses a tool."),
    ("GET", "/"): Described(CLIENTS, "Name and links; a browser is led to the dashboard.", None, {"name": "string"}),
    ("GET", "/ping"): Described(CLIENTS, "Whether anybody is home.", None, {"status": "string"}),
    ("GET", "/api/hello"): Described(CLIENTS, "The same, as Claude Code asks it.", None, {"status": "string"}),
    ("GET", "/api/models/full"): Described(CLIENTS, "The catalogue of models, as oca-proxy's clients ask for it."),
    ("GET", "/api/logs/stream"): Described(
        CLIENTS, "Log lines as server-sent events, as oca-proxy's clients ask.", streams=True
    ),
    ("POST", "/api/event_logging/{_kind}"): Described(CLIENTS, "Claude Code's telemetry: thanked for and thrown away."),
}
