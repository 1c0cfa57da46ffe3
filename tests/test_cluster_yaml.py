"""cluster.yaml holds by Ray's own rules, without a cloud."""

from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CONFIG = yaml.safe_load((Path(__file__).parent.parent / "cluster.yaml").read_text())


def test_ray_accepts_it() -> None:
    validate_config(prepare_config(CONFIG))


def test_no_nightly_ray_no_open_ssh_and_spot_workers_from_none() -> None:
    commands = " ".join([*CONFIG["setup_commands"], *CONFIG["head_start_ray_commands"]])
    assert "nightly" not in commands
    assert "constraints.txt" in commands
    rules = CONFIG["provider"]["security_group"]["IpPermissions"]
    ranges = [address["CidrIp"] for rule in rules for address in rule["IpRanges"]]
    assert ranges
    assert "0.0.0.0/0" not in ranges
    gpu = CONFIG["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
