"""The backbone stage: a new Qwen3 model with a tokenizer trained on the corpus, or a model loaded by name.

Its artifact holds `model/`, a directory that stock loaders read; the untrained model that a family is measured
against is this one.

    python jobs/backbone.py RECIPE         # as part of a recipe's run
"""

import tempfile
from collections.abc import Iterator, Mapping

import pyarrow.fs as pafs
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.backbone.texts import training_texts
from polyglossa.errors import DataError
from polyglossa.model.directory import build_model, load_backbone, save_model_directory
from polyglossa.model.tokenizer import load_tokenizer, train_tokenizer
from polyglossa.progress import Bar, track
from polyglossa.recipe.backbone import BackboneConfig
from polyglossa.recipe.placement import StagePlacement

STAGE = "backbone"
REVISION = 2


def run(config: BackboneConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Write the model directory that members start from.

    Args:
        config: a shape and a tokenizer to train, or a model's name.
        inputs: `corpus`, whose training texts the tokenizer is trained on.
        draft: receives `model/`.
        placement: unused; one process on the driver suffices.

    Raises:
        DataError: a named model cannot be loaded or is shorter than the recipe's texts.
    """
    with track(STAGE, unit="texts") as bar:
        backbone, tokenizer = _load(config) if config.model else _build(config, inputs["corpus"], draft, bar)
    # The full width only: a model is Matryoshka once a stage has trained it so.
    full = (int(backbone.config.hidden_size),)
    with tempfile.TemporaryDirectory() as folder:
        save_model_directory(
            folder, backbone, tokenizer, max_tokens=config.max_tokens, prompts={}, matryoshka_widths=full
        )
        filesystem, path = open_storage(draft.at("model"))
        pafs.copy_files(folder, path, destination_filesystem=filesystem)
    draft.count(
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        vocabulary=int(backbone.config.vocab_size),
        hidden=full[0],
    )


def _build(
    config: BackboneConfig, corpus: Artifact, draft: Draft, bar: Bar
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    assert config.shape is not None
    assert config.tokenizer is not None

    def counted() -> Iterator[str]:
        for text in training_texts(corpus):
            bar.advance()
            yield text

    tokenizer = train_tokenizer(counted(), vocabulary=config.tokenizer.vocabulary, max_tokens=config.max_tokens)
    draft.count(tokenizer_texts=int(bar.done))
    backbone = build_model(
        **config.shape.model_dump(),
        vocabulary=config.tokenizer.vocabulary,
        max_tokens=config.max_tokens,
        eos=tokenizer.eos_token_id,
        padding=tokenizer.pad_token_id,
        seed=config.seed,
    )
    return backbone, tokenizer


def _load(config: BackboneConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    assert config.model is not None
    backbone = load_backbone(config.model, revision=config.revision)
    tokenizer = load_tokenizer(config.model, revision=config.revision, max_tokens=config.max_tokens)
    longest = int(backbone.config.max_position_embeddings)
    if longest < config.max_tokens:
        raise DataError(
            f"{config.model}: reads at most {longest} tokens, and backbone.max_tokens is {config.max_tokens}. Lower it."
        )
    return backbone, tokenizer
