"""Translates the requested reasoning effort into the upstream's terms and limits.

Dialects differ: an effort by name, a budget in tokens, or a switch. The setting is converted to the upstream's kind; if
thinking excludes something that the client needs more, thinking is given up. Runs after all other steps that change
settings, because it depends on max_tokens, sampling and the tool choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.adaptation import features as has
from app.adaptation.features import Features
from app.adaptation.notes import Notes, field
from app.conversation.blocks import Reasoning, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.request import EFFORTS, Effort, Extension, FunctionTool, ReasoningSettings, Request
from app.dialects.registry import traits_of

# The budget in tokens for each effort.
BUDGETS: dict[Effort, int] = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
MAX_SHARE = 0.6  # share of max_tokens for the effort "max"
LEAST_BUDGET = 1024

# The reverse: the effort for budgets below a number of tokens.
EFFORTS_BY_BUDGET: tuple[tuple[int, Effort], ...] = ((4096, "low"), (16384, "medium"), (32768, "high"))

# With thinking on, Claude still accepts a top_p of at least this.
LEAST_TOP_P = 0.95


def wakes_reasoning(can: Capabilities) -> Features:
    return has.ALWAYS if can.reasoning_by_default and can.reasoning_style != "none" else has.THINKING


def adapt_reasoning(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    settings = request.reasoning
    wanted, forbidden = _is_wanted(settings), _is_forbidden(settings)
    path = field(request.dialect, "reasoning")
    if capabilities.reasoning_style == "none":
        if wanted and not capabilities.reasoning_on_fields:
            notes.lose("ignorable", path, "thinking cannot be requested from this model")
        return _say(request, ReasoningSettings(), capabilities, on=wanted if wanted or forbidden else None)
    obstacle = _obstacle(request, capabilities) if wanted or capabilities.reasoning_by_default else None
    if obstacle and wanted:
        notes.lose("degrading", path, f"no thinking for this request: {obstacle}")
    if obstacle or forbidden:
        return _forbid(request, capabilities, notes)
    # An adaptive model that thinks by default must still be asked to show it.
    if wanted or (capabilities.reasoning_by_default and capabilities.reasoning_style == "adaptive"):
        return _ask(request, capabilities, notes)
    return replace(request, reasoning=ReasoningSettings())


def _is_wanted(settings: ReasoningSettings) -> bool:
    if settings.mode is None:
        return settings.effort not in (None, "none") or settings.budget is not None
    return settings.mode == "on"


def _is_forbidden(settings: ReasoningSettings) -> bool:
    return settings.mode in ("off", "between_tools") or (settings.mode is None and settings.effort == "none")


def _obstacle(request: Request, capabilities: Capabilities) -> str | None:
    """Why thinking must be given up for something that the client needs more; None if there is no conflict."""
    choice = request.tool_choice
    if capabilities.reasoning_excludes_forced_tool and choice is not None and choice.mode in ("any", "tool"):
        return "a tool is forced"
    if capabilities.reasoning_excludes_tools and any(isinstance(tool, FunctionTool) for tool in request.tools):
        return "with tools this model thinks only in the Responses dialect"
    if capabilities.reasoning_must_lead and request.turns and request.turns[-1].role == "assistant":
        return "the answer has begun without it"
    if capabilities.reasoning_must_lead and not _is_led_by_proof(request, capabilities):
        return "the tool calls in progress no longer have their thinking"
    return None


def _is_led_by_proof(request: Request, capabilities: Capabilities) -> bool:
    """Whether the assistant's last turn starts with a valid proof; true if it has no calls."""
    turn = next((turn for turn in reversed(request.turns) if turn.role == "assistant"), None)
    if turn is None or not any(isinstance(block, ToolCall) for block in turn.blocks):
        return True
    first = turn.blocks[0]
    return isinstance(first, Reasoning) and capabilities.understands(first.proof)


def _forbid(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    path = field(request.dialect, "reasoning")
    match capabilities.reasoning_off:
        case "omit" if request.reasoning.effort == "none" and _thinks_anyway(capabilities):
            notes.lose("degrading", path, "this model always thinks; it is asked for little thinking")
            adapted = ReasoningSettings(mode="on", effort=_nearest("minimal", capabilities.efforts))
        case "omit":
            adapted = ReasoningSettings()
            if capabilities.reasoning_by_default and not capabilities.reasoning_off_fields:
                notes.lose("ignorable", path, "this model decides itself whether to think")
        case "none":
            adapted = ReasoningSettings(mode="off", effort="none")
        case "disabled":
            # With thinking off, Claude refuses efforts above "high".
            effort = request.reasoning.effort
            effort = _nearest(effort, _up_to_high(capabilities.efforts)) if effort != "none" else None
            adapted = ReasoningSettings(mode="off", effort=effort)
        case "between_tools":
            adapted = ReasoningSettings(mode="between_tools")
        case "never":
            notes.lose("degrading", path, "this model always thinks; it is asked for little thinking")
            adapted = ReasoningSettings(mode="on", effort=_nearest("low", capabilities.efforts))
    return _say(request, adapted, capabilities, on=False)


def _thinks_anyway(capabilities: Capabilities) -> bool:
    """Whether a model that nothing can keep from thinking lets its effort be chosen."""
    by_default = capabilities.reasoning_by_default and not capabilities.reasoning_off_fields
    return by_default and capabilities.reasoning_style == "effort" and bool(capabilities.efforts)


def _ask(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    settings = request.reasoning
    path = field(request.dialect, "reasoning")
    visibility = settings.visibility
    if visibility is None and capabilities.reasoning_visibility:
        # The vendors' default hides thinking, while the client's dialect shows it.
        visibility = traits_of(capabilities.dialect).summarised
    asked = settings.effort or _effort_of(settings.budget)
    effort = _nearest(asked, capabilities.efforts)
    if asked in ("xhigh", "max") and effort != asked and capabilities.reasoning_style != "budget":
        notes.lose("ignorable", path, f"effort {asked} is {effort or 'not known'} there")
    budget = None
    if capabilities.reasoning_style == "budget":
        budget = _fit_budget(settings.budget, asked, request.max_tokens)
        if budget is None:
            notes.lose(
                "degrading", path, f"no thinking: max_tokens leaves no room for a budget of {LEAST_BUDGET} tokens"
            )
            return replace(request, reasoning=ReasoningSettings())
    if capabilities.reasoning_excludes_sampling:
        request = _drop_sampling(request, notes)
    return _say(request, ReasoningSettings("on", effort, budget, visibility), capabilities, on=True)


def _effort_of(budget: int | None) -> Effort | None:
    if budget is None:
        return None
    return next((effort for limit, effort in EFFORTS_BY_BUDGET if budget < limit), "xhigh")


def _nearest(effort: Effort | None, known: Sequence[str]) -> Effort | None:
    """The highest known effort not above the requested one, else the lowest; None if none is known."""
    if effort is None or effort in known:
        return effort
    ranked = [level for level in EFFORTS if level in known]
    below = [level for level in ranked if EFFORTS.index(level) < EFFORTS.index(effort)]
    return below[-1] if below else ranked[0] if ranked else None


def _up_to_high(efforts: Sequence[str]) -> list[str]:
    return [effort for effort in efforts if effort not in ("xhigh", "max")]


def _fit_budget(asked: int | None, effort: Effort | None, max_tokens: int | None) -> int | None:
    """A budget of at least 1024 tokens and below max_tokens; None if max_tokens leaves no room.

    A budget set by the client may use all but one token; one derived from an effort leaves a fifth of max_tokens for
    the answer. The highest effort has never less than the one below it.
    """
    limit = max_tokens if max_tokens is not None else 2 * BUDGETS["xhigh"]
    if asked is not None:
        budget = min(asked, limit - 1)
    elif effort == "max":
        budget = max(int(limit * MAX_SHARE), min(BUDGETS["xhigh"], limit * 4 // 5))
    else:
        budget = min(BUDGETS[effort if effort in BUDGETS else "high"], limit * 4 // 5)
    budget = max(budget, LEAST_BUDGET)
    return budget if budget < limit else None


def _drop_sampling(request: Request, notes: Notes) -> Request:
    sampling = request.sampling
    excluded = {
        "temperature": sampling.temperature not in (None, 1),
        "top_p": sampling.top_p is not None and sampling.top_p < LEAST_TOP_P,
        "top_k": sampling.top_k is not None,
    }
    dropped = {name: None for name, is_excluded in excluded.items() if is_excluded}
    for name in dropped:
        notes.lose("degrading", name, "it cannot be set while the model thinks")
    return replace(request, sampling=replace(sampling, **dropped)) if dropped else request


def _say(request: Request, settings: ReasoningSettings, capabilities: Capabilities, on: bool | None) -> Request:
    """The request with these settings, and with the fields that switch thinking on or off at this server."""
    fields = capabilities.reasoning_on_fields if on else capabilities.reasoning_off_fields if on is False else {}
    extensions = tuple(Extension(capabilities.dialect, name, value, "ignorable") for name, value in fields.items())
    return replace(request, reasoning=settings, extensions=request.extensions + extensions)
