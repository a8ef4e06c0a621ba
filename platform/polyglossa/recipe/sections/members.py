"""Recipe section `members`: the family. A member starts from a backbone, is pruned from another, or is an average."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from polyglossa.recipe.outside import OutsideTeacher
from polyglossa.recipe.sections.backbone import BackboneConfig, Shape
from polyglossa.recipe.sections.merge import MemberMerge
from polyglossa.recipe.sections.prune import PruneConfig
from polyglossa.recipe.strict import Strict, is_absent

TASK = r"[a-z][a-z0-9_-]*"
"""What the task of an adapter may be called."""
_LABELS = ("untrained", "unmerged", "without_distillation")


class AdaptersConfig(Strict):
    """Which adapters a model holds; their trainings' own hashes stand for the rest."""

    tasks: tuple[str, ...]
    """Names of the tasks."""


def _kind_of_teacher(value: Any) -> str:
    """Tell a member's name, members with weights and a model from outside apart by what is written."""
    if isinstance(value, str):
        return "member"
    if isinstance(value, OutsideTeacher):
        return "outside"
    described = isinstance(value, dict) and any(isinstance(value.get(key), str) for key in ("model", "endpoint"))
    return "outside" if described else "members"


class Member(Strict):
    """One model of the family."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    backbone: BackboneConfig | None = None
    """Where the member starts, unless it is pruned."""
    reads_with: str | None = None
    """Earlier member whose tokenizer is this one's too: data is then packed once for both. Checked when the backbone
    is made; a new backbone takes the tokenizer over."""
    prune: PruneConfig | None = None
    """Whom the member is cut out of, unless it has a backbone."""
    stages: tuple[str, ...] = ()
    """Training stages in order, keys of `training`; none where the member is an average, or has adapters alone."""
    adapters: dict[str, str] | None = Field(None, min_length=1, exclude_if=is_absent)
    """Task → training stage with `lora` that ends as that task's adapter. Each starts from what `stages` end with, or
    from the backbone; the model, `<member>@adapters`, holds those weights once and an adapter a task."""
    merge: MemberMerge | None = None
    """Average what the last stage ends with and its late checkpoints, or other models; None takes the last stage's."""
    teacher: (
        Annotated[
            Annotated[str, Tag("member")]
            | Annotated[dict[str, float], Tag("members")]
            | Annotated[OutsideTeacher, Tag("outside")],
            Discriminator(_kind_of_teacher),
        ]
        | None
    ) = None
    """Member whose final model is distilled into this one during its last stage; several with their weights; or a model
    from outside, as a section: `{model: NAME_OR_DIR}`, `{endpoint: URL, model: NAME}`."""
    teacher_states: Literal["stored", "live"] = "stored"
    """Whether the teacher embeds every text once, for all students, epochs and trials, or runs beside each step (only
    members with the student's tokenizer)."""
    projection: bool = False
    """Reach a teacher that is narrower than this member, or one from outside of any other width, through a linear map
    that is learned beside it."""
    without_distillation: bool = False
    """Also train the last stage without the teacher, same steps, to show what distillation brings."""
    learning_rate: float | None = Field(None, gt=0)
    """Overrides the learning rate of every stage."""
    epochs: float | None = Field(None, gt=0)
    """Overrides the epochs of every stage."""
    steps: int | None = Field(None, ge=1)
    """Overrides the steps of every stage."""

    @model_validator(mode="after")
    def _starts_somewhere(self) -> Self:
        starts = (self.backbone is not None) + (self.prune is not None)
        average = self.merge is not None and len(self.merge.models) > 1
        if starts > 1 or (not starts and not (average and not self.stages)):
            raise ValueError(
                "give exactly one of `backbone` and `prune`, or an average alone: `merge.models` of two or more "
                "without `stages`"
            )
        if self.teacher is not None and self.outside is None and min(self.teachers.values(), default=0) <= 0:
            raise ValueError("teacher: name one member, or several with weights above 0")
        if self.outside is not None and self.teacher_states == "live":
            raise ValueError(
                "teacher_states: live: a teacher from outside cannot read the student's batches, which hold the "
                "student's tokens and not its texts; leave `teacher_states` out, and its states are stored"
            )
        if self.teacher is None and (self.projection or self.teacher_states == "live"):
            raise ValueError("`projection` and `teacher_states` are for a member with a `teacher`")
        if self.reads_with is not None and self.backbone is None:
            raise ValueError("`reads_with` needs a `backbone`; other members read with their parent's tokenizer")
        if starts and not self.stages and not self.adapters:
            raise ValueError("stages: empty; name at least one training stage")
        if self.adapters is not None:
            self._check_adapters()
        return self

    def _check_adapters(self) -> None:
        odd = next((task for task in self.adapters or () if not re.fullmatch(TASK, task)), None)
        if odd is not None:
            raise ValueError(f"adapters: {odd!r} is no name of a task; write small letters, digits, - and _")
        taken = next((task for task in self.adapters or () if task in _LABELS), None)
        if taken is not None:
            raise ValueError(f"adapters: {taken!r} names another evaluation of the member; call the task otherwise")
        twice = next((stage for stage in (self.adapters or {}).values() if stage in self.stages), None)
        if twice is not None:
            raise ValueError(f"adapters: {twice!r} is among `stages` too, and cannot start from what it ends with")
        if self.merge is not None or self.teacher is not None:
            raise ValueError("adapters: does not go with `merge` or `teacher`; give those to the member it is cut from")
        if self.prune is None and self.backbone is None:
            raise ValueError("adapters: need a `backbone` or `prune` to start from")

    @property
    def trainings(self) -> tuple[str, ...]:
        """Its training stages: those in order, then its adapters'."""
        return (*self.stages, *dict.fromkeys((self.adapters or {}).values()))

    @property
    def teachers(self) -> dict[str, float]:
        """Members that teach this one, with their weights."""
        if isinstance(self.teacher, str):
            return {self.teacher: 1.0}
        return self.teacher if isinstance(self.teacher, dict) else {}

    @property
    def outside(self) -> OutsideTeacher | None:
        """The teacher, where it is from outside the recipe."""
        return self.teacher if isinstance(self.teacher, OutsideTeacher) else None

    @property
    def taught_by(self) -> str | None:
        """Names of its teachers, as reports show them."""
        return self.outside.label if self.outside is not None else " + ".join(self.teachers) or None

    @property
    def final(self) -> str:
        """Where the member's final model comes from: `merge`, or its last stage."""
        if self.adapters is not None:
            return "adapters"
        return "merge" if self.merge is not None else self.stages[-1]

    @property
    def origin(self) -> str | None:
        """`<member>@<stage>` that the member is cut out of or, without stages of its own, averaged from first."""
        if self.prune is not None:
            return self.prune.from_
        return self.merge.models[0] if self.merge is not None and not self.stages else None

    def shape(self, parent: Shape | None = None) -> Shape | None:
        """The member's shape where the recipe alone tells it, given that of the member it comes from."""
        if self.backbone is not None:
            return self.backbone.shape
        if parent is None or self.prune is None:
            return parent
        kv_heads = self.prune.kv_heads or parent.kv_heads
        return Shape(
            hidden=self.prune.hidden,
            mlp=self.prune.mlp,
            layers=self.prune.layers,
            heads=kv_heads * (parent.heads // parent.kv_heads),
            kv_heads=kv_heads,
            head_dim=parent.head_dim,
        )
