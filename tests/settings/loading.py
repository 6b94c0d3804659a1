"""Loads settings as a machine with one home would, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.settings import Settings, load_settings

# What oca-proxy may have left.
OCA_PROXY = {
    "model_mapping": {"gpt-4": "oca/gpt-4.1", "claude-3-opus": {"target": "openai-o3", "reasoning_effort": "high"}},
    "default_model": "gpt-5",
    "default_reasoning_effort": "medium",
    "base_url": "http://127.0.0.1:1/oca",
    "idcs_url": "http://127.0.0.1:2",
    "log_level": "WARNING",
    "port": 8669,
}


def load(home: Path, file: str | None = None, overrides: Mapping[str, Any] | None = None, **environ: str) -> Settings:
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")} | environ
    path = None
    if file is not None:
        path = home / "settings.toml"
        path.write_text(file)
    return load_settings(path, environ, overrides or {})


def refused(home: Path, file: str | None = None, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(home, file, **environ)
    return caught.value


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
