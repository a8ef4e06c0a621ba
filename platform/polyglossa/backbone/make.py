"""Make a backbone: build it with a tokenizer trained on the corpus, or load it by name and hold it to the recipe."""

import tempfile
from collections.abc import Iterator, Mapping

import pyarrow.fs as pafs
from transformers import PreTrainedTokenizerFast

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.backbone.texts import training_texts
from polyglossa.embedding.parity import check_parity
from polyglossa.engine.tokenizers import load_stored_tokenizer
from polyglossa.errors import DataError
from polyglossa.model.description import describe_backbone, set_attention
from polyglossa.model.directory import build_model, load_model, load_model_tokenizer, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.model.tokenizer_folder import tokenizer_fingerprint
from polyglossa.recipe.sections.backbone import BackboneConfig
from polyglossa.runtime.console import Bar, track


def make_backbone(config: BackboneConfig, inputs: Mapping[str, Artifact], draft: Draft) -> None:
    """Write the model directory; arguments and errors are those of the stage's `run`."""
    with track("backbone", unit="texts") as bar:
        model, tokenizer = _load(config) if config.model else _build(config, inputs, draft, bar)
    if "tokenizer" in inputs:
        _check_same(tokenizer, load_stored_tokenizer(inputs["tokenizer"].at("model")), config.model or "the new model")
    # The full width only: a model is Matryoshka once a stage has trained it so.
    full = (model.description.width,)
    with tempfile.TemporaryDirectory() as folder:
        save_model_directory(folder, model, tokenizer, max_tokens=config.max_tokens, matryoshka_widths=full)
        if config.model is not None:
            _check_parity(config, folder, draft)
        filesystem, path = open_storage(draft.at("model"))
        pafs.copy_files(folder, path, destination_filesystem=filesystem)
    draft.write_json(model.description.answer(), "description.json")
    draft.count(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=int(model.backbone.config.vocab_size),
        hidden=full[0],
    )


def _build(
    config: BackboneConfig, inputs: Mapping[str, Artifact], draft: Draft, bar: Bar
) -> tuple[TextModel, PreTrainedTokenizerFast]:
    assert config.shape is not None
    assert config.tokenizer is not None

    texts = training_texts(inputs["corpus"], config.tokenizer.texts)

    def counted() -> Iterator[str]:
        for text in texts:
            bar.advance()
            yield text

    if "tokenizer" in inputs:
        tokenizer = load_stored_tokenizer(inputs["tokenizer"].at("model"), max_tokens=config.max_tokens)
    else:
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
    if config.attention is not None:
        set_attention(backbone.config, config.attention)
    pooling = (config.pooling,) if config.pooling else None
    return TextModel(backbone, (), describe_backbone(type(backbone), backbone.config, pooling=pooling)), tokenizer


def _load(config: BackboneConfig) -> tuple[TextModel, PreTrainedTokenizerFast]:
    assert config.model is not None
    model = load_model(
        config.model,
        revision=config.revision,
        pooling=config.pooling,
        attention=config.attention,
        packed=config.packed,
    )
    tokenizer = load_model_tokenizer(config.model, model, revision=config.revision, max_tokens=config.max_tokens)
    if model.description.longest < config.max_tokens:
        raise DataError(
            f"{config.model}: reads at most {model.description.longest} tokens, and backbone.max_tokens is "
            f"{config.max_tokens}. Lower it."
        )
    _check_declared(config, model)
    return model, tokenizer


def _check_parity(config: BackboneConfig, written: str, draft: Draft) -> None:
    """Hold a named model to sentence-transformers: as it came, or as it was written where the recipe changes it.

    Raises:
        DataError: its vectors here are not those there.
    """
    assert config.model is not None
    changed = config.pooling is not None or config.attention is not None or config.packed is not None
    root = draft.uri.rpartition("/artifacts/")[0] or None
    check_parity(written if changed else config.model, root=root, revision=None if changed else config.revision)


def _check_declared(config: BackboneConfig, model: TextModel) -> None:
    """Hold a model by name to what the recipe says it is."""
    backbone, found = model.backbone, sum(parameter.numel() for parameter in model.parameters())
    if config.parameters is None or config.parameters == found:
        return
    raise DataError(
        f"{config.model}: has {found:,} parameters (width {backbone.config.hidden_size}, "
        f"{backbone.config.num_hidden_layers} layers, {backbone.config.vocab_size} tokens), and backbone.shape with "
        f"backbone.tokenizer says {config.parameters:,}. Correct them, or leave both out."
    )


def _check_same(ours: PreTrainedTokenizerFast, theirs: PreTrainedTokenizerFast, name: str) -> None:
    """Packed data is shared only between equal tokenizers."""
    if tokenizer_fingerprint(ours) != tokenizer_fingerprint(theirs):
        raise DataError(f"{name}: its tokenizer is not the one that `reads_with` names. Leave `reads_with` out.")
