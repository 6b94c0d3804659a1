"""`dragoman import`: what another gateway says is said by ours, and the rest is named."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cli.machine import Machine


@dataclass(frozen=True)
class Case:
    """A file of another gateway, and what ours must say; `left` begins lines about what could not be carried."""

    id: str
    name: str
    file: str
    text: str
    wanted: dict[str, Any]
    left: tuple[str, ...]


CASES = [
    Case(
        "litellm",
        "litellm",
        "config.yaml",
        """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 6}
  - model_name: gpt-4o
    litellm_params: {model: anthropic/claude-sonnet-4-6, api_key: sk-ant-1}
  - model_name: local
    litellm_params: {model: ollama_chat/qwen3, api_base: "http://10.0.0.1:11434/v1"}
  - model_name: az
    litellm_params: {model: azure/my-gpt, api_base: "https://x.openai.azure.com", api_version: "2025-01-01-preview"}
    model_info: {max_input_tokens: 128000}
  - model_name: "*"
    litellm_params: {model: "*"}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY, rpm: 6}
  - model_name: b
    litellm_params: {model: bedrock/x}
general_settings: {master_key: sk-1234, database_url: "postgresql://x"}
router_settings: {routing_strategy: least-busy, model_group_alias: {gpt-4: local}}
litellm_settings: {drop_params: true, fallbacks: [{local: [gpt-4o]}, {nowhere: [local]}]}
""",
        {
            "server": {"api_keys": ["sk-1234"]},
            "providers": {
                "openai": {"kind": "openai", "api_key": "${OPENAI_API_KEY}"},
                "anthropic": {"kind": "anthropic", "api_key": "sk-ant-1"},
                "ollama": {"kind": "ollama", "base_url": "http://10.0.0.1:11434/v1"},
                "azure": {
                    "kind": "azure",
                    "base_url": "https://x.openai.azure.com",
                    "api_version": "2025-01-01-preview",
                    "context_window": {"my-gpt": 128000},
                },
            },
            "models": {
                "routes": {
                    "gpt-4o": ["openai/gpt-4o", "anthropic/claude-sonnet-4-6"],
                    "local": ["ollama/qwen3", "openai/gpt-4o", "anthropic/claude-sonnet-4-6"],
                    "gpt-4": "ollama/qwen3",
                    "az": "azure/my-gpt",
                }
            },
        },
        (
            "model_list[0].litellm_params.rpm",
            "model_list[4]",
            "model_list[5].litellm_params.rpm",
            "model_list[6]",
            "litellm_settings.drop_params",
            "general_settings.database_url",
            "router_settings.routing_strategy",
            "fallbacks.nowhere",
        ),
    ),
    Case(
        "claude-code-router",
        "ccr",
        "config.json",
        json.dumps(
            {
                "APIKEY": "secret-1",
                "PORT": 3456,
                "LOG": True,
                "PROXY_URL": "http://10.0.0.1:7890",
                "Providers": [
                    {
                        "name": "deep seek",
                        "api_base_url": "https://api.deepseek.com/chat/completions",
                        "api_key": "$DEEPSEEK_API_KEY",
                        "models": ["deepseek-chat", "deepseek-reasoner"],
                        "transformer": {"use": ["deepseek"]},
                    },
                    {
                        "name": "google",
                        "api_base_url": "https://generativelanguage.googleapis.com/v1beta/models/",
                        "api_key": "k",
                    },
                ],
                "Router": {
                    "default": "deep seek,deepseek-chat",
                    "background": "deep seek,deepseek-chat",
                    "think": "deep seek,deepseek-reasoner",
                },
            }
        ),
        {
            "server": {"api_keys": ["secret-1"], "port": 3456, "proxies": {"all": "http://10.0.0.1:7890"}},
            "providers": {
                "deep-seek": {
                    "kind": "deepseek",
                    "api_key": "${DEEPSEEK_API_KEY}",
                    "models": ["deepseek-chat", "deepseek-reasoner"],
                },
                "google": {"kind": "gemini", "api_key": "k"},
            },
            "models": {"default": "deep-seek/deepseek-chat", "small": "deep-seek/deepseek-chat"},
        },
        ("Providers[0].transformer", "Router.think", "LOG"),
    ),
    Case(
        "CLIProxyAPI",
        "cliproxyapi",
        "config.yaml",
        """
port: 8317
api-keys: [one, two]
auth-dir: ~/.cli-proxy-api
claude-api-key:
  - api-key: sk-ant-1
    base-url: "https://claude.example"
    proxy-url: "http://10.0.0.1:1080"
    models: [{name: claude-sonnet-4-6, alias: sonnet-latest}]
openai-compatibility:
  - name: openrouter
    base-url: https://openrouter.ai/api/v1
    headers: {x-team: mine}
    api-key-entries: [{api-key: k1}, {api-key: k2, proxy-url: "http://10.0.0.2"}]
    models: [{name: "moonshotai/kimi-k2", alias: kimi-k2}]
quota-exceeded: {switch-project: true}
""",
        {
            "server": {"port": 8317, "api_keys": ["one", "two"]},
            "providers": {
                "anthropic": {
                    "kind": "anthropic",
                    "base_url": "https://claude.example",
                    "api_key": "sk-ant-1",
                    "proxies": {"all": "http://10.0.0.1:1080"},
                },
                "openrouter": {
                    "kind": "openrouter",
                    "headers": {"x-team": "mine"},
                    "credentials": [{"api_key": "k1"}, {"api_key": "k2"}],
                },
            },
            "models": {
                "routes": {"kimi-k2": "openrouter/moonshotai/kimi-k2", "sonnet-latest": "anthropic/claude-sonnet-4-6"}
            },
        },
        ("openai-compatibility[0].api-key-entries[1].proxy-url", "auth-dir", "quota-exceeded"),
    ),
    Case(
        "opencode",
        "opencode",
        "opencode.jsonc",
        """{
  // mine, "quoted"
  /* a longer
     comment, */
  "provider": {
    "local": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "http://127.0.0.1:1234/v1",
      "apiKey": "{env:LOCAL_KEY}"}, "models": {"qwen3": {"limit": {"context": 32000, "output": 8000}}}},
    "bedrock": {"npm": "@ai-sdk/amazon-bedrock"}, // not ours
    "secret": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "https://x.example//v1,]",
      "apiKey": "{file:~/key}", "headers": {"x-team": "{env:LOCAL_KEY}"}}},
  },
  "model": "local/qwen3",
  "theme": "dark",
}""",
        {
            "providers": {
                "local": {"kind": "lmstudio", "api_key": "${LOCAL_KEY}", "context_window": {"qwen3": 32000}},
                "secret": {
                    "kind": "openai",
                    "base_url": "https://x.example//v1,]",
                    "headers": {"x-team": "${LOCAL_KEY}"},
                },
            },
            "models": {"default": "local/qwen3"},
        },
        ("provider.bedrock", "provider.secret.options.apiKey", "theme"),
    ),
    Case(
        "LiteLLM's other names",
        "litellm",
        "config.yaml",
        """
model_list:
  - model_name: az
    litellm_params: {model: azure/chat, litellm_credential_name: eu, tpm: 9}
  - model_name: codex
    litellm_params: {model: openai/responses/gpt-5-codex, api_key: sk-1, organization: org-1}
  - model_name: fast
    litellm_params: {model: fireworks_ai/accounts/x, api_key: k}
    model_info: {input_cost_per_token: 0.000003, output_cost_per_token: 0.000015, max_output_tokens: 8000}
  - model_name: own
    litellm_params: {model: some_server/x, api_base: os.environ/OWN_URL, input_cost_per_token: 0.1}
  - model_name: gone
    litellm_params: {model: vertex_ai/x, api_base: "https://v.example"}
  - model_name: lost
    litellm_params: {model: azure/x, litellm_credential_name: nowhere, api_base: "https://z.openai.azure.com"}
credential_list:
  - credential_name: eu
    credential_values: {api_key: os.environ/OPENAI_API_KEY, api_base: "https://eu.openai.azure.com", api_version: "1"}
router_settings: {model_group_alias: {old: {model: fast, hidden: true}, none: nothing}}
""",
        {
            "providers": {
                "azure": {
                    "kind": "azure",
                    "base_url": "https://eu.openai.azure.com",
                    "api_key": "${OPENAI_API_KEY}",
                    "api_version": "1",
                },
                "openai": {"kind": "openai", "api_key": "sk-1", "headers": {"OpenAI-Organization": "org-1"}},
                "fireworks": {"kind": "fireworks", "api_key": "k"},
                "openai-2": {"kind": "openai", "base_url": "${OWN_URL}"},
                "azure-2": {"kind": "azure", "base_url": "https://z.openai.azure.com"},
            },
            "models": {
                "routes": {
                    "az": "azure/chat",
                    "codex": "openai/gpt-5-codex",
                    "fast": "fireworks/accounts/x",
                    "old": "fireworks/accounts/x",
                    "own": "openai-2/x",
                    "lost": "azure-2/x",
                }
            },
            "prices": {"fireworks/accounts/x": {"input": 3.0, "output": 15.0}},
        },
        (
            "model_list[0].litellm_params.tpm: see tokens_per_minute",
            "model_list[2].model_info.max_output_tokens",
            "model_list[4]",
            "model_list[5].litellm_params.litellm_credential_name",
            "prices of openai-2/x",
            "router_settings.model_group_alias.none",
        ),
    ),
    Case(
        "transformers that say more than a dialect",
        "ccr",
        "config.json",
        json.dumps(
            {
                "Providers": [
                    {
                        "name": "a",
                        "api_base_url": "https://a.example/v1/chat/completions",
                        "transformer": {"use": ["deepseek"], "m": {"use": [["maxtoken", {"max_tokens": 9}]]}},
                    },
                    {"name": "b", "api_base_url": "https://b.example/v1", "transformer": {"use": ["vertex-gemini"]}},
                    {"name": "c", "api_base_url": "https://c.example", "transformer": {"use": ["Anthropic"]}},
                ],
                "Router": {"default": "b,x", "background": "c,m"},
            }
        ),
        {
            "providers": {
                "a": {"kind": "openai", "base_url": "https://a.example/v1"},
                "c": {"kind": "anthropic", "base_url": "https://c.example"},
            },
            "models": {"small": "c/m"},
        },
        (
            "Providers[0].transformer.maxtoken: {'max_tokens': 9}",
            "Providers[0].transformer: ",
            "Providers[1]",
            "Providers[2].transformer",
            "Router.default",
        ),
    ),
    Case(
        "several keys of one vendor",
        "cliproxyapi",
        "config.yaml",
        """
host: ""
xai-api-key:
  - {api-key: x1, models: [{name: grok-4.5, alias: grok, max-context-length: 256000}]}
  - {api-key: x2}
  - {api-key: x3, proxy-url: direct, headers: {x-own: mine, x-copied: $ABC}}
openai-compatibility:
  - {name: old, base-url: "https://o.example/v1", api-keys: [k1, k2]}
""",
        {
            "providers": {
                "xai": {
                    "kind": "xai",
                    "credentials": [{"api_key": "x1"}, {"api_key": "x2"}],
                    "context_window": {"grok-4.5": 256000},
                },
                "xai-2": {"kind": "xai", "api_key": "x3", "headers": {"x-own": "mine"}},
                "old": {
                    "kind": "openai",
                    "base_url": "https://o.example/v1",
                    "credentials": [{"api_key": "k1"}, {"api_key": "k2"}],
                },
            },
            "models": {"routes": {"grok": "xai/grok-4.5"}},
        },
        ("host", "xai-api-key[2].headers.x-copied", "xai-api-key[2].proxy-url"),
    ),
    Case(
        "opencode's packages, and names that its server does not know",
        "opencode",
        "opencode.json",
        json.dumps(
            {
                "provider": {
                    "g": {"npm": "@ai-sdk/google", "options": {"apiKey": "k"}},
                    "az": {"npm": "@ai-sdk/azure", "options": {"resourceName": "eu", "apiKey": "k", "timeout": 9}},
                    "lms": {
                        "npm": "@ai-sdk/openai-compatible",
                        "options": {"baseURL": "{env:OWN_URL}", "headers": {"x": "Bearer {env:LOCAL_KEY}"}},
                        "models": {"q": {"id": "qwen/q", "limit": {"context": 9000}, "options": {"a": 1}}},
                    },
                },
                "model": "lms/q",
                "small_model": "anthropic/claude-haiku-4-5",
            }
        ),
        {
            "providers": {
                "g": {"kind": "gemini", "api_key": "k"},
                "az": {"kind": "azure", "base_url": "https://eu.openai.azure.com", "api_key": "k"},
                "lms": {
                    "kind": "openai",
                    "base_url": "${OWN_URL}",
                    "headers": {"x": "Bearer ${LOCAL_KEY}"},
                    "context_window": {"qwen/q": 9000},
                },
                "anthropic": {"kind": "anthropic"},
            },
            "models": {"default": "lms/q", "small": "anthropic/claude-haiku-4-5", "routes": {"lms/q": "lms/qwen/q"}},
        },
        ("provider.az.options.timeout: see first_byte_timeout", "provider.lms.models.q.options"),
    ),
    Case(
        "opencode's second version",
        "opencode",
        "opencode.json",
        json.dumps(
            {
                "providers": {
                    "acme": {
                        "env": ["LOCAL_KEY"],
                        "package": "@opencode/ai/providers/openai-compatible",
                        "settings": {"baseURL": "https://llm.acme.example/v1"},
                        "models": {"qwen3-coder": {"name": "Qwen 3 Coder"}},
                    }
                },
                "model": "acme/qwen3-coder",
            }
        ),
        {
            "providers": {
                "acme": {"kind": "openai", "base_url": "https://llm.acme.example/v1", "api_key": "${LOCAL_KEY}"}
            },
            "models": {"default": "acme/qwen3-coder"},
        },
        (),
    ),
]
WRONG = json.dumps(
    {
        "Providers": [{"name": 1, "models": 5, "api_key": {}}],
        "Router": {"default": 7},
        "api-keys": 3,
        "openai-compatibility": [{"api-key-entries": 1, "models": {}}],
        "model_list": [{"litellm_params": 1}],
        "provider": {"x": {"npm": "@ai-sdk/openai", "models": 1}},
        "model": None,
    }
)
# Those of vendors are used by providers without a key, and by no others.
KEYS = dict.fromkeys(
    ("OPENAI_API_KEY", "DEEPSEEK_API_KEY", "LOCAL_KEY", "OPENROUTER_API_KEY", "XAI_API_KEY"), "key-of-a-variable"
) | {"OWN_URL": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_configuration_is_carried_and_what_is_not_is_said(case: Case, machine: Machine) -> None:
    machine.write(case.file, case.text)

    result = machine.run("import", case.name, case.file)

    text = (machine.folder / "dragoman.toml").read_text()
    said = [
        line.removeprefix("# not converted: ") for line in text.splitlines() if line.startswith("# not converted: ")
    ]
    assert result.exit_code == 0, result.output
    assert tomllib.loads(text) == case.wanted
    assert len(said) == len(case.left), said
    assert all(line.startswith(left) for line, left in zip(sorted(said), sorted(case.left), strict=True)), said


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_program_takes_the_file(case: Case, machine: Machine) -> None:
    machine.write(case.file, case.text)
    machine.run("import", case.name, case.file)

    result = machine.run("config", "check", **KEYS)

    assert result.exit_code == 0, result.output


def test_an_existing_file_is_not_touched(machine: Machine) -> None:
    machine.write("dragoman.toml", "# mine")
    machine.write("config.json", "{}")

    assert machine.run("import", "ccr", "config.json").exit_code == 1
    assert (machine.folder / "dragoman.toml").read_text() == "# mine"


@pytest.mark.parametrize("text", ["", "[1]", '"text"', "[" * 100_000, '{"Providers": 1, "Router": []}', WRONG])
@pytest.mark.parametrize("name", ["litellm", "ccr", "cliproxyapi", "opencode"])
def test_a_file_of_another_shape_ends_in_words(name: str, text: str, machine: Machine) -> None:
    machine.write("config.json", text)

    result = machine.run("import", name, "config.json", "-o", "-")

    assert result.exception is None or isinstance(result.exception, SystemExit)
