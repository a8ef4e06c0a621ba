"""The Grafana dashboard of a cluster: the endpoint's own metrics, training's, and what Ray says of nodes and jobs.

Pure: a table of panels becomes the JSON that Grafana imports. A test compares names with those that
`serving/metrics.py` and `train/ray_report.py` register, so that no side drifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """One chart: a title, its unit as Grafana names it, and a PromQL query per curve with its legend."""

    title: str
    unit: str
    curves: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[5m]))"


def _quantile(share: float, histogram: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({histogram}_bucket[5m])))"


def _ratio(part: str, whole: str) -> str:
    return f"{_rate(part, 'model')} / {_rate(whole, 'model')}"


ENDPOINT = (
    Panel("Requests by status", "reqps", ((_rate("polyglossa_requests_total", "status"), "{{status}}"),)),
    Panel(
        "Time of a request",
        "s",
        (
            (_quantile(0.5, "polyglossa_request_seconds", "path"), "p50 {{path}}"),
            (_quantile(0.99, "polyglossa_request_seconds", "path"), "p99 {{path}}"),
        ),
    ),
    Panel(
        "Texts asked for, computed once for several",
        "cps",
        (
            (_rate("polyglossa_texts_total", "model"), "{{model}}"),
            (_rate("polyglossa_texts_shared_total", "model"), "{{model}} shared"),
        ),
    ),
    Panel("Tokens asked for", "cps", ((_rate("polyglossa_tokens_total", "model"), "{{model}}"),)),
    Panel("Waiting for a batch, p99", "s", ((_quantile(0.99, "polyglossa_queue_seconds", "model"), "{{model}}"),)),
    Panel("Texts under way", "short", (("sum by (model) (polyglossa_waiting_texts)", "{{model}}"),)),
    Panel("Fill of a batch, median", "percentunit", ((_quantile(0.5, "polyglossa_batch_fill", "model"), "{{model}}"),)),
    Panel(
        "Padding in attention",
        "percentunit",
        ((_ratio("polyglossa_padding_tokens_total", "polyglossa_computed_tokens_total"), "{{model}}"),),
    ),
    Panel("Time in the model per second", "s", ((_rate("polyglossa_model_seconds_total", "model"), "{{model}}"),)),
    Panel(
        "Batches by outcome",
        "cps",
        ((_rate("polyglossa_batches_total", "model, outcome"), "{{model}} {{outcome}}"),),
    ),
    Panel(
        "Texts of a batch",
        "short",
        ((_ratio("polyglossa_batch_texts_total", "polyglossa_batches_total"), "{{model}}"),),
    ),
)
TRAINING = (
    Panel("Steps done", "short", (("max by (run) (ray_polyglossa_train_step)", "{{run}}"),)),
    Panel("Loss", "short", (("max by (run) (ray_polyglossa_train_loss)", "{{run}}"),)),
    Panel("Learning rate", "sci", (("max by (run) (ray_polyglossa_train_learning_rate)", "{{run}}"),)),
    Panel("Norm of the gradient", "short", (("max by (run) (ray_polyglossa_train_gradient_norm)", "{{run}}"),)),
    Panel("Tokens trained on", "cps", (("max by (run) (ray_polyglossa_train_tokens_per_second)", "{{run}}"),)),
    Panel("Waiting for data", "percentunit", (("max by (run) (ray_polyglossa_train_data_wait_share)", "{{run}}"),)),
    Panel(
        "Time in reports and checkpoints",
        "s",
        (
            ("max by (ray_train_run_name) (ray_train_report_total_blocked_time_s)", "reports {{ray_train_run_name}}"),
            (
                "max by (ray_train_run_name) (ray_train_checkpoint_transfer_total_time_s)",
                "transfer {{ray_train_run_name}}",
            ),
        ),
    ),
)
CLUSTER = (
    Panel("Nodes by state", "short", (("sum by (instance) (ray_cluster_active_nodes)", "active"),)),
    Panel("CPUs in use", "percent", (("avg by (instance) (ray_node_cpu_utilization)", "{{instance}}"),)),
    Panel("Memory in use", "bytes", (("sum by (instance) (ray_node_mem_used)", "{{instance}}"),)),
    Panel("GPUs in use", "percent", (("avg by (instance, GpuIndex) (ray_node_gpus_utilization)", "{{instance}}"),)),
    Panel("Object store", "bytes", (("sum by (instance) (ray_object_store_memory)", "{{instance}}"),)),
    Panel("Tasks by state", "short", (("sum by (State) (ray_tasks)", "{{State}}"),)),
)


def dashboard() -> dict[str, Any]:
    """Lay the panels out as Grafana's dashboard JSON."""
    return {
        "uid": "polyglossa",
        "title": "Polyglossa",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [
            *_rows("Endpoint", ENDPOINT, 0),
            *_rows("Training", TRAINING, 500),
            *_rows("Cluster", CLUSTER, 1000),
        ],
    }


def _rows(title: str, panels: Sequence[Panel], top: int) -> list[dict[str, Any]]:
    row = {"id": top + 1, "type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}}
    return [row, *(_panel(panel, number, top) for number, panel in enumerate(panels))]


def _panel(panel: Panel, number: int, top: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    line, column = divmod(number, _COLUMNS)
    return {
        "id": top + number + 2,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": column * _WIDTH, "y": top + 1 + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": source, "expr": query, "legendFormat": legend}
            for place, (query, legend) in enumerate(panel.curves)
        ],
    }
