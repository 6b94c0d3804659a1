"""Edits routes and limits in the configuration file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from flask import Response, request

from app.blueprints.bodies import read_body
from app.blueprints.forms import read_form
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.configuration.edits import Edit, Proposal, apply, propose
from app.dashboard.page import show
from app.dashboard.pages.keys import read_limit
from app.dashboard.visitors import Visitor, check_change, find_admin, log_change
from app.errors import ConfigError, Forbidden, InvalidRequest
from app.headers import read_headers
from app.known_secrets import known_secrets
from app.settings import LimitsSettings, ModelsSettings, RouteSettings
from app.settings.checks.keys import LIMITS

NAMES = tuple(field for field in ModelsSettings.__struct_fields__ if field not in ("presets", "routes", "unknown"))
SIZES = LimitsSettings.__struct_fields__
_FIELDS = ("what", "name", "value", "output", "effort", "field")
_UNSET = msgspec.structs.asdict(RouteSettings(targets=()))
_LONGEST = 300
MAX_BODY = 256 * 1024


@blueprint.get("/settings/edit")
def edit() -> Response:
    visitor = find_admin("the settings")
    return _show(visitor, {})


@blueprint.post("/settings/edit")
def preview() -> Response:
    visitor, asked = check_change(), _read_asked(read_form())
    try:
        return _show(visitor, asked, propose(_find_file(), read_edits(asked), dict(os.environ)))
    except ConfigError as error:
        return _show(visitor, asked, problem=str(error))


@blueprint.post("/settings/apply")
def make_change() -> Response:
    visitor, form = check_change(), read_form()
    asked = _read_asked(form)
    try:
        proposal = propose(_find_file(), read_edits(asked), dict(os.environ))
    except ConfigError as error:
        return _show(visitor, asked, problem=str(error))
    backup = apply(proposal, form.get("mark", ""))
    log_change(visitor, f"changes {proposal.source.name}: {asked['what']} {asked['name']} {asked['field']}")
    return _show(visitor, {}, done=f"The file was changed and takes effect within a second. Backup: {backup}")


def read_edits(asked: Mapping[str, str]) -> list[Edit]:
    """The changes that a form requests. Raises InvalidRequest."""
    what, name, value = asked["what"], asked["name"], asked["value"]
    if what == "name" and name in NAMES:
        return [Edit(("models", name), value or None)]
    if what == "unknown" and value in ("default", "refuse"):
        return [Edit(("models", "unknown"), value)]
    if what == "route" and name:
        changes = {"max_output": read_limit(asked["output"], "output"), "reasoning_effort": asked["effort"] or None}
        return [_edit_route(name, [each.strip() for each in value.split(",") if each.strip()], **changes)]
    if what == "size" and name in SIZES:
        return [Edit(("limits", name), read_limit(value, name))]
    if what == "key" and asked["field"] in LIMITS:
        if name not in services().settings.keys:
            raise InvalidRequest(
                "only keys in the file have their limits there; create any other key again with the new limits",
                param="name",
            )
        return [Edit(("keys", name, asked["field"]), read_limit(value, asked["field"]))]
    raise InvalidRequest("name the setting to change", param="what")


def describe_config() -> dict[str, Any]:
    """`GET /api/config`: the targets of model names, for programs."""
    held = services().settings.models
    routes = {name: route.targets[0] for name, route in held.routes.items()}
    return {"default_model": held.default, "model_mapping": routes}


def change_config() -> dict[str, Any]:
    """`POST /api/config`: sets the default and the routes, with an admin's key. A gateway without keys is changed only
    on its pages, because a request without a key could come from anybody on this machine."""
    access = services().access
    if not access.demands_key:
        raise Forbidden("without client keys, change the file on the page /_/settings/edit")
    if not access.check_key(read_headers(request.environ)).may_manage:
        raise Forbidden("only an admin may change the settings; send an admin's key")
    body = read_body(request.environ["wsgi.input"], request.content_length, "", MAX_BODY)
    try:
        asked = msgspec.json.decode(body, type=_Config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is {{default_model, model_mapping}}: {error}") from error
    edits = [] if asked.default_model is None else [Edit(("models", "default"), asked.default_model)]
    known = services().settings.models.routes
    for name, target in (asked.model_mapping or {}).items():
        if name not in known or known[name].targets[0] != target:
            edits.append(_edit_route(name, [target]))
    if asked.model_mapping is not None:
        edits += [Edit(("models", "routes", name)) for name in known if name not in asked.model_mapping]
    try:
        proposal = propose(_find_file(), edits, dict(os.environ))
    except ConfigError as error:
        raise InvalidRequest(known_secrets.mask(str(error))) from error
    apply(proposal, proposal.mark)
    runtime().follow()
    config = {"default_model": asked.default_model, "model_mapping": asked.model_mapping}
    return {"success": True, "config": config}


class _Config(msgspec.Struct):
    default_model: str | None = None
    model_mapping: dict[str, str] | None = None


def _show(
    visitor: Visitor, asked: Mapping[str, str], proposal: Proposal | None = None, *, problem: str = "", done: str = ""
) -> Response:
    held = services().settings
    return show(
        "edit.html",
        visitor,
        400 if problem else 200,
        asked=asked,
        proposal=proposal,
        problem=problem,
        done=done,
        source=held.source,
        held=held.models,
        names={name: getattr(held.models, name) for name in NAMES},
        sizes={name: getattr(held.limits, name) for name in SIZES},
        keys=held.keys,
        limits=LIMITS,
    )


def _find_file() -> Path:
    source = services().settings.source
    if source is None:
        raise InvalidRequest("there is no configuration file; create one with `dragoman config init`")
    return source


def _read_asked(form: Mapping[str, str]) -> dict[str, str]:
    return {name: form.get(name, "").strip()[:_LONGEST] for name in _FIELDS}


def _edit_route(name: str, targets: list[str], **changes: Any) -> Edit:
    """Gives a route other targets and settings; the rest of it stays. Without targets, it is removed."""
    path = ("models", "routes", name)
    if not targets:
        return Edit(path)
    held = services().settings.models.routes.get(name)
    settings = {**(msgspec.structs.asdict(held) if held is not None else {}), **changes}
    settings = {field: value for field, value in settings.items() if value != _UNSET[field] and field != "targets"}
    target = targets[0] if len(targets) == 1 else targets
    return Edit(path, {"target": target, **settings} if settings else target)
