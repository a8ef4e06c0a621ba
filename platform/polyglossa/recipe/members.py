"""Recipe section `members`: the family. A member starts from a backbone or is pruned from another member."""

from typing import Self

from pydantic import Field, model_validator

from polyglossa.recipe.backbone import BackboneConfig, Shape
from polyglossa.recipe.prune import PruneConfig
from polyglossa.recipe.strict import Strict


class Member(Strict):
    """One model of the family."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    backbone: BackboneConfig | None = None
    """Where the member starts, unless it is pruned."""
    prune: PruneConfig | None = None
    """Whom the member is cut out of, unless it has a backbone."""
    stages: tuple[str, ...] = Field(min_length=1)
    """Training stages in order, keys of `training`."""
    teacher: str | None = None
    """Member whose final model is distilled into this one during its last stage."""
    without_distillation: bool = False
    """Also train the last stage without the teacher, same steps, to show what distillation brings."""
    learning_rate: float | None = Field(None, gt=0)
    """Overrides the learning rate of every stage."""
    epochs: float | None = Field(None, gt=0)
    """Overrides the epochs of every stage."""
    steps: int | None = Field(None, ge=1)
    """Overrides the steps of every stage."""

    @model_validator(mode="after")
    def _backbone_or_pruned(self) -> Self:
        if (self.backbone is None) == (self.prune is None):
            raise ValueError("give exactly one of `backbone` and `prune`")
        return self

    def shape(self, parent: Shape | None = None) -> Shape | None:
        """The member's shape where the recipe alone tells it, given its parent's."""
        if self.backbone is not None:
            return self.backbone.shape
        if parent is None or self.prune is None:
            return None
        kv_heads = self.prune.kv_heads or parent.kv_heads
        return Shape(
            hidden=self.prune.hidden,
            mlp=self.prune.mlp,
            layers=self.prune.layers,
            heads=kv_heads * (parent.heads // parent.kv_heads),
            kv_heads=kv_heads,
            head_dim=parent.head_dim,
        )
