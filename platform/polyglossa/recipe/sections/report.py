"""Configuration of the report stage: the evaluation of each member. Derived from `members`, never written."""

from pydantic import Field

from polyglossa.recipe.strict import Strict


class ReportedMember(Strict):
    """One member of the family and the labels of its evaluations."""

    name: str
    """Member; also the label of its final model's evaluation."""
    untrained: str | None = None
    """Label of the evaluation of the model that the member started from, where it was not pruned."""
    without_distillation: str | None = None
    """Label of the evaluation of the member trained without its teacher."""
    unmerged: str | None = None
    """Label of the evaluation of the member before its models were averaged."""
    teacher: str | None = None
    """Who taught this one."""


class ReportConfig(Strict):
    """Rows of the family report, in order."""

    members: tuple[ReportedMember, ...] = Field(min_length=1)
