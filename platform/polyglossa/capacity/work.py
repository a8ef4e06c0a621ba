"""Count the work of each node of a graph: tokens, FLOPs, steps and bytes, and what it holds in memory.

One function per stage, from the recipe's numbers to a `Work`; nothing here knows of time, nodes or money.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from polyglossa.capacity.counts import Counts, count_stage
from polyglossa.capacity.flops import forward_flops, training_flops
from polyglossa.errors import RecipeError
from polyglossa.pipeline.graph import Graph, Node
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.merge import MergeConfig
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.recipe.sections.train import TrainConfig

_TOKEN_BYTES = 2.5  # of a token in a pack: uint32, zstd
_TEXT_BYTES = 3.6  # of a token's text, over languages
_NEAR_PASSES = 2.5  # what looking for near-duplicates makes of the corpus stage's time
_MODEL_BYTES = 4  # weights are stored in float32


@dataclass(frozen=True)
class NodeWork:
    """What one node has to do."""

    rows: float = 0
    tokens: float = 0
    """Tokens that pass through a model, over all steps."""
    flops: float = 0
    steps: int = 0
    step_tokens: float = 0
    step_texts: float = 0
    text_bytes: float = 0
    """Bytes of text that are read, cleaned or tokenised."""
    stored_bytes: float = 0
    """Bytes of its artifact."""
    parameters: int = 0
    shape: Shape | None = None
    teacher_width: int = 0
    low_precision: bool = True
    details: Mapping[str, float] = field(default_factory=dict)


def outside_model(node: Node) -> str | None:
    """Name the model from outside the recipe that a node embeds with, if one does."""
    if isinstance(node.config, TeacherConfig) and node.config.outside is not None:
        return node.config.outside.label
    if isinstance(node.config, MineConfig) and "model" not in node.inputs:
        return node.config.model if isinstance(node.config.model, str) else node.config.model.label
    return None


class Workload:
    """The work of every node of a recipe's graph."""

    def __init__(self, recipe: Recipe, graph: Graph) -> None:
        self.recipe, self.graph = recipe, graph
        self._shapes = recipe.shapes()
        self._member_of = {f"backbone.{m.name}": m.name for m in recipe.members} | {
            f"prune.{m.name}": m.name for m in recipe.members
        }

    def of(self, node: Node) -> NodeWork:
        """Say what a node has to do.

        Raises:
            RecipeError: the recipe does not tell the shape of a model, or what a stage reads.
        """
        stages: dict[str, Callable[[Node], NodeWork]] = {
            "corpus": self._corpus, "backbone": self._model, "prune": self._model, "pack": self._pack,
            "train": self._train, "mine": self._mine, "distill": self._distill, "merge": self._merge,
            "evaluate": self._evaluate, "evaluation_texts": self._nothing, "report": self._nothing,
            "serve": self._nothing,
        }  # fmt: skip
        return stages[node.stage](node)

    @staticmethod
    def _nothing(node: Node) -> NodeWork:
        """Count only the start of a stage whose work does not grow with the data."""
        return NodeWork()

    @cached_property
    def packs(self) -> dict[str, Counts]:
        """Counts of every pack node."""
        found = {}
        for name, node in self.graph.nodes.items():
            if node.stage == "pack":
                found[name] = count_stage(self.recipe, name.rpartition(".")[2], name)
        return found

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

    def _owner(self, node: str) -> str:
        """The member that a model node belongs to: `train.0.6b.stage1` → `0.6b`."""
        stage, _, rest = node.partition(".")
        if stage == "train":
            return max((m.name for m in self.recipe.members if rest.startswith(f"{m.name}.")), key=len)
        return rest

    def _model(self, node: Node) -> NodeWork:
        member = self._owner(node.name)
        parameters = self.parameters_of(member)
        backbone = self.recipe.member(member).backbone
        trains = backbone is not None and backbone.model is None and "tokenizer" not in node.inputs
        return NodeWork(
            parameters=parameters,
            shape=self.shape_of(member),
            stored_bytes=_MODEL_BYTES * parameters,
            text_bytes=self._corpus_bytes() if trains else 0.0,
        )

    def _corpus_bytes(self) -> float:
        """Bytes of text in the sources."""
        given = self.recipe.expect.corpus_bytes if self.recipe.expect is not None else None
        return given or max(counts.stored_tokens for counts in self.packs.values()) * _TEXT_BYTES

    def _corpus(self, node: Node) -> NodeWork:
        expect = self.recipe.expect
        largest = max(self.packs.values(), key=lambda counts: counts.stored_tokens)
        rows = expect.corpus_rows if expect is not None and expect.corpus_rows else largest.rows
        text = self._corpus_bytes()
        passes = _NEAR_PASSES if self.recipe.corpus.near_duplicates is not None else 1.0
        return NodeWork(rows=rows, text_bytes=text, stored_bytes=text / 2, details={"passes": passes})

    def _pack(self, node: Node) -> NodeWork:
        counts = self.packs[node.name]
        return NodeWork(
            rows=counts.rows,
            text_bytes=counts.stored_tokens * _TEXT_BYTES,
            stored_bytes=counts.stored_tokens * _TOKEN_BYTES,
        )

    def _train(self, node: Node) -> NodeWork:
        assert isinstance(node.config, TrainConfig)
        stage, counts = node.config.stage, self.packs[node.inputs["pack"]]
        member = self._owner(node.name)
        shape, parameters = self.shape_of(member), self.parameters_of(member)
        steps = stage.steps or max(1, round(stage.epochs * counts.rows / stage.global_batch))
        step_tokens = stage.global_batch * counts.row_tokens
        tokens = steps * step_tokens
        models = 1 + stage.late_checkpoints
        return NodeWork(
            rows=steps * stage.global_batch,
            tokens=tokens,
            flops=tokens * training_flops(shape, counts.weighted_length),
            steps=steps,
            step_tokens=step_tokens,
            step_texts=stage.global_batch * counts.row_texts,
            stored_bytes=models * _MODEL_BYTES * parameters,
            parameters=parameters,
            shape=shape,
            teacher_width=shape.hidden if node.config.distillation_weight else 0,
            low_precision=stage.dtype == "bfloat16",
            details={"chunk_tokens": stage.chunk_tokens, "checkpoint_bytes": 2 * 12 * parameters},
        )

    def _mine(self, node: Node) -> NodeWork:
        expect = self.recipe.expect
        largest = max(self.packs.values(), key=lambda counts: counts.stored_tokens)
        rows = expect.mined_rows if expect is not None else largest.rows
        length = largest.stored_tokens / max(1.0, largest.stored_texts)
        tokens = 2 * rows * length
        if not rows or "model" not in node.inputs:
            return NodeWork(rows=rows, tokens=tokens, stored_bytes=largest.stored_texts * 16)
        member = self._owner(node.inputs["model"])
        shape = self.shape_of(member)
        return NodeWork(
            rows=rows,
            tokens=tokens,
            flops=tokens * forward_flops(shape, 1.5 * length),
            stored_bytes=largest.stored_texts * 16,
            shape=shape,
            parameters=self.parameters_of(member),
        )

    def _distill(self, node: Node) -> NodeWork:
        assert isinstance(node.config, TeacherConfig)
        counts = self.packs[node.inputs["pack"]]
        tokens = counts.stored_tokens * counts.distinct_share
        if node.config.outside is not None:
            stored = counts.stored_texts * (2 * (node.config.width or 0) + 16)
            return NodeWork(rows=counts.stored_texts, tokens=tokens, stored_bytes=stored)
        member = self._owner(node.inputs["model"])
        shape = self.shape_of(member)
        width = node.config.width or shape.hidden
        return NodeWork(
            rows=counts.stored_texts,
            tokens=tokens,
            flops=tokens * forward_flops(shape, counts.weighted_length),
            stored_bytes=counts.stored_texts * (2 * width + 16),
            parameters=self.parameters_of(member),
            shape=shape,
            low_precision=node.config.dtype == "bfloat16",
        )

    def _merge(self, node: Node) -> NodeWork:
        assert isinstance(node.config, MergeConfig)
        member = self._owner(node.name)
        shape, parameters = self.shape_of(member), self.parameters_of(member)
        counts = self.packs[node.inputs["pack"]]
        models = 2 + sum(role.startswith("model:") for role in node.inputs) + self._late(node)
        texts = models * 2 * node.config.validation_queries * min(counts.sources, 500)
        tokens = texts * counts.stored_tokens / max(1.0, counts.stored_texts)
        return NodeWork(
            tokens=tokens,
            flops=tokens * forward_flops(shape, counts.weighted_length),
            stored_bytes=_MODEL_BYTES * parameters,
            parameters=parameters,
            shape=shape,
            low_precision=False,
        )

    def _late(self, node: Node) -> int:
        trained = (self.graph.nodes[name] for role, name in node.inputs.items() if role.startswith("model:"))
        return sum(one.config.stage.late_checkpoints for one in trained if isinstance(one.config, TrainConfig))

    def _evaluate(self, node: Node) -> NodeWork:
        member = self._owner(node.inputs["model"])
        shape, expect = self.shape_of(member), self.recipe.expect
        texts = 0
        if expect is not None:
            whole = node.config == self.recipe.evaluate.for_members()
            texts = expect.evaluation_texts if whole else expect.cheap_evaluation_texts
        length = expect.evaluation_tokens if expect is not None else 0.0
        return NodeWork(
            rows=texts,
            tokens=texts * length,
            flops=texts * length * forward_flops(shape, 1.5 * length),
            parameters=self.parameters_of(member),
            shape=shape,
            low_precision=False,
        )
