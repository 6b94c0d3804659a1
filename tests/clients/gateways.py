"""The gateway that the programs talk to: `dragoman serve` with a stand-in, or a real peer, behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.clients.standins.stand_in import StandIn
from tests.support.gateway_process import GatewayProcess

KEY = "key-of-the-client"


def gateway_to(upstream: StandIn, folder: Path) -> GatewayProcess:
    """A gateway that leads every model to the stand-in."""
    return gateway({"up": upstream.settings}, f"up/{upstream.model}", folder)


def gateway(providers: Mapping[str, Mapping[str, object]], model: str, folder: Path) -> GatewayProcess:
    """A gateway with these providers, beside its own demo, that leads every model to one."""
    config = write_config(providers, model, folder)
    return GatewayProcess(folder, command=("dragoman", "serve", "--config", str(config)))


def write_config(providers: Mapping[str, Mapping[str, object]], model: str, folder: Path) -> Path:
    """The configuration file of such a gateway."""
    tables: dict[str, dict[str, object]] = {
        "server": {"api_keys": [KEY]},
        "models": {"default": model, "small": model, "big": model},
    }
    tables |= {f"providers.{name}": dict(settings) for name, settings in providers.items()}
    config = folder / "dragoman.toml"
    config.write_text("\n".join(_spell_table(name, table) for name, table in tables.items()))
    return config


def _spell_table(name: str, table: Mapping[str, object]) -> str:
    """Text and lists of text are spelt alike in TOML and JSON."""
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()), ""])
