"""Rules that span a recipe's sections: who may be pruned from, taught by and mined with whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from polyglossa.recipe.outside import is_own
from polyglossa.recipe.sections.backbone import Shape

if TYPE_CHECKING:
    from polyglossa.recipe.models import Recipe
    from polyglossa.recipe.sections.members import Member


def check(recipe: Recipe) -> None:
    """Raise ValueError, with the path, for the first reference that does not hold."""
    seen: dict[str, Member] = {}
    shapes: dict[str, Shape | None] = {}
    for index, member in enumerate(recipe.members):
        where = f"members.{index}"
        if member.name in seen:
            raise ValueError(f"{where}.name: {member.name!r} names two members; names must differ")
        for stage in member.trainings:
            if stage not in recipe.training:
                field = "stages" if stage in member.stages else "adapters"
                raise ValueError(f"{where}.{field}: {stage!r} is not one of {_names(recipe.training)}")
            if recipe.training[stage].hard_negatives and recipe.mine is None:
                raise ValueError(f"training.{stage}.hard_negatives: needs a `mine` section, and there is none")
        for stage in (member.adapters or {}).values():
            if recipe.training[stage].lora is None:
                raise ValueError(f"{where}.adapters: training.{stage} has no `lora`, so it ends as no adapter; add it")
        if member.reads_with is not None and member.reads_with not in seen:
            known = _names(seen)
            raise ValueError(f"{where}.reads_with: {member.reads_with!r} is not an earlier member; those are {known}")
        shapes[member.name] = _shape(member, seen, shapes, where)
        if member.merge is not None:
            _check_merge(member, recipe, seen, shapes, where)
        if member.teacher is not None:
            _check_teacher(member, seen, shapes, where)
            _check_outside(member, recipe, where)
            if member.projection and recipe.training[member.stages[-1]].objective.layer_exits:
                raise ValueError(f"{where}.projection: does not go with `layer_exits`; leave one of them out")
        elif member.without_distillation:
            raise ValueError(f"{where}.without_distillation: the member has no `teacher` to do without")
        seen[member.name] = member
    _check_prompts(recipe)
    _check_evaluations(recipe)
    _check_own(recipe)
    for name, settings in recipe.training.items():
        if settings.guide is not None and settings.guide.outside is None:
            _model_at(str(settings.guide.model), seen, f"training.{name}.guide.model")
    if recipe.mine is not None and is_own(recipe.mine.model):
        _model_at(str(recipe.mine.model), seen, "mine.model")
    served = recipe.serve.members or ()
    for name in (*served, *recipe.serve.aliases.values()):
        if name not in seen:
            raise ValueError(f"serve: {name!r} is not one of {_names(seen)}")


def _shape(member: Member, seen: dict[str, Member], shapes: dict[str, Shape | None], where: str) -> Shape | None:
    if member.origin is None:
        return member.shape()
    name = member.origin.partition("@")[0]
    if member.prune is None:
        return member.shape(shapes.get(name))
    if name == member.name:
        raise ValueError(f"{where}.prune.from: {name!r} cannot be pruned from itself; name an earlier member")
    _model_at(member.origin, seen, f"{where}.prune.from")
    parent = shapes[name]
    if parent is None:
        return None
    for field in ("hidden", "mlp", "layers", "kv_heads"):
        got, limit = getattr(member.prune, field), getattr(parent, field)
        if got is not None and got > limit:
            raise ValueError(f"{where}.prune.{field}: {got} is wider than the {limit} of {name!r}; use at most {limit}")
    return member.shape(parent)


def _check_merge(
    member: Member, recipe: Recipe, seen: dict[str, Member], shapes: dict[str, Shape | None], where: str
) -> None:
    assert member.merge is not None
    for index, reference in enumerate(member.merge.models):
        path = f"{where}.merge.models.{index}"
        _model_at(reference, {**seen, member.name: member}, path)
        name = reference.partition("@")[0]
        if reference in (f"{member.name}@{stage}" for stage in (*member.stages[-1:], "merge")):
            raise ValueError(f"{path}: {reference!r} is merged anyway; leave it out")
        if reference in member.merge.models[:index]:
            raise ValueError(f"{path}: {reference!r} is named twice; give it one greater weight instead")
        ours, theirs = shapes[member.name], shapes[name]
        if ours is not None and theirs is not None and ours != theirs:
            raise ValueError(f"{path}: {name!r} has another shape than {member.name!r}; only equal shapes average")
    late = member.stages and member.merge.late_checkpoints and recipe.training[member.stages[-1]].late_checkpoints
    if not member.merge.models and not late:
        stage = member.stages[-1]
        raise ValueError(f"{where}.merge: one model is no average; set training.{stage}.late_checkpoints or `models`")


def _check_teacher(member: Member, seen: dict[str, Member], shapes: dict[str, Shape | None], where: str) -> None:
    student = shapes[member.name]
    narrower = 0
    for name in member.teachers:
        if name == member.name:
            raise ValueError(f"{where}.teacher: {member.name!r} cannot teach itself; name an earlier member")
        if name not in seen:
            raise ValueError(f"{where}.teacher: {name!r} is not an earlier member; those are {_names(seen)}")
        teacher = shapes[name]
        if teacher is None or student is None or teacher.hidden >= student.hidden:
            narrower += teacher is None or student is None
            continue
        narrower += 1
        if not member.projection:
            raise ValueError(
                f"{where}.teacher: {name!r} has width {teacher.hidden}, narrower than its student's "
                f"{student.hidden}; a teacher must be at least as wide, or set {where}.projection: true"
            )
    if member.projection and not narrower and member.outside is None:
        raise ValueError(
            f"{where}.projection: its teachers are as wide as {member.name!r} and share its coordinates; leave it out"
        )


def _check_outside(member: Member, recipe: Recipe, where: str) -> None:
    """Check what a teacher from outside is given to read; its width is known when it is opened."""
    if member.outside is not None and recipe.training[member.stages[-1]].prompts is not None:
        raise ValueError(
            f"training.{member.stages[-1]}.prompts: a teacher from outside gets the texts without them; leave it out"
        )
    if member.outside is None or member.outside.prompts != "instruction":
        return
    if not recipe.training[member.stages[-1]].instructions:
        raise ValueError(
            f"{where}.teacher.prompts: 'instruction' needs training.{member.stages[-1]}.instructions: true, and it is "
            "false; take 'model' or 'none', or give `query_prompt`"
        )


def _check_evaluations(recipe: Recipe) -> None:
    """Check what stages are evaluated by while they train."""
    evaluate = recipe.evaluate
    files = (*evaluate.heldout, *(task.name for task in evaluate.local))
    known = (*files, *evaluate.tasks)
    for name, stage in recipe.training.items():
        where = f"training.{name}"
        for task in stage.evaluate_tasks or ():
            if task not in known:
                raise ValueError(f"{where}.evaluate_tasks: {task!r} is not in `evaluate`; it has {_names(known)}")
        if stage.evaluate_every is None and stage.evaluate_tasks is not None:
            raise ValueError(f"{where}.evaluate_tasks: is read with `evaluate_every` alone; give that too")
        if stage.evaluate_every is not None and not (stage.evaluate_tasks or files):
            raise ValueError(f"{where}.evaluate_every: `evaluate` has neither held-out sets nor tasks from files")


def _check_prompts(recipe: Recipe) -> None:
    """Check that texts get one thing in front of them."""
    for name, stage in recipe.training.items():
        if stage.prompts is not None and stage.instructions:
            raise ValueError(f"training.{name}.prompts: stand where `instructions` would; leave one of them out")
        outside = stage.guide.outside if stage.guide is not None else None
        if outside is None:
            continue
        if stage.prompts is not None:
            raise ValueError(f"training.{name}.prompts: a guide from outside gets the texts without them; leave it out")
        if outside.prompts == "instruction" and not stage.instructions:
            raise ValueError(
                f"training.{name}.guide.model.prompts: 'instruction' needs training.{name}.instructions: true, and it "
                "is false; take 'model' or 'none', or give `query_prompt`"
            )


def _check_own(recipe: Recipe) -> None:
    """Check what of one's own data judges, and that there is a model to hold the result against."""
    if recipe.own is None:
        if recipe.evaluate.gate is not None and recipe.evaluate.gate.gain is not None:
            raise ValueError("evaluate.gate.gain: is a gain on the tasks of `own`, and there is no such section")
        return
    known = [task.name for task in recipe.evaluate.local]
    for name in recipe.own.tasks:
        if name not in known:
            raise ValueError(f"own.tasks: {name!r} is not one of evaluate.local; it has {_names(known)}")
    if recipe.members[0].backbone is None:
        raise ValueError("own: the first member needs a `backbone`, the model that it is held against")
    if recipe.evaluate.untrained == "none":
        raise ValueError("evaluate.untrained: none judges nothing that `own` could hold the result against; take cheap")


def _model_at(reference: str, seen: dict[str, Member], where: str) -> None:
    name, _, stage = reference.partition("@")
    if name not in seen:
        raise ValueError(f"{where}: {name!r} is not an earlier member; those are {_names(seen)}")
    if not stage:
        raise ValueError(f"{where}: {reference!r} names no stage; write {name}@{(*seen[name].stages, 'merge')[0]}")
    start = ["backbone"] if seen[name].backbone is not None else []
    has = (*start, *seen[name].trainings, *(["merge"] if seen[name].merge is not None else []))
    if stage not in has:
        raise ValueError(f"{where}: {name!r} has no stage {stage!r}; it has {_names(has)}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
