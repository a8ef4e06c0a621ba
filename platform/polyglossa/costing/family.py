"""What a recipe says of its models and data, as every stage's cost asks it: shapes, parameters, counts of packs."""

from collections.abc import Mapping
from functools import cached_property

from polyglossa.costing.counts import Counts, count_stage
from polyglossa.costing.named_models import NamedModel, measure_model
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
        """Parameter count of a member: exact, but of a named model of another architecture that was pruned.

        Raises:
            RecipeError: the recipe does not tell, and the model is not here.
        """
        named = self._named(member)
        return named.parameters if named else self.shape_of(member).parameters(self._vocabulary(member))

    def table_of(self, member: str) -> int:
        """Parameters of a member's embedding table."""
        named = self._named(member)
        return named.table if named else self._vocabulary(member) * self.shape_of(member).hidden

    def shape_of(self, member: str) -> Shape:
        """A member's shape.

        Raises:
            RecipeError: the recipe does not tell, and the model is not here.
        """
        shape = self._shapes[member]
        if shape is not None:
            return shape
        named = self._named(member)
        if named is not None:
            return named.shape
        entry = self.recipe.member(member)
        if entry.backbone is not None:
            raise RecipeError(
                f"members.{member}: {entry.backbone.model} is no directory here and not in the hub's cache, and the "
                "recipe does not say what it is; fetch it, or write `shape` and `tokenizer` beside `backbone.model`."
            )
        shape = entry.shape(self.shape_of(_origin(entry.origin)))
        assert shape is not None
        return shape

    def _named(self, member: str) -> NamedModel | None:
        """What is known of the named model that a member has the shape of, where the recipe does not say it."""
        entry = self.recipe.member(member)
        if entry.backbone is not None:
            known = entry.backbone.shape is not None or entry.backbone.model is None
            return None if known else measure_model(entry.backbone.model, entry.backbone.revision)
        return None if entry.prune is not None else self._named(_origin(entry.origin))

    def _vocabulary(self, member: str) -> int:
        entry = self.recipe.member(member)
        if entry.backbone is not None and entry.backbone.tokenizer is not None:
            return entry.backbone.tokenizer.vocabulary
        if entry.prune is not None and entry.prune.vocabulary is not None:
            return entry.prune.vocabulary.tokens
        named = self._named(member)
        return named.vocabulary if named else self._vocabulary(_origin(entry.origin))

    def owner(self, node: str) -> str:
        """The member that a model node belongs to: `train.0.6b.stage1` → `0.6b`."""
        stage, _, rest = node.partition(".")
        if stage == "train":
            return max((m.name for m in self.recipe.members if rest.startswith(f"{m.name}.")), key=len)
        return rest


def _origin(reference: str | None) -> str:
    """The member of a reference: `base@stage1` → `base`."""
    return str(reference).partition("@")[0]
