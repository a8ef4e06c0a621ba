"""Recipe section `tune`: which fields a search varies, how it looks for good values, and what it judges them by.

tune:
member: small
trials: 12
space:
training.distil.learning_rate: {loguniform: [3.0e-4, 1.0e-2]}
members.small.prune.layers: {choice: [1, 2, 3]}
scheduler: asha
"""

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from polyglossa.recipe.strict import Strict

Scalar = bool | int | float | str | None
KINDS = ("uniform", "loguniform", "int", "choice", "grid")


class Dimension(Strict):
    """Values that one field may take: exactly one of the keys."""

    uniform: tuple[float, float] | None = None
    """Any number between the two."""
    loguniform: tuple[float, float] | None = None
    """Any number between the two, all magnitudes alike."""
    whole: tuple[int, int] | None = Field(None, alias="int")
    """Any whole number between the two, both included."""
    choice: tuple[Scalar, ...] | None = Field(None, min_length=1)
    """One of these."""
    grid: tuple[Scalar, ...] | None = Field(None, min_length=1)
    """Each of these, combined with each of the others: for the searcher `grid`; others choose one."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = self.model_dump(by_alias=True, exclude_none=True)
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}, not {', '.join(given) or 'none'}")
        span = self.uniform or self.loguniform or self.whole
        if span is not None and not span[0] < span[1]:
            raise ValueError(f"{self.kind}: {list(span)} is empty; the first must be smaller than the second")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform: {list(self.loguniform)} has no logarithm; give numbers above 0")
        return self

    @property
    def kind(self) -> str:
        """Which of the keys is given."""
        return next(iter(self.model_dump(by_alias=True, exclude_none=True)))

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        """Everything that can be taken, where that can be listed; None for ranges of numbers."""
        if self.whole is not None:
            return tuple(range(self.whole[0], self.whole[1] + 1))
        return self.choice if self.choice is not None else self.grid

    @property
    def probes(self) -> tuple[Scalar, ...]:
        """Values that stand for all when the space is checked: every listed one, or both ends."""
        span = self.uniform or self.loguniform or self.whole
        listed = self.values
        return span if span is not None else listed or ()


class JudgeConfig(Strict):
    """What a trial's score is: held-out retrieval, the mean over sets of the mean over languages."""

    sets: tuple[str, ...] | None = None
    """Held-out sets of the corpus and retrieval tasks of `evaluate.local`, by name; None takes `evaluate.heldout` and
    all such tasks."""
    queries: int | None = Field(None, ge=1)
    """Most queries of a set, evenly spread over it; None takes all."""
    search_share: float = Field(0.5, gt=0, le=1)
    """Share of the held-out documents, by hash, whose queries the search judges by. The queries of the others stay
    unseen by it: they tell what the winner is worth, free of the luck of having been chosen."""
    resamples: int = Field(200, ge=10)
    """Bootstrap resamples behind a score's interval."""


class RungConfig(Strict):
    """When trials report: after `first` steps, then `factor` times as many, and so on, and at their last step."""

    first: int | None = Field(None, ge=1)
    """Steps; None takes an eighth of the recipe's own."""
    factor: int = Field(2, ge=2)
    """Also ASHA's: at each rung about one in `factor` goes on."""


class TuneConfig(Strict):
    """A search over recipes: each trial trains one member with some fields overridden, all else shared."""

    member: str | None = None
    """Member whose last training stage is a trial; None takes the last one that has a teacher, or else the last."""
    space: dict[str, Dimension] = {}
    """Field of the recipe by its dotted path → values."""
    variants: tuple[dict[str, JsonValue], ...] = ()
    """For the searcher `listed`, in place of `space`: the trials themselves, each as dotted path → value, of any kind
    that the field takes."""
    trials: int | None = Field(None, ge=1)
    """Number of trials; None, for the searchers `grid` and `listed` alone, takes every combination or variant."""
    searcher: Literal["random", "grid", "optuna", "listed"] = "optuna"
    """Who proposes values; `optuna` is its tree-structured Parzen estimator (TPE). Of `random` and `optuna`, the first
    trial is the recipe as it is."""
    objectives: tuple[Literal["quality", "size", "latency"], ...] = ("quality",)
    """What TPE weighs against each other: score (up), parameters (down), seconds per text (down)."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """`asha` stops the worse trials at rungs (Li et al. 2020, arXiv 1810.05934); `pbt` lets them go on from the better
    ones' weights with values moved (Jaderberg et al. 2017, arXiv 1711.09846): for the searcher `random` and fields that
    may change while a model trains. Its winner went through several values; `best.yaml` holds the last ones."""
    rungs: RungConfig = RungConfig()
    """When trials report."""
    judge: JudgeConfig = JudgeConfig()
    """What trials report."""
    seed: int = 0
    """Seed of the searcher."""
    seeds: tuple[int, ...] = ()
    """Seeds with which the best trial and the recipe as it is are both trained anew after the search, and compared on
    the unseen queries; none: no comparison."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field that a trial may change, in order."""
        return tuple(self.space) or tuple(dict.fromkeys(path for values in self.variants for path in values))

    @property
    def probes(self) -> tuple[dict[str, JsonValue], ...]:
        """Values that stand for all when a search is checked: each end or choice alone, or the variants."""
        if self.variants:
            return self.variants
        return tuple({path: value} for path, dimension in self.space.items() for value in dimension.probes)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        listed = self.searcher == "listed"
        if bool(self.variants) != listed or bool(self.space) == listed:
            raise ValueError("space: give the searcher `listed` its `variants` and no space, any other a space alone")
        ranges = [path for path, dimension in self.space.items() if dimension.values is None]
        if self.searcher == "grid" and ranges:
            raise ValueError(f"space.{ranges[0]}: a grid cannot list a range; give `grid`, `choice` or `int`")
        if self.searcher in ("random", "optuna") and self.trials is None:
            raise ValueError("trials: is missing; only the searchers `grid` and `listed` know how many there are")
        if self.scheduler == "pbt" and (self.searcher != "random" or len(self.objectives) > 1):
            raise ValueError("scheduler: pbt moves values by itself; take the searcher `random` and one objective")
        if self.objectives[:1] != ("quality",) or len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives: {list(self.objectives)} must begin with `quality` and name each but once")
        return self
