"""Tiny random models of real architectures, saved as the hub has them."""

from collections.abc import Callable
from pathlib import Path

import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

WORDS = ["house", "tree", "river", "cloud", "stone", "bird", "fish", "moon", "maison", "дерево", "川", "طائر"]
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "<end>"]
WINDOW = 8
LONGEST = 40
_SHAPE = {
    "vocab_size": len(WORDS) + len(SPECIALS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8}
_NO_HEAD_DIM = {name: value for name, value in _GROUPED.items() if name != "head_dim"}

Make = Callable[[], PretrainedConfig]

CONFIGS: dict[str, Make] = {
    "qwen2": lambda: hf.Qwen2Config(**_NO_HEAD_DIM),
    "qwen2-windows": lambda: hf.Qwen2Config(
        **_NO_HEAD_DIM, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen3": lambda: hf.Qwen3Config(**_GROUPED),
    "qwen3-both-ways": lambda: hf.Qwen3Config(**_GROUPED, is_causal=False),
    "llama": lambda: hf.LlamaConfig(**_GROUPED),
    "mistral": lambda: hf.MistralConfig(**_GROUPED, sliding_window=WINDOW),
    "ministral": lambda: hf.MinistralConfig(**_GROUPED, sliding_window=WINDOW),
    "ministral3": lambda: hf.Ministral3Config(**_GROUPED),
    "gemma": lambda: hf.GemmaConfig(**_GROUPED),
    "gemma2": lambda: hf.Gemma2Config(**_GROUPED, sliding_window=WINDOW, attn_logit_softcapping=2.0),
    "gemma3": lambda: hf.Gemma3TextConfig(
        **_GROUPED, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
    "gemma3-both-ways": lambda: hf.Gemma3TextConfig(
        **_GROUPED,
        sliding_window=WINDOW,
        use_bidirectional_attention=True,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "olmo2": lambda: hf.Olmo2Config(**_NO_HEAD_DIM),
    "olmo3": lambda: hf.Olmo3Config(**_NO_HEAD_DIM, sliding_window=WINDOW),
    "phi3": lambda: hf.Phi3Config(**_NO_HEAD_DIM),
    "smollm3": lambda: hf.SmolLM3Config(**_NO_HEAD_DIM),
    "granite": lambda: hf.GraniteConfig(**_NO_HEAD_DIM),
    "eurobert": lambda: hf.EuroBertConfig(**_NO_HEAD_DIM, mask_token_id=3),
    "modernbert": lambda: hf.ModernBertConfig(
        **_SHAPE, local_attention=WINDOW, global_attn_every_n_layers=2, cls_token_id=1, sep_token_id=2
    ),
    "nomic_bert": lambda: hf.NomicBertConfig(**_SHAPE),
    "distilbert": lambda: hf.DistilBertConfig(
        vocab_size=_SHAPE["vocab_size"], dim=32, hidden_dim=48, n_layers=3, n_heads=4, max_position_embeddings=64
    ),
    "bert": lambda: hf.BertConfig(**_SHAPE),
    "roberta": lambda: hf.RobertaConfig(**_SHAPE),
    "xlm-roberta": lambda: hf.XLMRobertaConfig(**_SHAPE),
    "camembert": lambda: hf.CamembertConfig(**_SHAPE),
}
"""Name → configuration of an architecture, with windows shorter than the longest text."""

CAUSAL = (
    "qwen2", "qwen2-windows", "qwen3", "llama", "mistral", "ministral", "ministral3", "gemma", "gemma2", "gemma3",
    "olmo2", "olmo3", "phi3", "smollm3", "granite",
)  # fmt: skip


def random_model(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Make a model whose layers, tokens and positions matter: states of one text's tokens are far from alike."""
    torch.manual_seed(seed)
    model: PreTrainedModel = hf.AutoModel.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.5 if "embed" in name else 0.3)
        else:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.1)
    return model.eval()


def word_tokenizer(
    *, before: str | None = None, behind: str | None = None, eos: str = "</s>"
) -> PreTrainedTokenizerFast:
    """Make a tokenizer of whole words that puts special tokens where it is told to."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIALS, *WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(SPECIALS)
    if before or behind:
        single = " ".join(part for part in (before, "$A", behind) if part)
        ids = [(token, backend.token_to_id(token)) for token in (before, behind) if token]
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    names = {"bos_token": "<s>", "eos_token": eos, "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=LONGEST, **names)


def save_plain(folder: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> str:
    """Write a model as transformers does, without a word about its pooling."""
    random_model(config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_sentence_transformer(
    folder: Path,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    *,
    pooling: str,
    dense: tuple[int, ...] = (),
    normalise: bool = True,
    prompts: dict[str, str] | None = None,
    max_tokens: int | None = LONGEST,
) -> str:
    """Write a model as sentence-transformers does."""
    save_plain(folder / "backbone", config, tokenizer)
    transformer = Transformer(str(folder / "backbone"), **({"max_seq_length": max_tokens} if max_tokens else {}))
    modules: list[torch.nn.Module] = [transformer, Pooling(32, pooling_mode=pooling)]
    width = 32
    for index, out in enumerate(dense):
        torch.manual_seed(100 + index)
        modules.append(Dense(width, out, bias=index > 0, activation_function=torch.nn.Tanh() if index else None))
        width = out
    if normalise:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=prompts or {}, device="cpu").save(str(folder / "model"))
    return str(folder / "model")
