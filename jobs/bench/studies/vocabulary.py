"""What halving a broad vocabulary costs a recipe's corpus: a model with a table for more languages than it needs.

    python jobs/bench/studies/vocabulary.py --data ../shared/data --out runs/bench/vocabulary.json

The stand-in for a published backbone: a tokenizer trained on the recipe's texts and on other text besides (`--data`), a
small model with that table, trained on the recipe. Its table is then cut to half for the recipe's corpus alone, under a
guard for each language, and nothing is trained again. `relative_loss` is what held-out retrieval loses (mean of the
sets), `largest_growth` the most that any language's tokens per character grew.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.errors import PolyglossaError
from polyglossa.recipe import Profile, load_recipe
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.placement import StagePlacement, TrainPlacement
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.recipe.sections.prune import PruneStage, VocabularyConfig
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.storage import absolute

SHAPE = {"hidden": 96, "mlp": 192, "layers": 1, "heads": 4, "kv_heads": 2, "head_dim": 32}
COLUMNS = ("text", "query", "passage")
QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


def main() -> None:
    """Train the broad model, cut its table, and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default=str(QUICKSTART), help="recipe file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--data", default=os.environ.get("POLYGLOSSA_DATA", "../shared/data"), help="the other text")
    parser.add_argument("--tokens", type=int, default=65_536, help="rows of the broad table; half of them stay")
    parser.add_argument("--guard", type=float, default=0.02, help="most that a language's tokens may grow (share)")
    parser.add_argument("--steps", type=int, default=150, help="training steps of the broad model")
    parser.add_argument("--stage", default="stage1", help="training stage of the recipe")
    parser.add_argument("--out", default="runs/bench/vocabulary.json", help="JSON file for the figures")
    options = parser.parse_args()
    files = sorted(Path(options.data).glob("*/*.parquet"))
    if not files:
        sys.exit(f"{options.data}: holds no */*.parquet. Give the folder of the other text with --data.")
    try:
        found = experiment(options, files)
    except PolyglossaError as error:
        sys.stderr.write(f"vocabulary: {error}\n")
        sys.exit(error.exit_code)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(found, indent=1))
    print(json.dumps({name: value for name, value in found.items() if name != "languages"}))


def experiment(options: argparse.Namespace, files: list[Path]) -> dict[str, Any]:
    """Make each artifact that is not there, and judge the model before and after."""
    from polyglossa.evaluate.scoring.retrieval import heldout_score
    from polyglossa.evaluate.tasks.heldout import read_heldout
    from polyglossa.model.encoder import Encoder
    from polyglossa.pipeline.build import build
    from polyglossa.pipeline.run import make
    from polyglossa.runtime.session import ray_session

    recipe, profile = load_recipe(Path(options.recipe), options.set), Profile()
    corpus = make(recipe, profile, build(recipe).needed_for(["corpus"]))["corpus"]
    with ray_session(profile):
        broad, small = make_models(options, files, recipe, corpus)
    before, after = (Encoder.load(model.at("model")) for model in (broad, small))
    scores = {
        name: [round(heldout_score(read_heldout(corpus, name), one, instructed=False), 5) for one in (before, after)]
        for name in recipe.evaluate.heldout
    }
    report = small.read_json("vocabulary.json")
    parameters = [sum(value.numel() for value in one.backbone.parameters()) for one in (before, after)]
    return {
        "tokens": [report["tokens_before"], report["tokens_after"]],
        "parameters": parameters,
        "scores": scores,
        "relative_loss": sum(1 - after / before for before, after in scores.values()) / len(scores),
        "guard": options.guard,
        "largest_growth": report["largest_growth"],
        "largest_growth_language": report["largest_growth_language"],
        "languages": report["languages"],
    }


def make_models(
    options: argparse.Namespace, files: list[Path], recipe: Recipe, corpus: Artifact
) -> tuple[Artifact, Artifact]:
    """Train the broad model and cut its table; Ray is initialised."""
    from polyglossa.pack import run as pack
    from polyglossa.prune import run as prune
    from polyglossa.train import run as train

    root, one = absolute(recipe.root), StagePlacement()
    plain = recipe.training[options.stage].model_dump(mode="json") | {"steps": options.steps}
    stage = type(recipe.training[options.stage]).model_validate_json(json.dumps(plain))
    texts = {"files": [file.name for file in files], "tokens": options.tokens, "shape": SHAPE}
    key = ArtifactKey("backbone", "backbone.broad", 1, texts | {"max_tokens": stage.max_tokens}, {"corpus": corpus})
    backbone = produce(root, key, lambda draft: write_backbone(draft, files, corpus, options.tokens, stage.max_tokens))

    def made(module: Any, name: str, config: Any, inputs: dict[str, Artifact], placement: Any = one) -> Artifact:
        key = ArtifactKey(module.STAGE, name, module.REVISION, config.model_dump(mode="json"), inputs)
        return produce(root, key, lambda draft: module.run(config, inputs, draft, placement))

    packed = made(pack, "pack.broad", PackConfig.of(stage), {"corpus": corpus, "backbone": backbone})
    here = TrainPlacement(workers=0, zero=0, threads=os.cpu_count() or 1)
    inputs = {"model": backbone, "pack": packed}
    broad = made(train, "train.broad", TrainConfig.of(stage, distil=False), inputs, here)
    sizes = {name: SHAPE[name] for name in ("hidden", "mlp", "layers")}
    half = VocabularyConfig(tokens=options.tokens // 2, max_growth=options.guard)
    config = PruneStage(**sizes, vocabulary=half, calibration_rows=64)
    return broad, made(prune, "prune.broad", config, {"model": broad, "pack": packed, "corpus": corpus})


def write_backbone(draft: Draft, files: list[Path], corpus: Artifact, tokens: int, max_tokens: int) -> None:
    """Train the broad tokenizer and write an untrained model with its table."""
    from polyglossa.backbone.texts import training_texts
    from polyglossa.model.directory import build_model, save_model_directory
    from polyglossa.model.forward import TextModel
    from polyglossa.model.tokenizer import train_tokenizer
    from polyglossa.recipe.sections.backbone import TokenizerConfig

    def texts() -> Iterator[str]:
        yield from training_texts(corpus, TokenizerConfig().texts)
        for file in files:
            columns = [name for name in COLUMNS if name in pq.read_schema(file).names]
            for name in columns:
                yield from pq.read_table(file, columns=[name])[name].to_pylist()

    tokenizer = train_tokenizer(texts(), vocabulary=tokens, max_tokens=max_tokens)
    ids = {"eos": tokenizer.eos_token_id, "padding": tokenizer.pad_token_id}
    backbone = build_model(**SHAPE, vocabulary=len(tokenizer), max_tokens=max_tokens, seed=0, **ids)
    folder = draft.at("model")
    widths = (SHAPE["hidden"],)
    save_model_directory(folder, TextModel.of(backbone), tokenizer, max_tokens=max_tokens, matryoshka_widths=widths)
    draft.count(parameters=sum(value.numel() for value in backbone.parameters()), tokens=len(tokenizer))


if __name__ == "__main__":
    main()
