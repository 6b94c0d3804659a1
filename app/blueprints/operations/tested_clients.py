"""The client versions that this version was tested with; `make clients` installs exactly these."""

from __future__ import annotations

from typing import NamedTuple


class ClientVersion(NamedTuple):
    """`package` is its name in its registry, `command` the program that it installs, if any."""

    name: str
    version: str
    package: str
    registry: str
    command: str | None = None

    @property
    def install(self) -> str:
        """The install command for this version."""
        if self.registry == "npm":
            return f"npm install -g {self.package}@{self.version}"
        return f"pip install '{self.package}=={self.version}'"


TESTED = (
    ClientVersion("Claude Code", "2.1.332", "@anthropic-ai/claude-code", "npm", "claude"),
    ClientVersion("Codex", "0.171.0", "@openai/codex", "npm", "codex"),
    ClientVersion("opencode", "1.18.33", "opencode-ai", "npm", "opencode"),
    ClientVersion("Cline", "3.0.65", "cline", "npm", "cline"),
    ClientVersion("Qwen Code", "0.24.4", "@qwen-code/qwen-code", "npm", "qwen"),
    # npm installs its program as goose-binary-linux-x64.
    ClientVersion("goose", "1.52.0", "@aaif/goose-binary-linux-x64", "npm", "goose"),
    # Needs a Python before 3.13.
    ClientVersion("aider", "0.86.2", "aider-chat", "PyPI", "aider"),
    ClientVersion("anthropic SDK", "2.14.0", "anthropic", "PyPI"),
    # Still sends x-api-key and version 2023-06-01.
    ClientVersion("anthropic SDK, older", "0.75.0", "anthropic", "PyPI"),
    ClientVersion("openai SDK", "3.57.0", "openai", "PyPI"),
    ClientVersion("openai-agents", "0.24.0", "openai-agents", "PyPI"),
    ClientVersion("langchain-anthropic", "1.7.10", "langchain-anthropic", "PyPI"),
    ClientVersion("langchain-openai", "1.7.4", "langchain-openai", "PyPI"),
    ClientVersion("Pydantic AI", "2.31.1", "pydantic-ai-slim[openai]", "PyPI"),
    ClientVersion("AI SDK", "6.0.326", "ai", "npm"),
    ClientVersion("@ai-sdk/anthropic", "3.0.140", "@ai-sdk/anthropic", "npm"),
    ClientVersion("@ai-sdk/openai", "3.0.141", "@ai-sdk/openai", "npm"),
    ClientVersion("LiteLLM proxy", "1.106.0", "litellm[proxy]", "PyPI", "litellm"),
)


def find_tested(name: str) -> ClientVersion:
    """The client with this name or command. Raises KeyError."""
    for client in TESTED:
        if name in (client.name, client.command):
            return client
    raise KeyError(name)
