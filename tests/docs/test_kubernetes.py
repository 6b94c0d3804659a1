"""The manifests in deploy/kubernetes are what Kubernetes accepts, and fit the program that they run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import ServerSettings
from tests.docs.blocks import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.31"
MANIFESTS = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
CONFIGS = sorted(KUBERNETES.rglob("config.toml"))


def name(path: Path) -> str:
    return str(path.relative_to(KUBERNETES))


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def pod() -> dict[str, Any]:
    (deployment,) = documents(KUBERNETES / "base" / "deployment.yaml")
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def labels_asked_for() -> Iterator[tuple[str, dict[str, str]]]:
    for path in MANIFESTS:
        for document in documents(path):
            spec = document.get("spec", {})
            selector = spec.get("podSelector", spec.get("selector")) or {}
            labels = selector.get("matchLabels", selector)
            if labels:
                yield f"{name(path)}", labels


@pytest.mark.parametrize("path", MANIFESTS, ids=name)
def test_a_manifest_fits_its_schema(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("folder", ["base", "rockbot"])
def test_each_file_that_kustomize_is_told_of_exists(folder: str) -> None:
    (told,) = documents(KUBERNETES / folder / "kustomization.yaml")

    for resource in told["resources"]:
        assert (KUBERNETES / folder / resource).exists(), resource
    for generator in told["configMapGenerator"]:
        assert all((KUBERNETES / folder / file).is_file() for file in generator["files"])


def test_every_selector_finds_the_pod() -> None:
    carried = pod()["metadata"]["labels"].items()

    selectors = list(labels_asked_for())

    assert len(selectors) >= 4
    for where, labels in selectors:
        assert labels.items() <= carried, where


def test_the_pod_may_do_nothing_that_it_does_not_need() -> None:
    spec = pod()["spec"]
    (container,) = spec["containers"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pod_is_given_longer_than_streams_may_take() -> None:
    (config,) = [path for path in CONFIGS if path.parent.name == "base"]
    told = tomllib.loads(config.read_text())["server"].get("graceful_timeout", ServerSettings().graceful_timeout)

    spec = pod()["spec"]

    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > told + pause


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_the_settings_of_the_pod_are_accepted(path: Path) -> None:
    from app.settings import load_settings

    settings = load_settings(path, {"PROXY_API_KEY": "k" * 32, "ANTHROPIC_API_KEY": "sk-ant-test"}, {})

    assert settings.server.api_keys
    assert "dragoman" in settings.server.allowed_hosts
