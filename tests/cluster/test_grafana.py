"""The dashboard asks for what the endpoint exports, all of it and nothing else."""

import json
import re

from polyglossa.cluster.grafana import ENDPOINT, TRAINING, dashboard
from polyglossa.serving.metrics import Metrics
from polyglossa.train.ray_report import GAUGES

_PARTS = ("_bucket", "_total")


def base(name: str) -> str:
    for part in _PARTS:
        name = name.removesuffix(part)
    return name


def test_every_metric_of_the_endpoint_is_drawn_and_nothing_is_drawn_that_is_not_there() -> None:
    there = {metric.name for metric in Metrics("r1").registry.collect()}
    queries = " ".join(query for panel in ENDPOINT for query, _ in panel.curves)
    assert {base(name) for name in re.findall(r"polyglossa_\w+", queries)} == there


def test_every_metric_of_training_is_drawn() -> None:
    queries = " ".join(query for panel in TRAINING for query, _ in panel.curves)
    assert set(re.findall(r"ray_(polyglossa_\w+)", queries)) == set(GAUGES)


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    json.dumps(dashboard())
