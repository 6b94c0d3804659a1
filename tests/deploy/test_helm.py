"""The Helm chart, rendered by Helm's own engine: what it makes is what Kubernetes accepts, and fits the program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import load_settings
from tests.docs.blocks import ROOT
from tests.support.manifests import KEYS, ROCKBOT, VERSIONS, check_rights, validate

helm = pytest.importorskip("helm_python", reason="Helm's engine is not installed: pip install helm-python-sdk")

CHART = ROOT / "deploy" / "helm" / "dragoman"
EXAMPLES = {path.stem: path for path in sorted(CHART.parent.glob("*.yaml"))}
SECRET = {"secret": {"existing": "dragoman-secrets"}}
EVERYTHING = {
    "replicas": 3,
    "persistence": {"enabled": False},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "watch"}},
    "ingress": {"enabled": True, "className": "nginx", "path": "/llm", "tlsSecret": "tls"},
    "secret": {"values": {"PROXY_API_KEY": "key-of-the-proxy"}},
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"a": "b"},
    "service": {"annotations": {"a": "b"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "llm", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "networkPolicy": {"ingress": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
    "gracefulTimeout": 60,
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/authorities", "readOnly": True}],
}
NOTHING = {
    **SECRET,
    "persistence": {"enabled": False},
    "disruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
}
VALUES: dict[str, dict[str, Any]] = {
    "smallest": SECRET,
    "everything": EVERYTHING,
    "nothing": NOTHING,
    **{name: yaml.safe_load(path.read_text()) for name, path in EXAMPLES.items()},
}


def render(values: dict[str, Any], name: str = "dragoman") -> dict[str, dict[str, Any]]:
    """The manifests by kind; there is at most one of each."""
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name=name, namespace="llm")
    documents = [each for path, text in files.items() if path.endswith(".yaml") for each in yaml.safe_load_all(text)]
    made = {each["kind"]: each for each in documents if each}
    assert len(made) == sum(each is not None for each in documents)
    return made


@pytest.fixture(params=VALUES.values(), ids=VALUES)
def manifests(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return render(request.param)


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def selectors(value: object) -> Iterator[dict[str, str]]:
    """The labels by which the release's own objects find its pods."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "matchLabels" and "app.kubernetes.io/instance" in inner:
                yield inner
            yield from selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from selectors(inner)


def test_the_oldest_cluster_that_the_chart_allows_is_one_that_is_tested() -> None:
    allowed = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]

    assert allowed == f">={VERSIONS[0]}.0-0"


def test_the_chart_has_no_faults_and_the_version_of_the_program() -> None:
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (version,) = [line for line in (ROOT / "setup.cfg").read_text().splitlines() if line.startswith("version = ")]

    assert helm.lint(str(CHART))["errors"] == []
    assert told["version"] == told["appVersion"] == version.removeprefix("version = ")


def test_each_manifest_fits_its_schema(manifests: dict[str, dict[str, Any]]) -> None:
    for manifest in manifests.values():
        validate(manifest)


def test_every_selector_finds_the_pod(manifests: dict[str, dict[str, Any]]) -> None:
    carried = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()

    for kind, manifest in manifests.items():
        for labels in selectors(manifest):
            assert labels.items() <= carried, kind
    assert manifests["Service"]["spec"]["selector"].items() <= carried


def test_the_settings_of_the_pod_are_accepted(manifests: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(manifests["ConfigMap"]["data"]["config.toml"])
    config.chmod(0o600)

    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    server = load_settings(config, KEYS | variables(container), {}).server

    (port,) = container["ports"]
    assert (server.host, server.port) == ("0.0.0.0", port["containerPort"])
    assert server.api_keys


def test_the_pod_is_given_longer_than_streams_may_take(manifests: dict[str, dict[str, Any]]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])

    streams = float(variables(container)["DRAGOMAN__SERVER__GRACEFUL_TIMEOUT"])
    assert pod["terminationGracePeriodSeconds"] > streams + pause


def test_the_pod_may_do_nothing_that_it_does_not_need(manifests: dict[str, dict[str, Any]]) -> None:
    check_rights(manifests["Deployment"]["spec"]["template"]["spec"])


def test_what_is_scraped_is_the_service_and_the_key_is_one_of_the_secret() -> None:
    made = render(EVERYTHING)
    (endpoint,) = made["ServiceMonitor"]["spec"]["endpoints"]
    credentials = endpoint["authorization"]["credentials"]

    service = made["Service"]
    assert made["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert credentials["name"] == made["Secret"]["metadata"]["name"]
    assert credentials["key"] in made["Secret"]["stringData"]


def test_the_scaler_watches_a_metric_that_is_documented() -> None:
    scaler = render(VALUES["team"])["HorizontalPodAutoscaler"]["spec"]

    (metric,) = scaler["metrics"]
    assert f"`{metric['pods']['metric']['name']}`" in (ROOT / "docs" / "reference" / "metrics.md").read_text()
    assert "replicas" not in render(VALUES["team"])["Deployment"]["spec"]


def test_the_path_of_the_ingress_is_the_one_that_the_gateway_leads_to() -> None:
    made = render(EVERYTHING)
    (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]

    (path,) = made["Ingress"]["spec"]["rules"][0]["http"]["paths"]
    assert variables(container)["DRAGOMAN__SERVER__ROOT_PATH"] == path["path"]


def test_a_platform_may_choose_the_user_of_the_pod() -> None:
    context = render(EVERYTHING)["Deployment"]["spec"]["template"]["spec"]["securityContext"]

    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()


def test_new_values_of_the_charts_own_secret_restart_the_pods() -> None:
    def annotations(key: str) -> dict[str, str]:
        made = render({"secret": {"values": {"PROXY_API_KEY": key}}})
        return made["Deployment"]["spec"]["template"]["metadata"]["annotations"]  # type: ignore[no-any-return]

    assert annotations("one") != annotations("another")
    assert annotations("one") == annotations("one")


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "::/0"])
def test_providers_are_reached_by_both_kinds_of_address(cidr: str) -> None:
    policy = render(SECRET)["NetworkPolicy"]["spec"]

    peers = [peer["ipBlock"]["cidr"] for rule in policy["egress"] for peer in rule.get("to", [])]
    assert cidr in peers


def test_who_is_named_besides_may_ask_through_the_network_policy() -> None:
    (rule,) = render(EVERYTHING)["NetworkPolicy"]["spec"]["ingress"]

    assert {"ipBlock": {"cidr": "192.0.2.0/24"}} in rule["from"]


def test_two_releases_in_one_namespace_share_no_name() -> None:
    names = [{each["metadata"]["name"] for each in render(SECRET, name).values()} for name in ("dragoman-a", "other")]

    assert names[0].isdisjoint(names[1])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "PROXY_API_KEY.* nothing gives them"),
        (SECRET | {"autoscaling": {"enabled": True, "minReplicas": 9}, **NOTHING}, "minReplicas is more"),
        ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
        ({"replicas": 2}, "logins would be renewed by each"),
        ({"autoscaling": {"enabled": True}}, "logins would be renewed by each"),
        ({"serviceMonitor": {"enabled": True}, "config": "[server]"}, "serviceMonitor needs secret"),
        ({"replicaz": 2}, "replicaz"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"persistence": {"size": "much"}}, "size"),
        ({"secret": {"values": {"PROXY_API_KEY": ""}}}, "PROXY_API_KEY"),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else value[:20],
)
def test_values_that_cannot_work_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        render(values)


def test_rockbot_gets_the_sizes_and_the_claim_of_its_own_deployment() -> None:
    pod = render(VALUES["rockbot"])["Deployment"]["spec"]["template"]["spec"]

    (container,) = pod["containers"]
    assert container["resources"] == ROCKBOT
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "claude-credentials"}} in pod["volumes"]
