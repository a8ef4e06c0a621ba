"""What a recipe says of its models and data, as every stage's cost asks it: shapes, parameters, counts of packs."""

from collections.abc import Mapping
from functools import cached_property

from polyglossa.costing.counts import Counts, count_stage
from polyglossa.costing.work import TEXT_BYTES, PlannedNode
from polyglossa.errors import RecipeError
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.backbone import Shape


class Family:
    """The models and packs of a recipe's graph."""

    def __init__(self, recipe: Recipe, nodes: Mapping[str, PlannedNode]) -> None:
        self.recipe, self.nodes = recipe, nodes
        self._shapes = recipe.shapes()

    @cached_property
    def packs(self) -> dict[str, Counts]:
        """Counts of every pack node."""
        found = {}
        for name, node in self.nodes.items():
            if node.stage == "pack":
                found[name] = count_stage(self.recipe, name.rpartition(".")[2], name)
        return found

    @property
    def largest_pack(self) -> Counts:
        """Counts of the pack that stores most."""
        return max(self.packs.values(), key=lambda counts: counts.stored_tokens)

    @property
    def corpus_bytes(self) -> float:
        """Bytes of text in the sources."""
        given = self.recipe.expect.corpus_bytes if self.recipe.expect is not None else None
        return given or self.largest_pack.stored_tokens * TEXT_BYTES

    def parameters_of(self, member: str) -> int:
        """Exact parameter count of a member.

        Raises:
            RecipeError: the recipe does not tell.
        """
        shape = self.shape_of(member)
        return shape.parameters(self._vocabulary(member))

    def shape_of(self, member: str) -> Shape:
        """A member's shape."""
        shape = self._shapes[member]
        if shape is None:
            raise RecipeError(
                f"members.{member}: the recipe does not say what its backbone is; write `shape` and `tokenizer` beside "
                "`backbone.model`."
            )
        return shape

    def _vocabulary(self, member: str) -> int:
        entry = self.recipe.member(member)
        if entry.backbone is not None and entry.backbone.tokenizer is not None:
            return entry.backbone.tokenizer.vocabulary
        if entry.prune is not None and entry.prune.vocabulary is not None:
            return entry.prune.vocabulary.tokens
        return self._vocabulary(str(entry.origin).partition("@")[0])

    def owner(self, node: str) -> str:
        """The member that a model node belongs to: `train.0.6b.stage1` → `0.6b`."""
        stage, _, rest = node.partition(".")
        if stage == "train":
            return max((m.name for m in self.recipe.members if rest.startswith(f"{m.name}.")), key=len)
        return rest
