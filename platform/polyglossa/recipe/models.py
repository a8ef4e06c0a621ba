"""The recipe: one YAML file that describes a family, as strict models. What it says is science; placement is apart."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.recipe.sections.expect import Expect
from polyglossa.recipe.sections.members import Member
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.recipe.sections.own import OwnConfig
from polyglossa.recipe.sections.serve import ServeConfig
from polyglossa.recipe.sections.train import StageConfig
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.recipe.strict import Strict


class Recipe(Strict):
    """A family of embedding models: corpus, mining, training stages, members, evaluation and serving."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the run; also the folder under `storage`."""
    storage: str = "runs"
    """Where artifacts go: a local path, `s3://…` or `gs://…`; the run's folder is `<storage>/<name>`."""
    scale: Literal["full", "tiny"] = "full"
    """`tiny` divides every size when the file is read, without changing the graph; see `polyglossa.recipe.scale`."""
    corpus: CorpusConfig
    mine: MineConfig | None = None
    """Needed where a stage reads hard negatives."""
    training: dict[str, StageConfig] = Field(min_length=1)
    """Training stages by name."""
    members: tuple[Member, ...] = Field(min_length=1)
    evaluate: EvaluateConfig = EvaluateConfig()
    own: OwnConfig | None = None
    """What of one's own data judges the first member, and what it is held against; `polyglossa init` writes it."""
    serve: ServeConfig = ServeConfig()
    expect: Expect | None = None
    """What `polyglossa plan` counts with until data is packed."""
    tune: TuneConfig | None = None
    """A search for better values of other fields; run by `--until tune` alone."""

    @property
    def root(self) -> str:
        """The run's folder."""
        return f"{self.storage.rstrip('/')}/{self.name}"

    @property
    def logs(self) -> Path:
        """This machine's folder for logs: the run's own, or `runs/<name>` where the run lies in a bucket."""
        return Path("runs" if "://" in self.storage else self.storage) / self.name / "logs"

    def member(self, name: str) -> Member:
        """Look a member up by name."""
        return next(member for member in self.members if member.name == name)

    def shapes(self) -> dict[str, Shape | None]:
        """Shape of every member that the recipe alone tells (None where a hub model decides)."""
        shapes: dict[str, Shape | None] = {}
        for member in self.members:
            parent = shapes.get(member.origin.partition("@")[0]) if member.origin else None
            shapes[member.name] = member.shape(parent)
        return shapes

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        from polyglossa.recipe.cross_checks import check

        check(self)
        if self.tune is not None:
            from polyglossa.recipe.trial import check_space

            check_space(self)
        return self
