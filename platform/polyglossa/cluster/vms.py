"""Files for `ray up`: the spec's groups as virtual machines on AWS and Google Cloud. Pure data."""

from typing import Any

from polyglossa.cluster.spec import ClusterSpec, Group, Node

Json = dict[str, Any]

_TOKEN_IN_CONTAINER = "/home/ray/.ray/auth_token"
_STOP = "ray stop"


def vm_files(spec: ClusterSpec, version: str) -> dict[str, Json]:
    """Return the files, name → content."""
    return {"aws.yaml": aws(spec, version), "gcp.yaml": gcp(spec, version)}


def aws(spec: ClusterSpec, version: str) -> Json:
    """Describe the cluster for EC2."""
    provider = {"type": "aws", "region": spec.clouds.aws_region, "cache_stopped_nodes": False}
    return _file(spec, version, provider, _aws_node)


def gcp(spec: ClusterSpec, version: str) -> Json:
    """Describe the cluster for Compute Engine."""
    clouds = spec.clouds
    provider = {
        "type": "gcp",
        "region": clouds.gcp_region,
        "availability_zone": clouds.gcp_zone,
        "project_id": clouds.gcp_project,
    }
    return _file(spec, version, provider, _gcp_node)


def _file(spec: ClusterSpec, version: str, provider: Json, node_config: Any) -> Json:
    types: Json = {
        "head": {
            "resources": {"CPU": 0, "GPU": 0},
            "labels": {"group": "head"},
            "min_workers": 0,
            "max_workers": 0,
            "node_config": node_config(spec.head),
        }
    }
    for name, group in spec.groups.items():
        types[name] = {
            "resources": {"CPU": group.cpus, "GPU": group.gpus},
            "labels": spec.labels_of(name),
            "min_workers": group.min,
            "max_workers": group.max,
            "node_config": node_config(group),
            "docker": {"worker_image": spec.image_of(group, version)},
        }
    return {
        "cluster_name": spec.name,
        "max_workers": sum(group.max for group in spec.groups.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": spec.idle_seconds / 60,
        "provider": provider,
        "auth": {"ssh_user": "ubuntu"},
        "docker": {
            "image": spec.image_of(spec.head, version),
            "container_name": spec.name,
            "pull_before_run": True,
            "run_options": ["--ulimit nofile=65536:65536", f"--volume {spec.storage.mount}:{spec.storage.mount}"],
        },
        "file_mounts": {_TOKEN_IN_CONTAINER: spec.authentication.token_file},
        "available_node_types": types,
        "head_node_type": "head",
        "head_start_ray_commands": [_STOP, f"{_environment()} ray start --head {_head_options()}"],
        "worker_start_ray_commands": [
            _STOP,
            f"{_environment()} ray start --address=$RAY_HEAD_IP:6379 --object-manager-port=8076",
        ],
    }


def _environment() -> str:
    return f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={_TOKEN_IN_CONTAINER}"


def _head_options() -> str:
    options = ("port=6379", "object-manager-port=8076", "num-cpus=0", "num-gpus=0", "dashboard-host=127.0.0.1")
    return " ".join(f"--{option}" for option in (*options, "autoscaling-config=~/ray_bootstrap_config.yaml"))


def _aws_node(node: Node) -> Json:
    config: Json = {
        "InstanceType": node.machines.aws,
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": node.disk_gib, "VolumeType": "gp3"}}],
    }
    if isinstance(node, Group) and node.spot:
        config["InstanceMarketOptions"] = {"MarketType": "spot"}
    return config


def _gcp_node(node: Node) -> Json:
    # CUDA 13, which torch 2.13 is built for, takes a driver of the 580 series.
    image = "common-cu129-ubuntu-2204-nvidia-580" if node.gpus else "common-cpu"
    disk = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {
            "diskSizeGb": node.disk_gib,
            "sourceImage": f"projects/deeplearning-platform-release/global/images/family/{image}",
        },
    }
    config: Json = {"machineType": node.machines.gcp, "disks": [disk]}
    if node.gpus and node.machines.gcp_accelerator:
        config["guestAccelerators"] = [
            {"acceleratorType": node.machines.gcp_accelerator, "acceleratorCount": node.gpus}
        ]
    scheduling: Json = {}
    if node.gpus:
        scheduling["onHostMaintenance"] = "TERMINATE"
    if isinstance(node, Group) and node.spot:
        scheduling |= {"preemptible": True}
    if scheduling:
        config["scheduling"] = scheduling
    return config
