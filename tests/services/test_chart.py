"""The Helm chart, rendered by Helm itself and judged by the Kubernetes schemas, promtool and `driftline check`."""

import json
import pathlib
import subprocess

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from helm_python import _native

from server import TOP

CHART = TOP / "helm" / "driftline"
VALUES = {path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*-values.yaml"))}

# The oldest version that the chart admits, and the newest that the validator knows.
VERSIONS = ["1.29", "1.37"]

# Kinds of the Prometheus operator: the validator has no schema of them.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


def render(values, version="1.37", name="rel"):
    """Manifests by kind and name."""
    options = {"name": name, "namespace": "ml", "kube_version": f"v{version}.0", "api_versions": ["monitoring.coreos.com/v1"]}
    with helm.Chart.load(str(CHART)) as chart:
        files = json.loads(_native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(options)))
    # Depending on the version of the library the files are the answer or stand within it.
    files = files.get("manifests", files)
    documents = [document for path, text in files.items() if path.endswith(".yaml") for document in yaml.safe_load_all(text) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pod_of(manifests):
    return next(document for (kind, _), document in manifests.items() if kind == "StatefulSet")["spec"]["template"]


def test_there_are_values_for_what_the_chart_can_do():
    assert len(VALUES) >= 8


@pytest.mark.parametrize("name", sorted(VALUES))
@pytest.mark.parametrize("version", VERSIONS)
def test_the_linter_is_content(name, version):
    findings = helm.lint(str(CHART), VALUES[name], strict=True, kube_version=f"v{version}.0")
    messages = [finding for finding in findings.get("messages", []) if "icon is recommended" not in str(finding)]
    assert not messages, messages


@pytest.mark.parametrize("name", sorted(VALUES))
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(name, version):
    manifests = render(VALUES[name], version)
    assert {"StatefulSet", "Service", "ConfigMap"} <= {kind for kind, _ in manifests}
    for (kind, _), document in manifests.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_the_pod_is_hardened(name):
    pod = pod_of(render(VALUES[name]))["spec"]
    container = next(container for container in pod["containers"] if container["name"] == "driftline")
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["resources"]["limits"]["memory"]
    rules = [mount for mount in container["volumeMounts"] if mount["name"] in ("rules", "config")]
    assert rules and not any("subPath" in mount for mount in rules), "a file mounted by subPath never changes"


def test_a_change_of_rules_does_not_restart_and_a_change_of_config_does():
    def checksum(values):
        return pod_of(render(values))["metadata"]["annotations"]["checksum/config"]

    values = VALUES["rules"]
    other_rules = json.loads(json.dumps(values))
    other_rules["rules"]["loan.yaml"]["groups"][0]["name"] = "another"
    assert checksum(values) == checksum(other_rules)
    other_config = json.loads(json.dumps(values))
    other_config["config"]["models"][0]["name"] = "another"
    assert checksum(values) != checksum(other_config)


def test_replicas_that_keep_their_state_in_kafka_need_no_volume():
    (name, replicas) = next(key for key in render(VALUES["replicas"]) if key[0] == "StatefulSet")
    spec = render(VALUES["replicas"])[(name, replicas)]["spec"]
    assert spec["replicas"] == 3 and "volumeClaimTemplates" not in spec and "persistentVolumeClaimRetentionPolicy" not in spec
    volume = lambda manifests: next(volume for volume in pod_of(manifests)["spec"]["volumes"] if volume["name"] == "state")
    assert volume(render(VALUES["replicas"]))["emptyDir"] == {"sizeLimit": "20Gi"}
    mounts = pod_of(render(VALUES["replicas"]))["spec"]["containers"][0]["volumeMounts"]
    assert any(mount["name"] == "state" and mount["mountPath"] == "/var/lib/driftline" for mount in mounts)
    assert volume(render(VALUES["ephemeral"]))["emptyDir"] == {"sizeLimit": "256Mi"}
    assert "volumeClaimTemplates" in next(document for key, document in render(VALUES["minimal"]).items() if key[0] == "StatefulSet")["spec"]


def config_of(manifests):
    texts = [document["data"]["driftline.yaml"] for (kind, _), document in manifests.items() if kind == "ConfigMap" and "driftline.yaml" in document["data"]]
    return yaml.safe_load(texts[0])


@pytest.mark.parametrize(
    ("name", "persistence", "disk"),
    [
        ("minimal", {}, "1792MiB"),
        ("minimal", {"size": "1.5G"}, "1251MiB"),
        ("minimal", {"size": 4 << 30}, "3584MiB"),
        ("ephemeral", {}, "224MiB"),
        ("ephemeral", {"ephemeralSize": "1Gi"}, "896MiB"),
        ("replicas", {}, "17920MiB"),
        ("replicas", {"cacheSize": "12Gi"}, "10752MiB"),
    ],
)
def test_the_state_is_full_before_its_volume_is(name, persistence, disk):
    assert config_of(render(merged(VALUES[name], {"persistence": persistence})))["limits"]["disk"] == disk


def test_a_disk_that_is_named_stays_and_so_does_the_memory():
    limits = {"disk": "1GiB", "memory": "256MiB"}
    assert config_of(render(merged(VALUES["minimal"], {"config": {"limits": limits}})))["limits"] == limits
    limits = {"memory": "256MiB"}
    assert config_of(render(merged(VALUES["minimal"], {"config": {"limits": limits}})))["limits"] == {**limits, "disk": "1792MiB"}


def test_the_service_monitor_brings_the_token_along():
    monitor = render(VALUES["token"])[("ServiceMonitor", "rel-driftline")]
    assert monitor["spec"]["endpoints"][0]["authorization"] == {"credentials": {"name": "driftline-token", "key": "bearer"}}


def test_promtool_accepts_the_alerts(tmp_path):
    rule = render(VALUES["monitoring"])[("PrometheusRule", "rel-driftline")]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 rules found" in done.stdout


REFUSED = {
    "no broker": ({"config": {"kafka": {"bootstrap_servers": []}}}, "config.kafka.bootstrap_servers is empty"),
    "no topic": ({"config": {"kafka": {"topics": None}}}, "missing property 'topics'"),
    "no model": ({"config": {"models": []}}, "config.models is empty"),
    "two baselines": ({"baselines": {"existingClaim": "another"}}, "exclude each other"),
    "two sources of rules": ({"rules": {"a.yaml": "groups: []"}, "existingRulesConfigMap": "another"}, "exclude each other"),
    "reading for nobody": ({"config": {"http": {"open_reads": False}}}, "set auth.existingSecret"),
    "replicas of local state": ({"replicas": 2}, "config.state.mode: cluster"),
    "an unknown key": ({"replicaCount": 2}, "replicaCount"),
    "a wrong type": ({"replicas": "two"}, "replicas"),
    "a volume without room": ({"persistence": {"size": "200Mi"}}, "persistence.size is too small"),
    "a rule file that no glob finds": ({"rules": {"a.yml": "groups: []"}}, "a.yml"),
}


def merged(base, change):
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return {key: merged(base.get(key), change[key]) if key in change else base[key] for key in {**base, **change}}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_mistake_is_refused_with_its_key(case):
    change, word = REFUSED[case]
    render(VALUES["minimal"])
    with pytest.raises(helm.HelmError) as refusal:
        render(merged(VALUES["minimal"], change))
    assert word in str(refusal.value)


def test_it_works_as_a_part_of_another_chart(tmp_path):
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts" / "driftline").symlink_to(CHART)
    (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 0.1.0\ndependencies: [ { name: driftline, version: 0.1.0, condition: driftline.enabled } ]\n")
    values = {"global": {"anything": True}, "driftline": {**VALUES["minimal"], "enabled": True}}
    with helm.Chart.load(str(parent)) as chart:
        assert any("statefulset" in path for path in chart.render(values, name="rel", namespace="ml"))


@pytest.mark.parametrize("name", sorted(VALUES))
def test_driftline_accepts_the_rendered_files(name, driftline, baseline, tmp_path):
    """The files as the pod sees them, their folder moved to a temporary one."""
    values = json.loads(json.dumps(VALUES[name]))
    manifests = render(values)
    config = next(document["data"]["driftline.yaml"] for (kind, _), document in manifests.items() if kind == "ConfigMap" and "driftline.yaml" in document["data"])
    root = tmp_path / "etc"
    for folder in ("config", "rules", "baselines", "secrets"):
        (root / folder).mkdir(parents=True)
    for secret in ("kafka/password", "smtp/password", "webhooks/signing", "http/bearer"):
        (root / "secrets" / secret).parent.mkdir(exist_ok=True)
        (root / "secrets" / secret).write_text("whsec_c2VjcmV0LW9mLXRoZS1jaGFydC10ZXN0")
    moved = config.replace("/etc/driftline", str(root)).replace("/var/lib/driftline", str(tmp_path / "state"))
    (root / "config" / "driftline.yaml").write_text(moved)
    model = yaml.safe_load(config)["models"][0]
    (root / "baselines" / pathlib.Path(model["baseline"]).name).write_bytes(baseline_for(model["name"], baseline))
    arguments = ["check", "--config", root / "config" / "driftline.yaml"]
    for (kind, owner), document in manifests.items():
        if kind == "ConfigMap" and owner.endswith("-rules"):
            for file, text in document["data"].items():
                (root / "rules" / file).write_text(text.replace("/etc/driftline", str(root)))
            arguments += ["--rules", root / "rules" / "*.yaml"]
    driftline(*arguments, env={"POD_NAME": "rel-driftline-0", "PATH": "/usr/bin:/bin"})


def baseline_for(model, baseline):
    """The car_loan baseline under the name of that model."""
    document = json.loads(baseline.read_bytes())
    document["model"] = model
    return json.dumps(document).encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sidecar_of_the_readme_is_valid(version):
    text = (CHART / "README.md").read_text().split("<!-- sidecar -->\n```yaml\n")[1].split("```")[0]
    deployment = yaml.safe_load(text)
    kubernetes_validate.validate(deployment, version, strict=True)
    sidecar = deployment["spec"]["template"]["spec"]["initContainers"][0]
    assert sidecar["restartPolicy"] == "Always" and "startupProbe" not in sidecar and "readinessProbe" not in sidecar


def test_the_least_values_of_the_readme_render():
    text = (CHART / "README.md").read_text().split("must say:\n\n```yaml\n")[1].split("```")[0]
    render(yaml.safe_load(text))
