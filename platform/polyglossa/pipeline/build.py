"""Build the graph of stages that makes a recipe's family. Pure: nothing is read, written or started here.

corpus → backbone → pack → train ┬→ mine → pack → train ─┬→ evaluate → report → serve
└→ prune → (distill) → train ┘
train → merge, where a member averages models; train → adapters, where it has one for each task
corpus → pack of texts → distill, where a teacher is from outside
synthesize → corpus, where a language model writes a source
"""

from collections.abc import Sequence
from typing import Any

from polyglossa.errors import RecipeError
from polyglossa.pipeline.graph import Graph, Node
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.outside import OutsideTeacher, is_own
from polyglossa.recipe.sections.evaluate import EvaluationTextsConfig
from polyglossa.recipe.sections.members import AdaptersConfig, Member
from polyglossa.recipe.sections.own import Bm25Config, OwnConfig, OwnStage, PreviousModel
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.recipe.sections.prune import PruneStage
from polyglossa.recipe.sections.report import ReportConfig, ReportedMember
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.recipe.sections.train import EvaluationBeside, StageConfig, TrainConfig


def build(recipe: Recipe, previous: PreviousModel | None = None) -> Graph:
    """Lay out the nodes of a recipe.

    Args:
        recipe: what to make.
        previous: model promoted by an earlier run, that the section `own` is held against too.
    """
    return _Builder(recipe, previous).build()


def describe(recipe: Recipe) -> str:
    """List the graph of a recipe: a node a line, with what it reads."""
    lines = [f"{node.name:<34} ← {', '.join(node.inputs.values()) or '-'}" for node in build(recipe).nodes.values()]
    return "\n".join(lines)


class _Builder:
    def __init__(self, recipe: Recipe, previous: PreviousModel | None) -> None:
        self.recipe, self.previous = recipe, previous
        self.graph = Graph()
        self.models: dict[str, str] = {}  # "<member>@<stage>" → node
        self.roots: dict[str, str] = {}  # member → the backbone node whose tokenizer it reads with
        self.start: dict[str, str] = {}  # member → the node of its untrained model
        self.judged: dict[str, str] = {}  # node of a model with adapters → the node of the same weights without

    def build(self) -> Graph:
        self.graph.add(Node("corpus", "corpus", self.recipe.corpus, self._evaluation_texts() | self._synthetic()))
        for member in self.recipe.members:
            self._member(member)
        self._evaluate_and_serve()
        return self.graph

    def _evaluation_texts(self) -> dict[str, str]:
        """Texts of the tasks that the corpus is cleaned against, where the recipe names any."""
        tasks = self.recipe.corpus.decontamination.tasks
        if not tasks:
            return {}
        config = EvaluationTextsConfig.of(self.recipe.evaluate, tasks)
        return {"evaluation_texts": self.graph.add(Node("evaluation_texts", "evaluation_texts", config))}

    def _synthetic(self) -> dict[str, str]:
        """Pairs of the sources that a language model writes."""
        written = [source for source in self.recipe.corpus.sources if isinstance(source, SyntheticSource)]
        return {
            f"synthetic:{source.name}": self.graph.add(Node(f"synthesize.{source.name}", "synthesize", source))
            for source in written
        }

    def _member(self, member: Member) -> None:
        if member.backbone is not None:
            shared = {"tokenizer": self.roots[member.reads_with]} if member.reads_with is not None else {}
            backbone = Node(f"backbone.{member.name}", "backbone", member.backbone, {"corpus": "corpus", **shared})
            model = self.graph.add(backbone)
            self.roots[member.name] = shared.get("tokenizer", model)
            self.models[f"{member.name}@backbone"] = model
        elif member.prune is not None:
            model = self._pruned(member)
        else:
            self.models[f"{member.name}@merge"] = self._merged(member)
            return
        self.start[member.name] = model
        for stage in member.stages:
            pack = self._pack(member, stage)
            taught = member.teacher is not None and stage == member.stages[-1]
            trained = self._train(member, stage, model, pack, taught=taught)
            if taught and member.without_distillation:
                self.models[f"{member.name}@without"] = self._train(member, stage, model, pack, taught=False)
            self.models[f"{member.name}@{stage}"] = model = trained
        if member.adapters is not None:
            self._adapted(member, model)
        if member.merge is not None:
            self.models[f"{member.name}@merge"] = self._merged(member)

    def _adapted(self, member: Member, model: str) -> None:
        """Train an adapter a task, all from one model, and put them beside it."""
        assert member.adapters is not None
        for stage in dict.fromkeys(member.adapters.values()):
            pack = self._pack(member, stage)
            self.models[f"{member.name}@{stage}"] = self._train(member, stage, model, pack, taught=False)
        roles = {f"adapter:{task}": self.models[f"{member.name}@{stage}"] for task, stage in member.adapters.items()}
        config = AdaptersConfig(tasks=tuple(sorted(member.adapters)))
        node = Node(f"adapters.{member.name}", "adapters", config, {"model": model, **roles})
        self.models[f"{member.name}@adapters"] = adapted = self.graph.add(node)
        self.judged[adapted] = model

    def _pruned(self, member: Member) -> str:
        assert member.prune is not None
        inputs = {"model": self.models[member.prune.from_], "pack": self._pack_of(member.prune.from_)}
        own_tokens = member.prune.vocabulary is not None
        if own_tokens:
            inputs["corpus"] = "corpus"
        pruned = self.graph.add(Node(f"prune.{member.name}", "prune", PruneStage.of(member.prune), inputs))
        self.roots[member.name] = pruned if own_tokens else self.roots[member.prune.from_.partition("@")[0]]
        return pruned

    def _merged(self, member: Member) -> str:
        """Average a member's last model, or the first one it names, with the others; judged on what that one read."""
        assert member.merge is not None
        own = [f"{member.name}@{member.stages[-1]}"] if member.stages else []
        models = [*own, *member.merge.models]
        self.roots.setdefault(member.name, self.roots[models[0].partition("@")[0]])
        roles = {f"model:{index}": self.models[reference] for index, reference in enumerate(models)}
        inputs = {**roles, "pack": self._pack_of(models[0])}
        return self.graph.add(Node(f"merge.{member.name}", "merge", member.merge.settled(), inputs))

    def _pack_of(self, reference: str) -> str:
        """The packed data that a model was trained on last, or would be first."""
        name, _, stage = reference.partition("@")
        member = self.recipe.member(name)
        if stage == "backbone":
            return self._pack(member, member.trainings[0])  # it has read none here: the first that it will read
        if stage != "merge":
            return self._pack(member, stage)
        assert member.merge is not None
        return self._pack_of(f"{name}@{member.stages[-1]}" if member.stages else member.merge.models[0])

    def _pack(self, member: Member, stage: str) -> str:
        config = PackConfig.of(self.recipe.training[stage])
        inputs = {"corpus": "corpus", "backbone": self.roots[member.name]}
        if config.hard_negatives:
            inputs["mine"] = self._mine(stage)
        return self.graph.add(Node(f"pack.{self.roots[member.name].partition('.')[2]}.{stage}", "pack", config, inputs))

    def _mine(self, stage: str) -> str:
        """The negatives of a training stage: mined by the section's model, or anew by the one that `refresh` names."""
        assert self.recipe.mine is not None
        settled = self.recipe.mine.for_stage(stage)
        reference = settled.model
        inputs = {"corpus": "corpus"}
        if is_own(reference):
            if reference not in self.models:
                raise RecipeError(
                    f"mine.model: {reference!r} is trained after a stage that reads its negatives; "
                    f"name an earlier model: {', '.join(self.models) or 'none yet'}."
                )
            inputs["model"] = self.models[str(reference)]
        name = f"mine.{stage}" if stage in self.recipe.mine.refresh else "mine"
        return self.graph.add(Node(name, "mine", settled, inputs))

    def _train(self, member: Member, stage: str, model: str, pack: str, *, taught: bool) -> str:
        inputs, live = {"model": model, "pack": pack}, member.teacher_states == "live"
        for index, teacher in enumerate(member.teachers if taught else ()):
            role = f"teacher:{index}" if index else "teacher"
            inputs[role] = self._final(teacher) if live else self._teacher_store(teacher, stage)
        if taught and member.outside is not None:
            inputs["teacher"] = self._outside_store(member, member.outside, stage)
        if self.recipe.training[stage].guide is not None:
            inputs["guide"] = self._guide_store(stage)
        evaluation = EvaluationBeside.of(self.recipe.training[stage], self.recipe.evaluate)
        if evaluation is not None:
            inputs["corpus"] = "corpus"
        config = TrainConfig.of(
            stage_of(member, self.recipe.training[stage]),
            distil=taught,
            teacher_shares=tuple(member.teachers.values()),
            live=live,
            projection=member.projection,
            evaluation=evaluation,
        )
        untaught = ".without" if member.teacher is not None and stage == member.stages[-1] and not taught else ""
        return self.graph.add(Node(f"train.{member.name}.{stage}{untaught}", "train", config, inputs))

    def _final(self, name: str) -> str:
        return self.models[f"{name}@{self.recipe.member(name).final}"]

    def _teacher_store(self, teacher: str, stage: str) -> str:
        """Made from the stage's texts in the teacher's own tokens; texts keep their places whatever the tokenizer."""
        pack = self._pack(self.recipe.member(teacher), stage)
        students = [member for member in self.recipe.members if teacher in member.teachers]
        config = self._teacher_config(stage, self._widest(students), None)
        name = f"distill.{teacher}.{pack.partition('.')[2]}"
        return self.graph.add(Node(name, "distill", config, {"model": self._final(teacher), "pack": pack}))

    def _outside_store(self, student: Member, teacher: OutsideTeacher, stage: str) -> str:
        """Made from the stage's texts as they are; no member's name begins with the underscore of its node's."""
        students = [member for member in self.recipe.members if member.outside == teacher]
        whole = any(member.projection for member in students)
        config = self._teacher_config(stage, None if whole else self._widest(students), teacher)
        inputs = {"pack": self._text_pack(stage)}
        return self.graph.add(Node(f"distill._outside.{student.name}.{stage}", "distill", config, inputs))

    def _guide_store(self, stage: str) -> str:
        """Made as a teacher's; whole, for only its similarities count."""
        guide = self.recipe.training[stage].guide
        assert guide is not None
        config, name = self._teacher_config(stage, None, guide.outside), f"distill._guide.{stage}"
        if guide.outside is not None:
            return self.graph.add(Node(name, "distill", config, {"pack": self._text_pack(stage)}))
        reference = str(guide.model)
        if reference not in self.models:
            raise RecipeError(
                f"training.{stage}.guide.model: {reference!r} is trained after this stage, or by it; name an earlier "
                f"model: {', '.join(self.models) or 'none yet'}."
            )
        pack = self._pack(self.recipe.member(reference.partition("@")[0]), stage)
        return self.graph.add(Node(name, "distill", config, {"model": self.models[reference], "pack": pack}))

    def _text_pack(self, stage: str) -> str:
        config = PackConfig.of_texts(self.recipe.training[stage])
        inputs = {"corpus": "corpus", **({"mine": self._mine(stage)} if config.hard_negatives else {})}
        return self.graph.add(Node(f"pack._texts.{stage}", "pack", config, inputs))

    def _teacher_config(self, stage: str, width: int | None, outside: OutsideTeacher | None) -> TeacherConfig:
        precise = self.recipe.training[stage].dtype != "bfloat16"
        return TeacherConfig(
            width=width,
            dtype="float32" if precise else "bfloat16",
            stored="float32" if precise else "float16",
            outside=outside,
        )

    def _widest(self, students: Sequence[Member]) -> int | None:
        """One store serves all students of a teacher: the widest decides. None keeps the teacher's full width."""
        every = self.recipe.shapes()
        shapes = [every[member.name] for member in students]
        known = [shape.hidden for shape in shapes if shape is not None]
        return max(known) if len(known) == len(shapes) else None

    def _evaluate_and_serve(self) -> None:
        labels: dict[str, str] = {}
        rows: list[ReportedMember] = []
        judged, cheap = self.recipe.evaluate.for_members(), self.recipe.evaluate.for_untrained()
        beside: set[str | None] = set()
        for member in self.recipe.members:
            final = self.models[f"{member.name}@{member.final}"]
            labels[member.name] = final
            unmerged = f"{member.name}.unmerged" if cheap and member.merge is not None and member.stages else None
            if unmerged is not None:
                labels[unmerged] = self.models[f"{member.name}@{member.stages[-1]}"]
            untrained = f"{member.name}.untrained" if cheap and member.backbone is not None else None
            if untrained is not None:
                labels[untrained] = self.start[member.name]
            beside |= {unmerged, untrained}
            without = self.models.get(f"{member.name}@without")
            if without is not None:
                labels[f"{member.name}.without_distillation"] = without
            tasks = {f"{member.name}.{task}": stage for task, stage in (member.adapters or {}).items()}
            labels |= {label: self.models[f"{member.name}@{stage}"] for label, stage in tasks.items()}
            rows.append(
                ReportedMember(
                    name=member.name,
                    untrained=untrained,
                    without_distillation=f"{member.name}.without_distillation" if without else None,
                    unmerged=unmerged,
                    teacher=member.taught_by,
                )
            )
            rows += [ReportedMember(name=label, untrained=untrained) for label in tasks]
        inputs = {"corpus": "corpus"}
        inputs |= {name: name for name, node in self.graph.nodes.items() if node.stage == "mine"}
        for label, model in labels.items():
            roles = {"corpus": "corpus", "model": self.judged.get(model, model), **self._shared_index(label)}
            config = cheap if cheap is not None and label in beside else judged
            inputs[f"evaluate:{label}"] = self.graph.add(Node(f"evaluate.{label}", "evaluate", config, roles))
        for node in self.graph.nodes.values():
            if node.stage == "train":
                inputs[f"train:{node.name.removeprefix('train.')}"] = node.name
        if self.recipe.own is not None:
            inputs["own"] = self._own(self.recipe.own, labels, inputs)
        report = self.graph.add(Node("report", "report", ReportConfig(members=tuple(rows)), inputs))
        served = self.recipe.serve.members or tuple(member.name for member in self.recipe.members)
        models = {f"model:{name}": labels[name] for name in served}
        self.graph.add(Node("serve", "serve", self.recipe.serve, {"corpus": "corpus", "report": report, **models}))

    def _own(self, own: OwnConfig, labels: dict[str, str], judged: dict[str, str]) -> str:
        """Hold the first member against the model that it came from, on one's own data and elsewhere."""
        member, evaluate = self.recipe.members[0], self.recipe.evaluate
        local = tuple(task for task in evaluate.local if task.name in own.tasks)
        how: dict[str, Any] = {
            "local": local, "data": evaluate.data, "resamples": evaluate.resamples, "seed": evaluate.seed,
        }  # fmt: skip
        start = f"{member.name}.untrained"
        inputs = {
            "evaluate": judged[f"evaluate:{member.name}"], "evaluate:start": judged[f"evaluate:{start}"],
            "corpus": "corpus", "model": labels[member.name], "start": labels[start],
        }  # fmt: skip
        if own.bm25:
            inputs["bm25"] = self.graph.add(Node("bm25", "bm25", Bm25Config(**how)))
        stage = OwnStage(
            **own.model_dump(),
            **how,
            member=member.name,
            previous=self.previous,
            elsewhere=evaluate.heldout,
            max_tokens=evaluate.max_tokens,
        )
        return self.graph.add(Node("own", "own", stage, inputs))

    def _shared_index(self, label: str) -> dict[str, str]:
        """The teacher whose document vectors a taught member searches too, where the recipe asks for that figure."""
        member = next((member for member in self.recipe.members if member.name == label), None)
        if not self.recipe.evaluate.teacher_documents or member is None or len(member.teachers) != 1:
            return {}
        return {"teacher": self._final(next(iter(member.teachers)))}


def stage_of(member: Member, stage: StageConfig) -> StageConfig:
    """A stage's settings with a member's own learning rate, epochs and steps in their place."""
    own = {name: value for name in ("learning_rate", "epochs", "steps") if (value := getattr(member, name)) is not None}
    return StageConfig.model_validate({**stage.model_dump(), **own})
