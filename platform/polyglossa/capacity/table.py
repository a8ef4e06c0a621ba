"""A capacity plan as text or plain data: members, stages, memory, groups, and what does not fit."""

from collections.abc import Iterable, Sequence
from typing import Any

from polyglossa.capacity.elapsed import Elapsed
from polyglossa.capacity.estimate import CapacityPlan, NodePlan
from polyglossa.costing.memory import GIB


def plan_table(plan: CapacityPlan) -> str:
    """Render a plan."""
    parts = [
        f"{plan.recipe} on {plan.profile}",
        align([("member", "parameters", "of them table", "width"), *_members(plan)]),
        align([_HEAD, *(_row(node) for node in plan.nodes if node.seconds >= 0.05)]),
        align([("memory of a device (GiB)", "device", "of", *_ITEMS, "sum"), *_memory(plan)]),
        align([("group", "node-hours", "price", "cost"), *_groups(plan)]),
        _totals(plan),
        _assumptions(plan),
        *(f"warning: {warning}" for warning in plan.warnings),
        *(f"does not fit: {misfit}" for misfit in plan.misfits),
    ]
    return "\n\n".join(part for part in parts if part)


def _assumptions(plan: CapacityPlan) -> str:
    if not plan.assumed:
        return ""
    return (
        f"assumed: the speeds of {', '.join(plan.assumed)} are shares of data sheets (40 % of the bfloat16 peak in "
        "training, 45 % in embedding); `make bench-gpu` measures them for `plan --calibration runs/bench/gpu.json`."
    )


def comparison_table(plans: Sequence[CapacityPlan]) -> str:
    """Render two plans of one recipe side by side."""
    rows: list[tuple[str, ...]] = [("", *(plan.profile for plan in plans))]
    rows.append(("hours, one node after another", *(f"{plan.hours:,.1f}" for plan in plans)))
    rows.append(("hours, with nodes at the same time", *(_hours(plan.elapsed_hours) for plan in plans)))
    rows.append(("hours of the longest path", *(f"{plan.longest_hours:,.1f}" for plan in plans)))
    for stage in dict.fromkeys(node.stage for node in plans[0].nodes):
        hours = (sum(node.seconds for node in plan.nodes if node.stage == stage) / 3600 for plan in plans)
        rows.append((f"hours of {stage}", *(f"{value:,.2f}" for value in hours)))
    for group in dict.fromkeys(group for plan in plans for group in plan.node_hours):
        rows.append((f"node-hours of {group}", *(f"{plan.node_hours.get(group, 0.0):,.1f}" for plan in plans)))
    rows.append(("cost", *(_money(plan.cost) for plan in plans)))
    rows.append(("nodes that do not fit", *(str(len(plan.misfits)) for plan in plans)))
    return align(rows)


def align(rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out in columns: the first to the left, figures to the right."""
    table = [list(row) for row in rows]
    if len(table) < 2:
        return ""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (zip(row, widths, strict=True) for row in table)
    ]
    return "\n".join(line.rstrip() for line in lines)


_HEAD = ("node", "rows", "tokens", "FLOPs", "steps", "time", "group", "nodes", "node-hours", "stored")
_ITEMS = ("weights", "gradients", "optimizer", "bfloat16 copies", "activations", "embeddings", "buckets", "context")


def _members(plan: CapacityPlan) -> list[tuple[str, ...]]:
    return [(m.name, f"{m.parameters:,}", f"{m.table / m.parameters:.0%}", f"{m.width:,}") for m in plan.members]


def _row(node: NodePlan) -> tuple[str, ...]:
    work = node.work
    return (
        node.name,
        amount(work.rows),
        amount(work.tokens),
        f"{work.flops:.1e}" if work.flops else "",
        f"{work.steps:,}" if work.steps else "",
        duration(node.seconds),
        node.taken.group,
        str(node.taken.nodes),
        f"{node.node_hours:,.2f}",
        size(work.stored_bytes),
    )


def _memory(plan: CapacityPlan) -> list[tuple[str, ...]]:
    rows = []
    for node in plan.nodes:
        if node.footprint is None:
            continue
        items = (node.footprint.items.get(name, 0.0) / GIB for name in _ITEMS)
        total = node.footprint.total / GIB
        of = next((f"{m.memory_gib:g}" for m in plan.misfits if m.node == node.name), "")
        rows.append((node.name, node.device, of, *(f"{value:.1f}" if value else "" for value in items), f"{total:.1f}"))
    return rows


def _groups(plan: CapacityPlan) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for group, hours in plan.node_hours.items():
        price = plan.prices.get(group)
        cost = None if price is None else price * hours
        rows.append(
            (group, f"{hours:,.1f}", "" if price is None else f"{price:,.2f}", "" if cost is None else _money(cost))
        )
    return rows


def _totals(plan: CapacityPlan) -> str:
    path = " → ".join(plan.longest_path)
    return "\n".join(
        [
            f"{duration(plan.hours * 3600)} one node after another; {size(plan.stored_bytes)} of artifacts"
            + ("" if plan.machine_gib is None else f"; {plan.machine_gib:.1f} GiB of memory at the peak")
            + ("" if plan.cost is None else f"; cost {_money(plan.cost)}"),
            f"longest path: {duration(plan.longest_hours * 3600)}: {path}",
            _elapsed(plan),
        ]
    )


def _elapsed(plan: CapacityPlan) -> str:
    """How long the run takes with as many nodes at the same time as find room, and what it waits for."""
    if plan.elapsed is None or plan.elapsed_hours is None:
        return "with nodes at the same time: not to be run: a group can never hold a node (see the warnings)"
    parts = [
        f"with nodes at the same time: {duration(plan.elapsed_hours * 3600)}, "
        f"at most {plan.elapsed.most_at_once} of them at once"
    ]
    if plan.elapsed.binding is not None:
        waited = duration(plan.elapsed.waited[plan.elapsed.binding])
        parts.append(f"the limit of group {plan.elapsed.binding!r} binds: nodes wait {waited} for it in all")
    else:
        parts.append("no group's limit binds: it is the longest path that takes so long")
    return "; ".join(parts)


def trade_table(group: str, trade: Sequence[tuple[int, CapacityPlan]]) -> str:
    """Render what a group's limit makes of the run."""
    rows: list[tuple[str, ...]] = [(f"nodes of {group}", "elapsed", "over the bound", "at once", "binds", "idle")]
    for machines, plan in trade:
        if plan.elapsed is None or plan.elapsed_hours is None:
            rows.append((str(machines), "does not fit", "", "", "", ""))
            continue
        busy = plan.node_hours.get(group, 0.0) / (machines * plan.elapsed_hours) if plan.elapsed_hours else 0.0
        rows.append(
            (
                str(machines),
                duration(plan.elapsed_hours * 3600),
                f"{plan.elapsed.seconds / plan.elapsed.bound:.3f}" if plan.elapsed.bound else "",
                str(plan.elapsed.most_at_once),
                plan.elapsed.binding or "longest path",
                f"{max(0.0, 1 - busy):.0%}",
            )
        )
    return align(rows)


def amount(value: float) -> str:
    """A count, short: 18.0M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= unit:
            return f"{value / (1e3 if name == 'k' else unit):,.1f}{name}"
    return f"{value:,.0f}" if value else ""


def size(value: float) -> str:
    """Bytes, short: 1.2 TB."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= unit:
            return f"{value / unit:,.1f} {name}"
    return f"{value / 1e3:,.0f} kB" if value else ""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _hours(value: float | None) -> str:
    return "does not fit" if value is None else f"{value:,.1f}"


def _money(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def as_json(plan: CapacityPlan) -> dict[str, Any]:
    """The plan as plain data."""
    return {
        "recipe": plan.recipe,
        "profile": plan.profile,
        "members": {m.name: {"parameters": m.parameters, "table": m.table, "width": m.width} for m in plan.members},
        "nodes": [_node_json(node) for node in plan.nodes],
        "hours": round(plan.hours, 4),
        "elapsed": None if plan.elapsed is None else _elapsed_json(plan.elapsed),
        "longest_path": {"hours": round(plan.longest_hours, 4), "nodes": list(plan.longest_path)},
        "node_hours": {group: round(value, 4) for group, value in plan.node_hours.items()},
        "stored_bytes": round(plan.stored_bytes),
        "machine_memory_gib": None if plan.machine_gib is None else round(plan.machine_gib, 2),
        "cost": None if plan.cost is None else round(plan.cost, 2),
        "misfits": [str(misfit) for misfit in plan.misfits],
        "warnings": list(plan.warnings),
        "assumed_rates": list(plan.assumed),
    }


def _elapsed_json(elapsed: Elapsed) -> dict[str, Any]:
    return {
        "hours": round(elapsed.seconds / 3600, 4),
        "bound_hours": round(elapsed.bound / 3600, 4),
        "over_bound": round(elapsed.seconds / elapsed.bound, 4) if elapsed.bound else None,
        "busiest_group": elapsed.busiest,
        "binding_group": elapsed.binding,
        "most_nodes_at_once": elapsed.most_at_once,
        "waited_hours": {group: round(seconds / 3600, 4) for group, seconds in elapsed.waited.items()},
        "nodes": [
            {
                "name": run.name,
                "ready": round(run.ready, 1),
                "started": round(run.started, 1),
                "ended": round(run.ended, 1),
            }
            for run in elapsed.runs
        ],
    }


def _node_json(node: NodePlan) -> dict[str, Any]:
    work = node.work
    return {
        "name": node.name,
        "stage": node.stage,
        "rows": round(work.rows),
        "tokens": round(work.tokens),
        "flops": work.flops,
        "steps": work.steps,
        "seconds": round(node.seconds, 1),
        "group": node.taken.group,
        "nodes": node.taken.nodes,
        "node_hours": round(node.node_hours, 4),
        "stored_bytes": round(work.stored_bytes),
        "device": node.device,
        "memory_bytes": None if node.footprint is None else {k: round(v) for k, v in node.footprint.items.items()},
    }
