"""Nodes and graphs: what stages make of what. Pure; `build` lays out those of a recipe, `execute` makes them.

A node is one artifact: a stage, the slice of the recipe that shapes it, and the nodes it reads, by role. Equal needs
become one node: two members that read the same packed data share it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from polyglossa.errors import RecipeError
from polyglossa.recipe.strict import Strict


@dataclass(frozen=True)
class Node:
    """One artifact to be: `inputs` maps a role to the name of the node that fills it."""

    name: str
    stage: str
    config: Strict
    inputs: Mapping[str, str] = field(default_factory=dict)


class Graph:
    """Nodes in an order in which they can run."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: Node) -> str:
        """Add a node, or return the equal one that is there under its own name."""
        for known in self.nodes.values():
            if (known.stage, known.config, known.inputs) == (node.stage, node.config, node.inputs):
                return known.name
        self.nodes[node.name] = node
        return node.name

    def until(self, stage: str) -> list[Node]:
        """Every node of a stage and all they need, in order.

        Raises:
            RecipeError: no node of the recipe belongs to the stage.
        """
        wanted = {node.name for node in self.nodes.values() if node.stage == stage}
        if not wanted:
            has = ", ".join(dict.fromkeys(node.stage for node in self.nodes.values()))
            raise RecipeError(f"--until {stage}: this recipe has no such stage; it has {has}.")
        return self.needed_for(wanted)

    def needed_for(self, names: Iterable[str]) -> list[Node]:
        """Some nodes and all they need, in order."""
        wanted = set(names)
        for node in reversed(self.nodes.values()):
            if node.name in wanted:
                wanted.update(node.inputs.values())
        return [node for node in self.nodes.values() if node.name in wanted]
