"""Whether Kubernetes takes a manifest: its schemas of the oldest version that the chart allows, and of the newest."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate

VERSIONS = ("1.27", kubernetes_validate.latest_version().rpartition(".")[0])

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# Of the fields that Prometheus' operator knows, those that are used here.
_SERVICE_MONITOR = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "spec": {
            "type": "object",
            "required": ["endpoints", "selector"],
            "additionalProperties": False,
            "properties": {
                "selector": {"type": "object", "additionalProperties": False, "properties": {"matchLabels": _TEXTS}},
                "endpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string"},
                            "interval": {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"},
                            "authorization": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {
                                    "type": {"type": "string"},
                                    "credentials": {
                                        "type": "object",
                                        "required": ["key"],
                                        "additionalProperties": False,
                                        "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


# What the settings of a deployment refer to.
KEYS = dict.fromkeys(("PROXY_API_KEY", "ANTHROPIC_API_KEY"), "k" * 32) | {
    "LEDGER_URL": "postgresql://u:secret-word@db/dragoman",
    "REDIS_URL": "redis://redis:6379/0",
}
# The sizes of the deployment that Rockbot has.
ROCKBOT = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}}


def validate(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "ServiceMonitor":
        jsonschema.validate(manifest, _SERVICE_MONITOR)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def check_rights(pod: dict[str, Any]) -> None:
    """A pod may do nothing that it does not need."""
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
