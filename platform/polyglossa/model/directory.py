"""The model directory: what every stage hands on, and what a user downloads.

It loads with stock `AutoModel` / `AutoTokenizer` and with `SentenceTransformer(path)`, and both give the encoder's
vectors. Weights are float32 safetensors; no code in the directory is ever run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from polyglossa.errors import DataError
from polyglossa.model.pooling import BOTH_WAYS, reads_both_ways
from polyglossa.model.quantize import quantize_weights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
_SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"


def build_model(
    *,
    hidden: int,
    mlp: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    vocabulary: int,
    max_tokens: int,
    eos: int,
    padding: int,
    seed: int,
) -> Qwen3Model:
    """Build a Qwen3 model with random weights (no LM head), float32, on the CPU.

    Args:
        hidden: width of the residual stream, which is the embedding width.
        mlp: width of the gated MLP.
        layers: number of layers.
        heads: query heads.
        kv_heads: key/value heads.
        head_dim: width of a head.
        vocabulary: rows of the embedding table.
        max_tokens: longest text; sets `max_position_embeddings`.
        eos: id of the EOS token.
        padding: id of the padding token.
        seed: same seed, same weights; the caller's random state is left as it was.
    """
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        use_sliding_window=False,
        use_cache=False,
        eos_token_id=eos,
        pad_token_id=padding,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3Model(config).float()


def load_backbone(
    path: str, dtype: str = "float32", *, device: str = "cpu", revision: str | None = None
) -> PreTrainedModel:
    """Load a backbone without its head, by Hugging Face name or from a directory: causal, or BERT-like.

    BERT-like ones lose their dropout and their pooler, which no embedding reads.

    Args:
        path: name or local directory; its weights must be safetensors.
        dtype: `float32`, `bfloat16` or `float64`; `int8` reads float32 and quantises the weights of linear layers.
        device: where the weights go.
        revision: commit on the hub.

    Raises:
        DataError: nothing loadable is there, or the model is neither causal nor of a known kind.
    """
    try:
        backbone = AutoModel.from_pretrained(
            path,
            revision=revision,
            dtype=DTYPES["float32" if dtype == "int8" else dtype],
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: cannot be loaded as a model with safetensors weights ({reason}).") from None
    if reads_both_ways(backbone.config):
        _keep_encoder(backbone)
    elif not any(getattr(module, "is_causal", False) for module in backbone.modules()):
        raise DataError(
            f"{path}: {backbone.config.model_type} is neither causal nor one of {', '.join(BOTH_WAYS)}; how it makes "
            "one state of a text is not known."
        )
    if dtype == "int8":
        quantize_weights(backbone)
    return backbone.to(device).eval()


def _keep_encoder(backbone: PreTrainedModel) -> None:
    """Take off what plays no part in a text's state."""
    if hasattr(backbone, "pooler"):
        backbone.pooler = None
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(backbone.config, name, 0.0)
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def save_model_directory(
    path: str,
    backbone: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_tokens: int,
    prompts: Mapping[str, str],
    matryoshka_widths: Sequence[int],
) -> None:
    """Write a model directory.

    Args:
        path: local directory; made if it is not there.
        backbone: the model without LM head; written in float32 whatever its dtype is.
        tokenizer: appends EOS itself (see `tokenizer.py`).
        max_tokens: longest text that readers pass in, EOS included.
        prompts: name → prefix, for `SentenceTransformer.encode(prompt_name=…)`.
        matryoshka_widths: widths that vectors may be cut to.
    """
    root = Path(path)
    root.mkdir(parents=True, exist_ok=True)
    config = backbone.config
    config.is_matryoshka = len(matryoshka_widths) > 1
    config.matryoshka_dimensions = sorted(matryoshka_widths)
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    backbone.save_pretrained(root, state_dict=state)
    _amend(root / "config.json", dtype="float32", architectures=[type(backbone).__name__])
    tokenizer.model_max_length = max_tokens
    tokenizer.save_pretrained(root)
    pooling = "mean_tokens" if reads_both_ways(config) else "lasttoken"
    _write_sentence_transformers(root, config.hidden_size, max_tokens, dict(prompts), pooling)


def read_prompts(path: str) -> dict[str, str]:
    """Read the prompts of a local model directory; a model loaded by name has none here."""
    file = Path(path) / _SENTENCE_TRANSFORMERS
    return dict(json.loads(file.read_text(encoding="utf-8")).get("prompts") or {}) if file.is_file() else {}


def _write_sentence_transformers(
    root: Path, width: int, max_tokens: int, prompts: dict[str, str], pooling_mode: str
) -> None:
    # These class names load with every release of sentence-transformers; newer ones map them to their own.
    kinds = ("Transformer", "Pooling", "Normalize")
    folders = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
    ]
    pooling = {"word_embedding_dimension": width, f"pooling_mode_{pooling_mode}": True, "include_prompt": True}
    (root / "1_Pooling").mkdir(exist_ok=True)
    (root / "2_Normalize").mkdir(exist_ok=True)
    _write(root / "modules.json", modules)
    _write(root / "1_Pooling" / "config.json", pooling)
    _write(root / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    _write(
        root / _SENTENCE_TRANSFORMERS,
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def _amend(file: Path, **values: Any) -> None:
    _write(file, json.loads(file.read_text(encoding="utf-8")) | values)


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
