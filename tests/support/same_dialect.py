"""A request as an upstream of its own dialect gets it: passed where it may, else through the conversation."""

from __future__ import annotations

import msgspec

from app.adaptation.adapt import adapt
from app.conversation.capabilities import Capabilities
from app.conversation.request import State
from app.dialects.contract import Dialect, RenderedRequest


def send_on(dialect: Dialect, body: bytes, capabilities: Capabilities) -> RenderedRequest:
    passed = dialect.pass_request(body, capabilities)
    assert dialect.prepare_passing(capabilities)(body) == passed, "both ways to pass agree"
    if passed is not None:
        return RenderedRequest(passed)
    asked = dialect.parse_request(body, {})
    steered = msgspec.structs.replace(asked, model=capabilities.model or asked.model, state=State())
    adapted = adapt(steered, capabilities)
    rendered = dialect.render_request(msgspec.structs.replace(adapted.request, state=asked.state), capabilities)
    return msgspec.structs.replace(rendered, losses=(*adapted.losses, *rendered.losses))
