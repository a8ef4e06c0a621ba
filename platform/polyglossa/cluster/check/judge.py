"""Judge what nodes told against the spec and the profile. Pure: facts in, findings out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from polyglossa.cluster.check.facts import NodeFacts
from polyglossa.cluster.spec import ClusterSpec
from polyglossa.pipeline.stages import STAGES
from polyglossa.recipe import Profile
from polyglossa.recipe.placement import GROUP_LABEL

MOST_SKEW_SECONDS = 2.0
LEAST_SHM = 256 * 1024**2
"""NCCL's and gloo's transports take tens of MiB a peer; a container's default of 64 MiB ends in a bus error."""


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    where: str
    good: bool
    found: str
    to_do: str = ""


@dataclass(frozen=True)
class Demand:
    """What the workers of a stage ask of a group."""

    stage: str
    group: str
    workers: int
    cpus: float
    gpus: float


def demands(profile: Profile) -> list[Demand]:
    """List what a profile asks of groups."""
    found = []
    for stage in STAGES.values():
        if stage.placement is None:
            continue
        placement = stage.placement_in(profile)
        group = placement.labels.get(GROUP_LABEL)
        if group is not None:
            found.append(Demand(stage.name, group, max(1, placement.workers), placement.cpus, placement.gpus))
    return found


def judge(
    spec: ClusterSpec,
    asked: Sequence[Demand],
    nodes: Sequence[NodeFacts],
    missing: Mapping[str, str],
    skews: Mapping[str, float],
    version: str,
) -> list[Finding]:
    """Judge a cluster.

    Args:
        spec: the cluster's.
        asked: what the profile asks of groups.
        nodes: what nodes told.
        missing: groups from which no node told anything → why.
        skews: node → seconds that its clock is ahead of the driver's.
        version: of this package.
    """
    return [
        *_versions(spec, nodes, version),
        *_images(spec, nodes, version),
        *_groups(spec, asked, nodes, missing),
        *_storage(nodes, missing),
        *_clocks(nodes, skews),
        *_devices(spec, nodes),
        *_shared_memory(nodes),
    ]


def _by(values: Mapping[str, str]) -> str:
    """Group nodes by value: `2.60.0 on 3 nodes`."""
    return ", ".join(f"{value} on {list(values.values()).count(value)}" for value in sorted(set(values.values())))


def _versions(spec: ClusterSpec, nodes: Sequence[NodeFacts], version: str) -> Iterator[Finding]:
    wanted = {"Ray": spec.ray, "Python": spec.python, "Polyglossa": version}
    for name, want in wanted.items():
        told = {_name(node): getattr(node, name.lower()) for node in nodes}
        most = max(set(told.values()), key=list(told.values()).count, default="")
        odd = [node for node, value in told.items() if value != most]
        if odd:
            yield Finding(
                f"{name}, one version",
                ", ".join(odd),
                False,
                _by(told),
                f"run the image of version {version} on every node; start the odd ones anew",
            )
            continue
        same = most == want or (name == "Python" and most.startswith(f"{want}."))
        yield Finding(f"{name}, one version", "all nodes", True, most if same else f"{most} (the spec says {want})")


def _images(spec: ClusterSpec, nodes: Sequence[NodeFacts], version: str) -> Iterator[Finding]:
    told = [node for node in nodes if node.image is not None]
    wrong = [node for node in told if node.image != _image(spec, node, version)]
    for node in wrong:
        yield Finding(
            "image", _name(node), False, str(node.image), f"the spec says {_image(spec, node, version)}: apply it again"
        )
    if told and not wrong:
        yield Finding("image", "all nodes", True, _by({_name(node): str(node.image) for node in told}))


def _image(spec: ClusterSpec, node: NodeFacts, version: str) -> str:
    return spec.image_of(spec.groups.get(node.group, spec.head), version)


def _groups(
    spec: ClusterSpec, asked: Sequence[Demand], nodes: Sequence[NodeFacts], missing: Mapping[str, str]
) -> Iterator[Finding]:
    for demand in asked:
        where = f"{demand.stage} on {demand.group}"
        wants = f"{demand.workers} workers of {demand.cpus:g} CPUs" + (
            f" and {demand.gpus:g} GPUs" if demand.gpus else ""
        )
        if demand.group not in spec.groups:
            yield Finding(
                "group", where, False, "no such group", f"the spec has {', '.join(spec.groups)}: change the profile"
            )
            continue
        if demand.group in missing:
            yield Finding(
                "group",
                where,
                False,
                missing[demand.group],
                f"{wants}: compare the group with the profile's {demand.stage}",
            )
            continue
        node = next((one for one in nodes if one.group == demand.group), None)
        if node is None:
            yield Finding("group", where, True, "has no node now, and none was started")
            continue
        fits = _workers_on(node, demand)
        if not fits:
            yield Finding(
                "group",
                where,
                False,
                f"a node has {node.cpus:g} CPUs and {node.gpus:g} GPUs",
                f"{wants}: give the group larger nodes, or the stage less",
            )
            continue
        needed, most = math.ceil(demand.workers / fits), spec.groups[demand.group].max
        yield Finding(
            "group",
            where,
            needed <= most,
            f"{wants} take {needed} nodes of at most {most}",
            "" if needed <= most else f"raise groups.{demand.group}.max, or take fewer workers",
        )


def _workers_on(node: NodeFacts, demand: Demand) -> int:
    by_cpu = node.cpus // demand.cpus if demand.cpus else math.inf
    by_gpu = node.gpus // demand.gpus if demand.gpus else math.inf
    fits = min(by_cpu, by_gpu)
    return demand.workers if fits == math.inf else int(fits)


def _storage(nodes: Sequence[NodeFacts], missing: Mapping[str, str]) -> Iterator[Finding]:
    for group in sorted({node.group for node in nodes}):
        broken = [node for node in nodes if node.group == group and node.storage]
        for node in broken:
            yield Finding(
                "storage",
                _name(node),
                False,
                node.storage,
                "check the volume or the bucket's credentials of this group: its nodes must read, write and rename",
            )
        if not broken:
            yield Finding("storage", group, True, "reads, writes, renames, and shows what others wrote")
    for group in missing:
        yield Finding("storage", group, False, "nobody could look", "see the group's line")


def _clocks(nodes: Sequence[NodeFacts], skews: Mapping[str, float]) -> Iterator[Finding]:
    wrong = {_name(node): skews[node.node] for node in nodes if abs(skews.get(node.node, 0.0)) > MOST_SKEW_SECONDS}
    for name, skew in wrong.items():
        yield Finding("clock", name, False, f"{skew:+.1f} s", "start NTP (chrony) on the machine")
    if not wrong and nodes:
        yield Finding("clock", "all nodes", True, f"within {MOST_SKEW_SECONDS:g} s of this one")


def _devices(spec: ClusterSpec, nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    drivers = set()
    for node in nodes:
        if not node.gpus:
            continue
        drivers |= {device.rpartition(",")[2].strip() for device in node.devices}
        enough = len(node.devices) >= node.gpus
        yield Finding(
            "GPUs",
            _name(node),
            enough,
            f"Ray counts {node.gpus:g}, the driver shows {', '.join(node.devices) or 'none'}",
            "" if enough else "install the driver, or the device plugin's runtime class, on the machine",
        )
    if len(drivers) > 1:
        yield Finding(
            "GPU driver, one version", "GPU nodes", False, ", ".join(sorted(drivers)), "update the older ones"
        )


def _shared_memory(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    small = [node for node in nodes if node.shm_free < LEAST_SHM]
    for node in small:
        yield Finding(
            "/dev/shm",
            _name(node),
            False,
            f"{node.shm_free / 1024**2:.0f} MiB free",
            "mount a memory volume at /dev/shm (rendered manifests do), or start the container with --shm-size",
        )
    if not small and nodes:
        least = min(node.shm_free for node in nodes)
        yield Finding("/dev/shm", "all nodes", True, f"{least / 1024**3:.1f} GiB free at least")


def _name(node: NodeFacts) -> str:
    return f"{node.group} {node.node[:8]}"
