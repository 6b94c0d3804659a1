"""The provider and model chosen for a request, with what its route sets."""

from __future__ import annotations

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import LossPolicy
from app.providers.provider import Provider
from app.settings import RouteSettings


class Upstream(msgspec.Struct, frozen=True):
    """One provider and model chosen for a request, with the route's own settings. `matched` names the rule that chose
    it."""

    provider: Provider
    model: str
    label: str
    reasoning_effort: str | None = None
    max_output: int | None = None
    policy: LossPolicy = "normal"
    context_window: int | None = None
    assumed_window: int | None = None
    matched: str = ""

    @property
    def capabilities(self) -> Capabilities:
        """What the model supports, within the route's own limits. May fetch the provider's catalogue the first time."""
        known = self.provider.capabilities(self.model)
        if self.max_output is None and self.context_window is None:
            return known
        changes: dict[str, int] = {}
        if self.max_output is not None:
            limit = min(self.max_output, known.max_output or self.max_output)
            changes |= {"max_output": limit, "default_output": limit}
        if self.context_window is not None:
            changes["context_window"] = self.context_window
        return msgspec.structs.replace(known, **changes)

    def rewrites(self, capabilities: Capabilities) -> bool:
        """Whether even a request in the upstream's own dialect is rendered anew: because the route sets an effort or
        scales token counts, or a strict chat template wants the conversation in another order."""
        ordered = capabilities.merge_system or capabilities.alternate
        scaled = self.assumed_window is not None and self.usage_scale != 1
        return ordered or self.reasoning_effort is not None or scaled

    @property
    def usage_scale(self) -> float:
        """The factor for reported token counts, for clients that assume a context window other than the real one."""
        if self.assumed_window is None or (window := self.capabilities.context_window) is None:
            return 1.0
        return self.assumed_window / window


def make_upstream(provider: Provider, model: str, route: RouteSettings | None) -> Upstream:
    """The upstream for a provider's model, with the settings of the route that leads there."""
    label = f"{provider.name}/{model}"
    own, assumed = provider.settings.reasoning_effort, provider.settings.assumed_window
    if route is None:
        return Upstream(provider, model, label, own, assumed_window=assumed)
    return Upstream(
        provider,
        model,
        label,
        reasoning_effort=route.reasoning_effort or own,
        max_output=route.max_output,
        policy="strict" if route.strict else "lenient" if route.lenient else "normal",
        context_window=route.context_window,
        assumed_window=route.assumed_window or assumed,
    )
