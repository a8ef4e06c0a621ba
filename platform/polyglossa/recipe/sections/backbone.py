"""Recipe section `backbone`: the model and tokenizer that a member starts from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict, is_still

Pooling = Literal["last", "mean", "cls", "weighted_mean", "max"]


class Shape(Strict):
    """The shape of a Qwen3 model with tied embeddings and no LM head."""

    hidden: int = Field(ge=8)
    """Width of the residual stream; also the embedding width."""
    mlp: int = Field(ge=8)
    """Width of the gated MLP."""
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    """Query heads."""
    kv_heads: int = Field(ge=1)
    """Key/value heads."""
    head_dim: int = Field(128, ge=4)

    @model_validator(mode="after")
    def _heads_group_evenly(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")
        return self

    def parameters(self, vocabulary: int) -> int:
        """Exact parameter count with a table of `vocabulary` rows."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads) + 2 * self.head_dim
        layer = attention + 3 * self.hidden * self.mlp + 2 * self.hidden
        return vocabulary * self.hidden + self.layers * layer + self.hidden


class TokenizerConfig(Strict):
    """A byte-level BPE tokenizer trained on the training part of the corpus; of a model by name, what it brings."""

    vocabulary: int = Field(8192, ge=300)
    """Rows of the embedding table, special tokens included."""
    texts: int = Field(2_000_000, ge=1, exclude_if=is_still(2_000_000))
    """About how many texts it is trained on: all where the corpus has no more, else a sample by hash to which every
    source and language gives as many as it has, up to one number for all (of 200 languages in one source: 5,000
    queries and 5,000 documents each)."""


class BackboneConfig(Strict):
    """A model by name (`model`), or a new Qwen3 model of a shape with a tokenizer trained here.

    Beside a name, `shape` and `tokenizer` say what that model is: they are checked when it is loaded, and let
    `polyglossa plan` and the rules between members count without it.
    """

    model: str | None = None
    """Hugging Face name or local directory; weights must be safetensors."""
    revision: str | None = None
    """Commit of the model on the hub; None means the newest."""
    shape: Shape | None = None
    """Shape of a new model, randomly initialised; beside `model`, the shape that it has."""
    tokenizer: TokenizerConfig | None = None
    """Tokenizer of a new model; beside `model`, the table that it has."""
    pooling: Pooling | None = None
    """How the states of a text's tokens become one; None keeps what a named model does, and takes the last token of a
    causal model and the mean of one that reads both ways. Given, it replaces a named model's dense layers too."""
    attention: Literal["causal", "bidirectional"] | None = None
    """Whether a token sees what follows it; None keeps what the model does. A causal architecture can be made to read
    both ways, an encoder cannot be made causal."""
    packed: bool | None = None
    """Whether texts go through the model end to end, without padding. False pads them and runs transformers' own
    attention: slower, and for any architecture. None packs, and refuses architectures that cannot be."""
    max_tokens: int = Field(1024, ge=8)
    """Longest text that members of this backbone read (tokens, EOS included)."""
    seed: int = 0
    """Seed of the initial weights."""

    @model_validator(mode="after")
    def _by_name_or_by_shape(self) -> Self:
        if self.model is None and self.shape is None:
            raise ValueError("give `model` (a name or directory), or `shape` and `tokenizer` (a new model)")
        if (self.shape is None) != (self.tokenizer is None):
            raise ValueError("`shape` and `tokenizer` go together")
        if self.packed is False and self.model is None:
            raise ValueError("`packed: false` is for named models of an architecture that cannot be packed")
        return self

    @property
    def parameters(self) -> int | None:
        """Exact parameter count, where the recipe tells it."""
        if self.shape is None or self.tokenizer is None:
            return None
        return self.shape.parameters(self.tokenizer.vocabulary)
