"""cluster.yaml holds by Ray's rules and by Amazon's, without a cloud."""

import copy
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
import typer.main
import yaml
from botocore.validate import ParamValidator
from moto import mock_aws
from ray._private.ray_constants import RESOURCES_ENVIRONMENT_VARIABLE
from ray._private.resource_and_label_spec import ResourceAndLabelSpec
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.cli.app import app
from pipelines.cli.options import parse_assignment
from pipelines.cluster import demand_of
from pipelines.config.run import with_overrides
from pipelines.recipes import recipe

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
CONFIG: dict[str, Any] = yaml.safe_load(TEXT)
TYPES: dict[str, Any] = CONFIG["available_node_types"]
WORLD = {"0.0.0.0/0", "::/0"}


def wrong_for_amazon(value: Any, shape: Any) -> list[str]:
    """What botocore's model of an operation refuses, the names that it lists included."""
    wrong = [ParamValidator().validate(value, shape).generate_report()]
    pending = [(value, shape)]
    while pending:
        value, shape = pending.pop()
        if shape.type_name == "structure" and isinstance(value, dict):
            known = shape.members
            pending += [(part, known[name]) for name, part in value.items() if name in known]
        elif shape.type_name == "list" and isinstance(value, list):
            pending += [(part, shape.member) for part in value]
        elif getattr(shape, "enum", None) and value not in shape.enum:
            wrong.append(f"{shape.name}: no {value}")
    return [report for report in wrong if report]


def launch_request(node_config: dict[str, Any]) -> dict[str, Any]:
    """A node's config as the request that Ray makes of it."""
    tags = [{"Key": "ray-cluster-name", "Value": "adassl"}]
    return {
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": "subnet-0",
        "KeyName": "ray-autoscaler_us-east-1",
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
        **node_config,
    }


@pytest.fixture(scope="module")
def run_instances() -> Any:
    model = botocore.session.Session().get_service_model("ec2")
    return model.operation_model("RunInstances").input_shape


def test_ray_accepts_it() -> None:
    validate_config(prepare_config(CONFIG))


@pytest.mark.parametrize("name", TYPES)
def test_amazon_knows_every_field_of_every_node(name: str, run_instances: Any) -> None:
    assert wrong_for_amazon(launch_request(TYPES[name]["node_config"]), run_instances) == []


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"InstanceTyp": "m7i.xlarge"}, 'Unknown parameter in input: "InstanceTyp"'),
        ({"InstanceType": "m7i.huge"}, "InstanceType: no m7i.huge"),
        ({"InstanceMarketOptions": {"MarketType": "cheap"}}, "MarketType: no cheap"),
        ({"SecurityGroupIds": "sg-0"}, "Invalid type for parameter SecurityGroupIds"),
        ({"BlockDeviceMappings": [{"Ebs": {"VolumeType": "gp33"}}]}, "VolumeType: no gp33"),
        ({"BlockDeviceMappings": [{"Ebs": {"VolumeSiz": 9}}]}, "VolumeSiz"),
    ],
)
def test_a_mistake_would_be_seen(mistake: dict[str, Any], words: str, run_instances: Any) -> None:
    request = launch_request(TYPES["gpu"]["node_config"] | mistake)
    assert words in "\n".join(wrong_for_amazon(request, run_instances))


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """EC2 without Amazon: moto's, with the profiles that the nodes are to have."""
    from ray.autoscaler._private.aws import config, utils

    monkeypatch.setenv("HOME", str(tmp_path))  # for the SSH key that Ray makes
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        for cache in (utils.resource_cache, utils.client_cache, config._get_subnets_or_die):
            cache.cache_clear()
        for kind in ("head", "worker"):
            name = CONFIG["metadata"][f"{kind}_profile"]["Name"]
            boto3.client("iam").create_instance_profile(InstanceProfileName=name)
        yield boto3.client("ec2", CONFIG["provider"]["region"])
    utils.resource_cache.cache_clear()
    utils.client_cache.cache_clear()


def launched(config: dict[str, Any]) -> dict[str, Any]:
    """What Ray's launcher makes of a config: one instance of each type."""
    prepared = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(config))
    prepared = AWSNodeProvider.bootstrap_config(prepared)
    provider = AWSNodeProvider(prepared["provider"], prepared["cluster_name"])
    instances = {}
    for name, node_type in prepared["available_node_types"].items():
        tags = {"ray-node-name": name, "ray-node-type": "worker", "ray-user-node-type": name}
        (instances[name],) = provider.create_node(node_type["node_config"], tags, 1).values()
        resources = {k: v for k, v in node_type["resources"].items() if k != "memory"}
        assert resources.items() >= TYPES[name]["resources"].items()
        assert resources.get("CPU") == TYPES[name]["resources"]["CPU"]
    return instances


def open_to(client: Any) -> set[str]:
    """Every address range that some group lets in."""
    rules = [
        r for g in client.describe_security_groups()["SecurityGroups"] for r in g["IpPermissions"]
    ]
    ranges = {r["CidrIp"] for rule in rules for r in rule["IpRanges"]}
    return ranges | {r["CidrIpv6"] for rule in rules for r in rule["Ipv6Ranges"]}


@pytest.mark.slow
def test_the_launcher_starts_them_in_our_group_and_opens_nothing(amazon: Any) -> None:
    made = amazon.create_security_group(GroupName="adassl", Description="ours")["GroupId"]
    config = yaml.safe_load(TEXT.replace(CONFIG["metadata"]["security_groups"][0], made))
    instances = launched(config)
    for name, instance in instances.items():
        assert [group["GroupId"] for group in instance.security_groups] == [made]
        assert instance.instance_lifecycle == (None if name == "head" else "spot")
        assert instance.placement["AvailabilityZone"] == "us-east-1a"
    assert open_to(amazon) == set()


@pytest.mark.slow
def test_a_group_of_rays_own_would_be_open_to_the_world(amazon: Any) -> None:
    """Why the groups are named by their ids; `provider.security_group` does not help."""
    config = copy.deepcopy(CONFIG)
    for node_type in config["available_node_types"].values():
        del node_type["node_config"]["SecurityGroupIds"]
    ours = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    ours |= {"IpRanges": [{"CidrIp": "203.0.113.0/24"}]}
    config["provider"]["security_group"] = {"GroupName": "own", "IpPermissions": [ours]}
    launched(config)
    assert "0.0.0.0/0" in open_to(amazon)


def test_the_head_computes_nothing_and_workers_come_and_go() -> None:
    head, *workers = (TYPES[name] for name in ("head", "gpu", "decode"))
    assert head["resources"]["CPU"] == 0
    assert head["resources"]["driver"] > 0
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in workers:
        assert worker["min_workers"] == 0 < worker["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert "driver" not in worker["resources"]
    assert sum(w["max_workers"] for w in workers) == CONFIG["max_workers"]
    assert 1 <= CONFIG["idle_timeout_minutes"] <= 30
    assert CONFIG["provider"]["cache_stopped_nodes"] is False


def test_the_head_needs_no_flags_for_what_it_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher exports a type's resources where it runs `ray start`, which takes them so."""
    monkeypatch.setenv(RESOURCES_ENVIRONMENT_VARIABLE, json.dumps(TYPES["head"]["resources"]))
    taken = ResourceAndLabelSpec().resolve(is_head=True, node_ip_address="127.0.0.1")
    assert taken.num_cpus == 0
    assert taken.resources is not None
    assert taken.resources["driver"] == TYPES["head"]["resources"]["driver"]


def test_versions_are_ours_and_secrets_stay_out() -> None:
    setup = "\n".join(CONFIG["setup_commands"])
    assert "constraints.txt" in setup
    assert "nightly" not in TEXT
    assert "latest/ray" not in TEXT
    mounts = CONFIG["file_mounts"]
    for remote, local in mounts.items():
        assert remote in setup or local == "~/.ray/auth_token"
        assert local.startswith("~") or (ROOT / local).is_file()
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_MODE=token" in setup
    (start,) = (c for c in CONFIG["head_start_ray_commands"] if "ray start" in c)
    assert "--dashboard-host=127.0.0.1" in start
    for secret in (r"AKIA\w{16}", r"(?i)secret\w*\s*[:=]", r"(?i)password", r"\b[0-9a-f]{32,}\b"):
        assert not re.search(secret, TEXT)


STUBS = {
    "curl": """case "$*" in
        *astral.sh*) echo 'cp "$STUBS/said" ~/.local/bin/uv' ;;
        *) echo "curl $*" >> "$SAID" ;; esac""",
    "nvidia-smi": "exit 1",
    "said": 'echo "$(basename "$0") $*" >> "$SAID"',
}


def test_setup_runs_in_a_shell_and_again_does_little(tmp_path: Path) -> None:
    stubs, home, said = tmp_path / "stubs", tmp_path / "home", tmp_path / "said.txt"
    stubs.mkdir()
    (home / ".local/bin").mkdir(parents=True)
    for name, body in STUBS.items():
        (stubs / name).write_text(f"#!/bin/bash\n{body}\n")
        (stubs / name).chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{stubs}:{os.environ['PATH']}"}
    environment |= {"STUBS": str(stubs), "SAID": str(said)}

    def set_up() -> str:
        said.write_text("")
        for command in CONFIG["setup_commands"]:
            shell = f"[ ! -e ~/.bashrc ] || . ~/.bashrc; {command}"
            subprocess.run(["bash", "-ec", shell], env=environment, check=True, timeout=20)
        return said.read_text()

    first, second = set_up(), set_up()
    for words in (
        "uv venv --quiet --allow-existing --python 3.12",
        f"--torch-backend=cpu --constraint {home}/adassl/constraints.txt",
    ):
        assert words in first
    assert [line.split()[0] for line in second.splitlines()] == ["uv", "uv"]
    assert (home / ".bashrc").read_text().count(".adassl") == 1


def test_the_stack_fits_the_cluster() -> None:
    """docs/aws.yaml: the names are those of cluster.yaml, and nobody is let in by mistake."""

    class Loader(yaml.SafeLoader):
        pass

    for tag in ("!Ref", "!Sub", "!GetAtt"):
        Loader.add_constructor(tag, lambda loader, node: node.value)
    stack = yaml.load((ROOT / "docs" / "aws.yaml").read_text(), Loader)
    resources = {name: r["Properties"] for name, r in stack["Resources"].items()}
    for kind in ("worker", "head"):
        profile = resources[f"{kind.capitalize()}Profile"]
        assert {"Name": profile["InstanceProfileName"]} == CONFIG["metadata"][f"{kind}_profile"]
    pattern = re.compile(stack["Parameters"]["SshFrom"]["AllowedPattern"])
    assert pattern.fullmatch("203.0.113.7/32")
    assert not any(pattern.fullmatch(world) for world in WORLD)
    (ssh,) = resources["SecurityGroup"]["SecurityGroupIngress"]
    assert (ssh["FromPort"], ssh["ToPort"], ssh["CidrIp"]) == (22, 22, "SshFrom")
    assert "CidrIp" not in resources["AmongNodes"]
    ends = resources["HeadRole"]["Policies"][0]["PolicyDocument"]["Statement"][1]
    assert CONFIG["cluster_name"] in json.dumps(ends["Condition"])


def test_the_documented_jobs_are_commands_of_ours() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    jobs = [shlex.split(line) for line in page.splitlines() if line.startswith("ray job submit")]
    assert len(jobs) == 2
    for job in jobs:
        options, entrypoint = job[: job.index("--")], job[job.index("--") + 1 :]
        if "--runtime-env-json" in options:
            environment = json.loads(options[options.index("--runtime-env-json") + 1])
            assert environment.keys() == {"env_vars"}
        assert entrypoint[:3] == ["python", "-m", "pipelines"]
        command: Any = typer.main.get_command(app)
        arguments = entrypoint[3:]
        while hasattr(command, "commands"):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        given = command.make_context("", arguments).params
        assert given["out"].startswith("s3://")
    overrides = dict(parse_assignment(text) for text in given["set_"])
    cluster = with_overrides(recipe("videos"), overrides).cluster
    assert cluster.wait_minutes > 0
    # A trial is one GPU node and no more.
    assert demand_of(cluster, use_gpu=True).cpus <= TYPES["gpu"]["resources"]["CPU"]
    assert given["max_concurrent"] <= TYPES["gpu"]["max_workers"]
