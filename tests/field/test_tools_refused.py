"""Models and servers that refuse any tool: the error names the model and says what to do."""

from __future__ import annotations

import pytest

from tests.field.pairs import CLIENTS, ask
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

# As Ollama and vLLM word it.
REFUSALS = {
    "registry.ollama.ai/library/gemma:2b does not support tools": "choose a model that can",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set': "start vLLM with",
}


@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_of_tools_names_the_model_and_the_remedy(
    client: Client, upstream: FakeUpstream, dialect: str, said: str
) -> None:
    upstream.script(json_reply({"error": {"message": said, "type": "api_error", "param": None, "code": None}}, 400))

    told = ask(client, dialect, "chat/gemma:2b")

    assert told.status == 400
    assert "gemma:2b of chat" in told.error
    assert REFUSALS[said] in told.error
    assert said in told.error
    assert len(upstream.seen) == 1, "the same request is refused again"
