"""The one description of a cluster (`cluster/spec.yaml`) as strict models; all else about it derives from it.

It says what a cluster is made of, never what runs on it: recipes hold science, profiles place stages on its groups.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from polyglossa.cluster.spec.jobs import Jobs, Schedule
from polyglossa.cluster.spec.lines import with_line
from polyglossa.cluster.spec.nodes import Clouds, Group, Image, Node
from polyglossa.cluster.spec.operators import Operators
from polyglossa.cluster.spec.refusals import refusals
from polyglossa.cluster.spec.service import Service
from polyglossa.cluster.spec.shared import Authentication, FaultTolerance, History, Network, Storage
from polyglossa.errors import RecipeError
from polyglossa.recipe.load import read_mapping, validate
from polyglossa.recipe.placement import GROUP_LABEL
from polyglossa.recipe.strict import Strict

__all__ = ["ClusterSpec", "Group", "Node", "Schedule", "Service", "load_spec"]


class ClusterSpec(Strict):
    """A cluster: head, groups, and what they share."""

    name: str = Field("polyglossa", pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    namespace: str = "polyglossa"
    ray: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    """Ray version, the same in the image, the manifests and every client."""
    python: str = Field("3.12", pattern=r"^3\.\d+$")
    """Python of the image."""
    operators: Operators = Operators()
    image: Image
    idle_seconds: int = Field(120, ge=1)
    """How long an idle node stays before it is given back."""
    head: Node
    """Runs the control plane and drivers, no tasks."""
    groups: dict[str, Group] = Field(min_length=1)
    """Groups by name; the name is the nodes' Ray label `group`."""
    storage: Storage = Storage()
    authentication: Authentication = Authentication()
    network: Network = Network()
    fault_tolerance: FaultTolerance = FaultTolerance()
    history: History | None = None
    """Where logs and events of finished clusters are kept; None keeps what runs write themselves."""
    priorities: dict[str, int] = {}
    """Priority classes by name, with their values; higher ones push lower ones out."""
    jobs: Jobs = Jobs()
    service: Service
    clouds: Clouds = Clouds()

    @model_validator(mode="after")
    def _can_be_rendered(self) -> Self:
        for path, message in refusals(self):
            raise ValueError(f"{path}: {message}")
        return self

    def image_of(self, node: Node, version: str) -> str:
        """Image of a node, by whether it has GPUs."""
        return f"{self.image.repository}:{version}{'-cuda' if node.gpus else ''}"

    def labels_of(self, name: str) -> dict[str, str]:
        """Ray labels of a group's nodes."""
        market = "spot" if self.groups[name].spot else "on-demand"
        return {GROUP_LABEL: name, "ray.io/market-type": market}


def load_spec(path: str | Path) -> ClusterSpec:
    """Read a cluster spec.

    Raises:
        RecipeError: missing, not YAML or not valid; one line, with the number of the spec's line that it is about.
    """
    data = read_mapping(path)
    try:
        return validate(ClusterSpec, data, str(path))
    except RecipeError as error:
        raise RecipeError(with_line(str(error), Path(path))) from None
