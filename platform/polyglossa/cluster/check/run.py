"""Ask a live cluster: join it as a driver, start a node of each group that the profile uses, let nodes tell."""

import posixpath
import secrets
import time
from collections.abc import Sequence

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from polyglossa import __version__
from polyglossa.artifact import clear, open_storage
from polyglossa.cluster.check.facts import Asked, NodeFacts, look
from polyglossa.cluster.check.gpus import sum_over_gpus
from polyglossa.cluster.check.judge import Demand, Finding, demands, judge
from polyglossa.cluster.check.token import ask_without_token
from polyglossa.cluster.spec import ClusterSpec
from polyglossa.recipe import Profile
from polyglossa.recipe.placement import GROUP_LABEL

_ANSWER_SECONDS = 120.0


def check(spec: ClusterSpec, profile: Profile, storage: str, *, wait_seconds: float, starts: bool) -> list[Finding]:
    """Join the cluster that RAY_ADDRESS names, or the one that this job runs in, and check it.

    Args:
        spec: what the cluster should be.
        profile: whose demands its groups must meet.
        storage: storage root of runs.
        wait_seconds: how long a group may take to bring a node.
        starts: whether groups without a node are asked for one.
    """
    context = ray.init(address="auto", log_to_driver=False, logging_level="error")
    try:
        return [
            *_ask(spec, profile, storage, wait_seconds if starts else None),
            *ask_without_token(str(context.address_info.get("webui_url") or "")),
        ]
    finally:
        ray.shutdown()


def _ask(spec: ClusterSpec, profile: Profile, storage: str, wait_seconds: float | None) -> list[Finding]:
    asked = demands(profile)
    folder = posixpath.join(storage, f".check-{secrets.token_hex(8)}")
    word = secrets.token_hex(16)
    own = _write_word(folder, word)
    try:
        missing = {} if wait_seconds is None else _bring_nodes(asked, wait_seconds)
        nodes, skews, silent = _ask_nodes(Asked(folder, word))
    finally:
        clear(folder)
    found = [*own, *silent, *judge(spec, asked, nodes, missing, skews, __version__)]
    return [*found, *sum_over_gpus(nodes)]


def _write_word(folder: str, word: str) -> list[Finding]:
    """Write what every node must be able to read."""
    try:
        filesystem, path = open_storage(folder)
        filesystem.create_dir(path, recursive=True)
        with filesystem.open_output_stream(f"{path}/word") as stream:
            stream.write(word.encode())
    except Exception as error:  # whatever a storage client raises is the finding
        reason = f"cannot write: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return [Finding("storage", "driver", False, reason, "give a storage root that can be written (--storage)")]
    return []


def _bring_nodes(asked: Sequence[Demand], wait_seconds: float) -> dict[str, str]:
    """Hold one worker of the largest demand on each group, so that a node comes; tell which groups bring none."""
    hold = ray.remote(_hold)
    largest: dict[str, Demand] = {}
    for demand in asked:
        if demand.group not in largest or (demand.gpus, demand.cpus) > _size(largest[demand.group]):
            largest[demand.group] = demand
    held = {
        hold.options(num_cpus=one.cpus, num_gpus=one.gpus, label_selector={GROUP_LABEL: one.group}).remote(): one
        for one in largest.values()
    }
    _, late = ray.wait(list(held), num_returns=len(held), timeout=wait_seconds)
    for task in late:
        ray.cancel(task, force=True)
    return {
        held[task].group: f"no node with {held[task].cpus:g} CPUs"
        + (f" and {held[task].gpus:g} GPUs" if held[task].gpus else "")
        + f" came within {wait_seconds:.0f} s"
        for task in late
    }


def _size(demand: Demand) -> tuple[float, float]:
    return demand.gpus, demand.cpus


def _hold() -> None:
    """Be placed on a node."""


def _ask_nodes(asked: Asked) -> tuple[list[NodeFacts], dict[str, float], list[Finding]]:
    """Let every live node tell; those that do not answer are findings."""
    ask = ray.remote(look)
    nodes, skews, silent = [], {}, []
    for node in (one for one in ray.nodes() if one["Alive"]):
        name, group = node["NodeID"], (node.get("Labels") or {}).get(GROUP_LABEL, "head")
        options = {
            "num_cpus": 0,
            "max_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(name, soft=False),
        }
        own = Asked(asked.folder, asked.word, dict(node["Resources"]))
        try:
            # Asked twice: the first starts a process, which takes seconds, and the clock is read in between.
            ray.get(ask.options(**options).remote(name, group, own), timeout=_ANSWER_SECONDS)
            before = time.time()
            told = ray.get(ask.options(**options).remote(name, group, own), timeout=_ANSWER_SECONDS)
        except (ray.exceptions.RayError, TimeoutError) as error:
            reason = " ".join(str(error).split())[-200:]
            silent.append(
                Finding("node", f"{group} {name[:8]}", False, reason, "look into its raylet's log; start the node anew")
            )
            continue
        nodes.append(told)
        skews[name] = _ahead(told.clock, before, time.time())
    return nodes, skews, silent


def _ahead(clock: float, before: float, after: float) -> float:
    """Seconds that a clock is ahead, at least: it was read some time between two readings of ours."""
    return clock - after if clock > after else clock - before if clock < before else 0.0
