"""Lists models, shows where a name is routed, and tests a model."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, request

from app.accounts.apart import AccountsUnavailable
from app.accounts.reports import report_usage
from app.accounts.views import find_last_hours
from app.blueprints.forms import read_form
from app.blueprints.operations.reports import LONGEST_VALUE
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.page import show
from app.dashboard.reading import ask
from app.dashboard.trial import settle, test_model
from app.dashboard.visitors import Visitor, check_change, find_visitor, log_change
from app.errors import DragomanError, InvalidRequest
from app.gateway.endpoints.explanation import describe_upstream, list_quirks
from app.gateway.endpoints.tool_trial import Answer
from app.gateway.messages import MAX_NAME

MAX_SHOWN = 500
WEEK = 7 * 86_400


@blueprint.get("/models")
def models() -> Response:
    return _show(find_visitor())


@blueprint.post("/models/test")
def try_model() -> Response:
    """Tests a model, which costs the visitor's key a few tokens."""
    visitor = check_change(by_anybody=True)
    model = read_form().get("model", "").strip()
    if not model or len(model) > MAX_NAME:
        raise InvalidRequest("name a model to test", param="model")
    log_change(visitor, f"tests the model {model}")
    answer = test_model(visitor, model)
    settle()
    return _show(visitor, model, answer)


def _show(visitor: Visitor, tested: str = "", answer: Answer | None = None) -> Response:
    sought = request.args.get("q", "").strip()[:LONGEST_VALUE]
    tried = request.args.get("try", "").strip()[:LONGEST_VALUE]
    listing = services().listing
    listed = listing.models(key=visitor.client_key)
    found = [model for model in listed if sought.lower() in model.id.lower() or sought in (model.target or "")]
    prices, used = runtime().recorder.prices, _find_use(visitor)
    rows = []
    for model in found[:MAX_SHOWN]:
        provider, _, name = (model.target or model.id).partition("/")
        price = prices.find(provider, name) if prices is not None else None
        rows.append(
            {
                "model": model,
                "price": price,
                "used": used.get(model.target or model.id),
                "can": _list_abilities(model.id),
            }
        )
    return show(
        "models.html",
        visitor,
        rows=rows,
        sought=sought,
        left_out=max(0, len(found) - MAX_SHOWN),
        problems=listing.problems(visitor.client_key),
        tried=tried,
        explained=_explain(visitor, tried) if tried else [],
        tested=tested,
        answer=answer,
    )


def _explain(visitor: Visitor, name: str) -> list[dict[str, Any]]:
    """The upstreams of a name, the first choice first; an explanation if there are none."""
    try:
        upstreams = visitor.client_key.choose(name, services().router.resolve(name))
    except DragomanError as error:
        return [{"upstream": "nowhere", "told": {"because": str(error)}, "quirks": []}]
    return [
        {"upstream": upstream.label, "told": describe_upstream(upstream), "quirks": list_quirks(upstream)}
        for upstream in upstreams
    ]


def _list_abilities(name: str) -> list[str]:
    """What a model can do beside text, as far as it is known."""
    try:
        able = services().router.resolve(name)[0].capabilities
    except DragomanError:
        return []
    can = {"tools": able.tools, "images": able.images, "reasoning": able.reasoning_style != "none"}
    return [ability for ability, known in can.items() if known]


def _find_use(visitor: Visitor) -> dict[str, dict[str, Any]]:
    """The usage of the last week by target; `last` are the hours of the last request and the last failure."""
    since = time.time() - WEEK
    try:
        rows = ask(lambda connection: report_usage(connection, ["target"], since, None, visitor.own))
        last = ask(lambda connection: find_last_hours(connection, since, visitor.own))
    except AccountsUnavailable:
        return {}
    return {row["target"]: {**row, "last": last.get(row["target"], (None, None))} for row in rows}
