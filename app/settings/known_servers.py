"""Servers and services that speak OpenAI's dialect, by name.

`kind = "ollama"`, or a table `[providers.ollama]` without a kind, stands for the row here: the kind `openai` with the
address, profile and key of that server. Keys that the table itself sets win.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class KnownServer(Struct, frozen=True):
    """A row of the table. `base_url` is None if every user has their own address. `key` names the environment variable
    that usually holds the key."""

    base_url: str | None
    key: str | None = None
    profile: str | None = None


KNOWN_SERVERS: dict[str, KnownServer] = {
    # On the user's own machine.
    "ollama": KnownServer("http://127.0.0.1:11434/v1", profile="ollama"),
    "vllm": KnownServer("http://127.0.0.1:8000/v1", profile="vllm"),
    "sglang": KnownServer("http://127.0.0.1:30000/v1"),
    "tgi": KnownServer("http://127.0.0.1:3000/v1"),
    "llamacpp": KnownServer("http://127.0.0.1:8080/v1", profile="llamacpp"),
    "lmstudio": KnownServer("http://127.0.0.1:1234/v1", profile="lmstudio"),
    "litellm": KnownServer("http://127.0.0.1:4000/v1", "LITELLM_API_KEY", "litellm"),
    # Services.
    "azure": KnownServer(None, "AZURE_OPENAI_API_KEY", "azure"),
    "cerebras": KnownServer("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "databricks": KnownServer(None, "DATABRICKS_TOKEN"),
    "deepseek": KnownServer("https://api.deepseek.com", "DEEPSEEK_API_KEY", "deepseek"),
    "fireworks": KnownServer("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "gemini": KnownServer("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "gemini"),
    "glm": KnownServer("https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "glm"),
    "groq": KnownServer("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "huggingface": KnownServer("https://router.huggingface.co/v1", "HF_TOKEN"),
    "kimi": KnownServer("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "kimi"),
    "minimax": KnownServer("https://api.minimax.io/v1", "MINIMAX_API_KEY"),
    "mistral": KnownServer("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral"),
    "nvidia": KnownServer("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    "openrouter": KnownServer("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter"),
    "qwen": KnownServer("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY", "qwen"),
    "siliconflow": KnownServer("https://api.siliconflow.cn/v1", "SILICONFLOW_API_KEY"),
    "together": KnownServer("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "xai": KnownServer("https://api.x.ai/v1", "XAI_API_KEY"),
}
# Other names for these servers.
OTHER_NAMES = {
    "llama.cpp": "llamacpp",
    "llama-cpp": "llamacpp",
    "lm-studio": "lmstudio",
    "moonshot": "kimi",
    "zai": "glm",
    "zhipu": "glm",
    "dashscope": "qwen",
    "google": "gemini",
    "hf": "huggingface",
    "grok": "xai",
    "azure-openai": "azure",
}
CREDENTIAL_KEYS = ("api_key", "access_token", "token_file", "credentials_file", "credentials", "command")


def known_server(name: str) -> KnownServer | None:
    name = name.lower()
    return KNOWN_SERVERS.get(OTHER_NAMES.get(name, name))


def expand_known_server(name: str, table: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Rewrites the table of a provider whose kind is a known server's name as one of kind `openai`.

    The key in a service's usual variable is used only with the service's own address.
    """
    kind = table.get("kind", name)
    server = known_server(kind) if isinstance(kind, str) else None
    if server is None:
        return table
    filled: dict[str, Any] = {"kind": "openai"}
    if server.profile is not None:
        filled["profile"] = server.profile
    if server.base_url is not None:
        filled["base_url"] = server.base_url
    own_place = "base_url" not in table or server.base_url is None
    key = environ.get(server.key, "").strip() if server.key else ""
    if key and own_place and not any(table.get(name) for name in CREDENTIAL_KEYS) and table.get("auth") is None:
        filled["api_key"] = key
    return filled | table | {"kind": "openai"}
