"""docs/rayjob.yaml has the form that KubeRay and Ray's autoscaler read, without a Kubernetes."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import typer.main
import yaml
from ray._private.runtime_env.validation import parse_and_validate_env_vars
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)

from pipelines.cli.app import app
from pipelines.cli.options import parse_assignment
from pipelines.cluster import demand_of
from pipelines.config.run import flatten, with_overrides
from pipelines.recipes import recipe

JOB: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent.parent / "docs" / "rayjob.yaml").read_text()
)


def strict(required: str, optional: str = "", **properties: Any) -> dict[str, Any]:
    """An object with these keys alone; those without a schema of their own may hold anything."""
    names = [*required.split(), *optional.split(), *properties]
    return {
        "type": "object",
        "required": required.split(),
        "additionalProperties": False,
        "properties": {name: properties.get(name, {}) for name in names},
    }


WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
# A whole number in quotes, or a number with one of Kubernetes' units.
QUANTITY = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[kMGTPE]i?)?$"}
RESOURCES = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = strict(
    "name image resources",
    "args command envFrom imagePullPolicy lifecycle ports securityContext volumeMounts workingDir",
    image={"type": "string", "pattern": r"^[\w./-]+:[\w.-]+$"},
    env={"type": "array", "items": strict("name", "value valueFrom")},
    resources=strict("requests limits", requests=RESOURCES, limits=RESOURCES),
    volumeMounts={"type": "array", "items": strict("name mountPath", "readOnly subPath")},
)
POD = strict(
    "",
    "metadata",
    spec=strict(
        "containers",
        "affinity hostNetwork imagePullSecrets initContainers nodeSelector priorityClassName "
        "restartPolicy runtimeClassName schedulerName securityContext serviceAccountName "
        "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes",
        containers={"type": "array", "items": CONTAINER, "minItems": 1},
        tolerations={"type": "array", "items": strict("", "key operator value effect")},
    ),
)
HEAD = strict(
    "rayStartParams template",
    "enableIngress headService labels resources serviceType",
    rayStartParams=WORDS,
    template=POD,
)
GROUP = strict(
    "groupName minReplicas maxReplicas rayStartParams template",
    "labels resources scaleStrategy suspend",
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=WORDS,
    template=POD,
)
CLUSTER = strict(
    "headGroupSpec",
    "gcsFaultToleranceOptions headServiceAnnotations managedBy suspend upgradeStrategy",
    rayVersion={"type": "string"},
    authOptions=strict("mode", "secretName", mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=strict(
        "",
        "env envFrom image imagePullPolicy resources securityContext volumeMounts",
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    ),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": GROUP},
)
SCHEMA = strict(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=strict("name", "annotations labels namespace"),
    spec=strict(
        "entrypoint rayClusterSpec",
        "clusterSelector deletionStrategy entrypointNumCpus entrypointNumGpus "
        "entrypointResources jobId managedBy metadata submitterConfig submitterPodTemplate "
        "suspend",
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        entrypoint={"type": "string"},
        runtimeEnvYAML={"type": "string"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)


def test_it_has_the_form_of_a_rayjob() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(JOB, SCHEMA)


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("spec", "entryPoint", "python"),
        ("spec", "backoffLimit", "2"),
        ("spec rayClusterSpec", "workerGroups", []),
        ("spec rayClusterSpec headGroupSpec rayStartParams", "num-cpus", 0),
        ("spec rayClusterSpec autoscalerOptions", "idleTimeoutMinutes", 10),
        ("spec rayClusterSpec workerGroupSpecs 0", "maxWorkers", 4),
        ("spec rayClusterSpec workerGroupSpecs 0 template spec containers 0", "mounts", []),
        (
            "spec rayClusterSpec workerGroupSpecs 0 template spec containers 0 resources limits",
            "memory",
            "28 GB",
        ),
    ],
)
def test_a_mistake_would_be_seen(place: str, key: str, value: object) -> None:
    job = copy.deepcopy(JOB)
    node: Any = job
    for step in place.split():
        node = node[int(step) if step.isdigit() else step]
    node[key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_rays_autoscaler_reads_it() -> None:
    cluster = JOB["spec"]["rayClusterSpec"]
    config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "test", "namespace": "default"}, "spec": cluster}
    )
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])["resources"]
    assert head["CPU"] == 0
    assert head["driver"] > 0
    assert {name: "GPU" in t["resources"] for name, t in types.items()} == {
        "gpu": True,
        "decode": False,
    }
    for group in cluster["workerGroupSpecs"]:
        assert 0 == group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert types[group["groupName"]]["max_workers"] == group["maxReplicas"] > 0
    assert 1 <= config["idle_timeout_minutes"] <= 30
    assert cluster["rayVersion"] == ray.__version__


def test_the_pods_are_alike_in_what_must_be() -> None:
    cluster = JOB["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    containers = [pod["containers"][0] for pod in pods]
    for key, places in {
        "image": containers,
        "serviceAccountName": pods,
        "restartPolicy": pods,
    }.items():
        assert all(place[key] == places[0][key] for place in places), key
    for container in containers:
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert "volumeMounts" not in container  # videos are read from the bucket


def test_the_token_is_a_secrets_and_mlflow_a_variable() -> None:
    auth = JOB["spec"]["rayClusterSpec"]["authOptions"]
    assert auth == {"mode": "token", "secretName": "adassl-token"}
    environment = yaml.safe_load(JOB["spec"]["runtimeEnvYAML"])
    assert set(environment) == {"env_vars"}
    variables = parse_and_validate_env_vars(environment["env_vars"])
    assert variables is not None
    assert re.match(r"https?://", variables["MLFLOW_TRACKING_URI"])


def test_the_entrypoint_is_a_sweep_that_our_command_line_takes() -> None:
    program, flag, package, name, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    assert (program, flag, package, name) == ("python", "-m", "pipelines", "sweep")
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, arguments).params
    assert given["out"].startswith("s3://")
    assert given["index"].startswith("s3://")
    start = recipe("videos")
    overrides = dict(parse_assignment(text) for text in given["set_"])
    assert overrides.keys() <= flatten(start.model_dump()).keys()
    cluster = with_overrides(start, overrides).cluster
    assert cluster.use_gpu is True  # else decided before a node is up
    assert cluster.wait_minutes > 0
    # A run fits the pod that has its GPU, so that no other is started for it.
    gpu = JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    cpus = int(gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert demand_of(cluster, use_gpu=True).cpus <= cpus
