"""A teacher from outside reads texts in its own tokens and behind its own prompts; its students train as any other's.

Also: nothing is asked twice, and what goes wrong at a teacher is one clear error with nothing half-written.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from distill.outside_world import STAGE, make_corpus, make_packs, make_store, rows_of
from endpoint.fake import Fake, running
from model.family_models import CONFIGS, save_sentence_transformer, word_tokenizer
from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.data.pack_index import BundleFile, BundleSize, PackedSource
from polyglossa.distill.outside import windows
from polyglossa.embedding import actors
from polyglossa.errors import DataError, EndpointError
from polyglossa.model.directory import load_model
from polyglossa.model.instructions import render
from polyglossa.recipe.outside import OutsideTeacher
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.records import text_id
from polyglossa.train import run as train
from polyglossa.train.plan import plan_run
from polyglossa.train.teachers import check_store
from polyglossa.vectors import finish
from train.toys import make_model

pytestmark = pytest.mark.usefixtures("ray_local")

PROMPTS = {"query": "house ", "document": "tree "}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def student(root: str) -> Artifact:
    return make_model(root)


@pytest.fixture(scope="module")
def packs(root: str, student: Artifact, ray_local: None) -> tuple[Artifact, Artifact]:
    """Of tokens, of texts."""
    return make_packs(root, make_corpus(root), student)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT with mean pooling, a tokenizer of whole words and prompts of its own."""
    return save_sentence_transformer(
        tmp_path_factory.mktemp("bert"), CONFIGS["bert"](), word_tokenizer(before="<s>", behind="</s>"),
        pooling="mean", prompts=PROMPTS,
    )  # fmt: skip


def trained(root: str | Path, student: Artifact, pack: Artifact, store: Artifact, **settings: bool) -> Artifact:
    config, inputs = TrainConfig.of(STAGE, distil=True, **settings), {"model": student, "pack": pack, "teacher": store}
    key = ArtifactKey("train", "toy", train.REVISION, config.model_dump(mode="json"), inputs)
    placement = TrainPlacement(workers=0, zero=0, checkpoint_steps=100)
    return produce(str(root), key, lambda draft: train.run(config, inputs, draft, placement))


def test_a_pack_of_texts_holds_the_texts_of_the_pack_of_tokens_in_their_places(
    packs: tuple[Artifact, Artifact],
) -> None:
    tokens, texts = packs
    for source, instruction in (("asked", "Find it."), ("plain", None)):
        for ours, theirs in zip(rows_of(tokens, source), rows_of(texts, source), strict=True):
            assert ours["text_ids"] == theirs["text_ids"]
            parts = list(zip(theirs["texts"], theirs["instructions"], strict=True))
            assert [text_id(render(*part)) for part in parts] == theirs["text_ids"]
            assert {index for index, asks in enumerate(theirs["queries"]) if asks} == set(ours["query"])
            assert {parts[index][1] for index in ours["query"]} == {instruction}
            assert {parts[index][1] for index in ours["positive"]} == {None}


def test_states_are_those_of_sentence_transformers_behind_the_models_own_prompts(
    tmp_path: Path, packs: tuple[Artifact, Artifact], foreign: str
) -> None:
    store = make_store(tmp_path, packs[1], OutsideTeacher(model=foreign))
    theirs = SentenceTransformer(foreign, device="cpu")
    for bundle, taught in zip(rows_of(packs[1], "asked"), rows_of(store, "asked"), strict=True):
        prompts = [PROMPTS["query" if asks else "document"] for asks in bundle["queries"]]
        rendered = [prompt + text for prompt, text in zip(prompts, bundle["texts"], strict=True)]
        assert taught["text_ids"] == bundle["text_ids"]
        ours = finish(np.array(taught["states"], np.float32))
        np.testing.assert_allclose(ours, theirs.encode(rendered, prompt=""), atol=1e-5)
    assert check_store(store, packs[0]) == 32


def test_prompts_of_the_recipe_stand_in_place_of_the_models(
    tmp_path: Path, packs: tuple[Artifact, Artifact], foreign: str
) -> None:
    teacher = OutsideTeacher(model=foreign, prompts="instruction", document_prompt="stone ")
    store = make_store(tmp_path, packs[1], teacher)
    theirs = SentenceTransformer(foreign, device="cpu")
    for bundle, taught in zip(rows_of(packs[1], "asked"), rows_of(store, "asked"), strict=True):
        rendered = [
            render(text, instruction) if asks else "stone " + text
            for text, instruction, asks in zip(bundle["texts"], bundle["instructions"], bundle["queries"], strict=True)
        ]
        ours = finish(np.array(taught["states"], np.float32))
        np.testing.assert_allclose(ours, theirs.encode(rendered, prompt=""), atol=1e-5)


def test_a_student_learns_from_a_teacher_with_another_tokenizer(
    tmp_path: Path, root: str, student: Artifact, packs: tuple[Artifact, Artifact], foreign: str
) -> None:
    store = make_store(tmp_path, packs[1], OutsideTeacher(model=foreign))
    made = trained(tmp_path, student, packs[0], store)
    steps = [json.loads(line) for line in Path(made.at("metrics.jsonl")).read_text().splitlines()]
    assert [step["terms"]["distillation"] > 0 for step in steps] == [True] * 6
    names = set(load_model(student.at("model")).backbone.state_dict())
    assert set(load_model(made.at("model")).backbone.state_dict()) == names


@pytest.mark.parametrize("width", [16, 48])
def test_a_teacher_of_another_width_is_reached_whole_through_the_projection(
    tmp_path: Path, student: Artifact, packs: tuple[Artifact, Artifact], width: int
) -> None:
    with running(Fake(width=width)) as url:
        store = make_store(tmp_path, packs[1], OutsideTeacher(model="m", endpoint=url))
    assert store.counts["width"] == width
    if width < 32:
        with pytest.raises(DataError, match=r"has 16 coordinates a text.*`projection: true`"):
            trained(tmp_path, student, packs[0], store)
    config, inputs = TrainConfig.of(STAGE, distil=True, projection=True), {"model": student, "pack": packs[0]}
    planned = plan_run("x", config, {**inputs, "teacher": store}, str(tmp_path), str(tmp_path))
    assert ([term.width for term in planned.teacher_terms], planned.projections) == ([width], (width,))
    made = trained(tmp_path, student, packs[0], store, projection=True)
    assert made.counts["steps"] == 6


def test_an_endpoint_is_sent_each_rendered_text_once(tmp_path: Path, packs: tuple[Artifact, Artifact]) -> None:
    fake = Fake(key="sesame", most_texts=8)
    teacher = {"model": "m", "query_prompt": "query: ", "document_prompt": "passage: ", "key_variable": "A_KEY"}
    with running(fake) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_KEY", "sesame")
        store = make_store(tmp_path, packs[1], OutsideTeacher(endpoint=url, **teacher))
    for bundle, taught in zip(rows_of(packs[1], "plain"), rows_of(store, "plain"), strict=True):
        rendered = [
            ("query: " if asks else "passage: ") + text
            for text, asks in zip(bundle["texts"], bundle["queries"], strict=True)
        ]
        np.testing.assert_allclose(taught["states"], fake.vectors(rendered, 0), atol=1e-6)
    answered = sent_texts(fake, most=8)
    assert len(answered) == len(set(answered)) == store.counts["embedded"]
    assert "sesame" not in Path(store.at("manifest.json")).read_text()


def sent_texts(fake: Fake, most: int = 1 << 20) -> list[str]:
    """Corpus texts that the endpoint answered: those of its panel have none of the prompts behind a word of ours."""
    return [
        text
        for body in fake.asked
        if len(body["input"]) <= most
        for text in body["input"]
        if text.startswith(("query: ", "passage: ")) and "river run" not in text
    ]


def test_a_run_that_broke_off_goes_on_where_it_was(
    tmp_path: Path, packs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "_ASKED_TEXTS", 16)
    fake = Fake()
    with running(fake) as url:
        teacher = OutsideTeacher(
            model="m", endpoint=url, query_prompt="query: ", document_prompt="passage: ", patience_seconds=0.2
        )
        break_after(fake, 50)
        with pytest.raises(EndpointError, match=r"429.*asked \d+ times"):
            make_store(tmp_path, packs[1], teacher)
        assert not list(tmp_path.glob("artifacts/distill/*/manifest.json"))
        assert not list(tmp_path.glob("artifacts/**/*.parquet"))
        first = [text for body in fake.asked[:-1] for text in body["input"]]
        fake.asked.clear()
        fake.restore()
        store = make_store(tmp_path, packs[1], teacher)
    again = sent_texts(fake)
    kept = [text for text in first if text.startswith(("query: ", "passage: ")) and "river run" not in text]
    assert len(kept) >= 32
    assert not set(again) & set(kept[:32])
    assert len(again) == len(set(again)) == store.counts["embedded"]


def break_after(fake: Fake, texts: int) -> None:
    """Let an endpoint be busy for ever once it has embedded so many texts of ours."""
    plain = fake.vectors

    def vectors(asked: list[str], request: int) -> np.ndarray:
        nonlocal texts
        texts -= sum(text.startswith(("query: ", "passage: ")) and "river run" not in text for text in asked)
        if texts <= 0:
            fake.busy = 1 << 30
        return plain(asked, request)

    def restore() -> None:
        fake.busy = 0
        fake.vectors = plain  # type: ignore[method-assign]

    fake.vectors, fake.restore = vectors, restore  # type: ignore[method-assign,attr-defined]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wider_after": 100}, r"answered vectors of width 17.*after vectors of width 16; another model"),
        ({"broken": "nan"}, r"is not finite \(NaN or infinity\)"),
    ],
)
def test_an_endpoint_that_changes_or_gives_nan_is_one_clear_error(
    tmp_path: Path, packs: tuple[Artifact, Artifact], change: dict[str, object], said: str
) -> None:
    teacher = {"model": "m", "query_prompt": "bad "}
    with running(Fake(**change)) as url, pytest.raises(EndpointError, match=said):  # type: ignore[arg-type]
        make_store(tmp_path, packs[1], OutsideTeacher(endpoint=url, **teacher))
    assert not list(tmp_path.glob("artifacts/distill/*/manifest.json"))


def test_files_are_rendered_a_window_at_a_time() -> None:
    one = packed([10, 20, 5], [BundleFile("a", 2), BundleFile("b", 1)])
    other = packed([50], [BundleFile("c", 1), BundleFile("none", 0)])
    assert list(windows([one, other], 40)) == [["a", "b"], ["c"]]
    assert list(windows([one, other], 1000)) == [["a", "b", "c"]]


def packed(texts: list[int], files: list[BundleFile]) -> PackedSource:
    return PackedSource(
        name="s", task="retrieval", in_batch=True, examples=1, negatives=0, instructions={}, document_instructions={},
        bundles=tuple(BundleSize(1, count, 1) for count in texts), files=tuple(files), validation=(),
        validation_files=(),
    )  # fmt: skip
