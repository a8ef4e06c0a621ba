"""Any model as a giver of raw states: what mining, evaluation and distillation read texts with.

A directory or hub name goes through the one encoder, whatever its pooling; what the encoder does not know is refused
when it is opened. A model behind an OpenAI-compatible endpoint is asked over HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from polyglossa.endpoint import EndpointClient
from polyglossa.endpoint.patience import reach_of
from polyglossa.model.encoder import Encoder
from polyglossa.model.tokenizer import add_end_token
from polyglossa.recipe.outside import OutsideModel
from polyglossa.storage import local_folder
from polyglossa.vectors import Floats

_CHUNK_TOKENS = {"cpu": 1024, "cuda": 32_768}  # MiniLM on one core: 5.7 s with 1,024, 6.1 with 2,048, 5.9 with 512


class StateSource(Protocol):
    """Something that embeds rendered texts."""

    width: int
    parameters: int | None
    max_tokens: int | None
    prompts: dict[str, str]
    widths: tuple[int, ...]
    """Matryoshka widths below the full one, ascending."""
    finished: bool
    """Whether its states are vectors already, to be used as they are; if not, they are cut and normalised here."""
    similarity: str
    """`cosine` or `dot`."""

    @property
    def fingerprint(self) -> str:
        """Names all that shapes a state besides the text."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return raw states [N, width] of rendered texts, in their order."""

    def confirm(self) -> None:
        """Hold the model to its fingerprint before states are kept.

        Raises:
            EndpointError: it is another than when the fingerprint was taken.
        """


class EncoderSource:
    """A model that the one encoder reads."""

    def __init__(self, encoder: Encoder) -> None:
        description = encoder.description
        self.encoder = encoder
        self.width = encoder.width
        self.parameters: int | None = sum(parameter.numel() for parameter in encoder.model.parameters())
        self.max_tokens: int | None = encoder.max_tokens
        self.prompts = encoder.prompts
        declared = getattr(encoder.backbone.config, "matryoshka_dimensions", None) or ()
        self.widths = tuple(sorted(width for width in declared if width < encoder.width))
        self.similarity = description.similarity
        self.finished = not description.normalise and description.similarity != "cosine"

    def read_as(self, *, max_tokens: int | None, ends_texts: bool) -> None:
        """Read texts as others than the directory say: longer ones, as far as the model has positions; ended.

        Args:
            max_tokens: longest text, special tokens included; None leaves the directory's.
            ends_texts: put the end token behind every text where the tokenizer adds no special token.
        """
        if max_tokens is not None:
            self.max_tokens = self.encoder.max_tokens = min(max_tokens, self.encoder.description.longest)
            self.encoder.tokenizer.model_max_length = self.encoder.max_tokens
        if ends_texts:
            add_end_token(self.encoder.tokenizer)

    @property
    def fingerprint(self) -> str:
        """The encoder's own."""
        return self.encoder.fingerprint

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `StateSource`."""
        chunk_tokens = _CHUNK_TOKENS[self.encoder.model.device.type]
        states: Floats = self.encoder.embed(texts, chunk_tokens=chunk_tokens).numpy()
        return states

    def confirm(self) -> None:
        """Do nothing: a loaded model stays as it is."""


class EndpointSource(EndpointClient):
    """A model behind an endpoint; what it gives are vectors already."""

    finished = True
    similarity = "cosine"
    parameters: int | None = None
    max_tokens: int | None = None
    widths: tuple[int, ...] = ()

    def __init__(self, url: str, model: str, *, prompts: Mapping[str, str] | None = None, **options: Any) -> None:
        """Reach the endpoint.

        Args:
            url: base URL, `/v1` included.
            model: name that the endpoint knows.
            prompts: prefix by mteb's names; the endpoint is sent finished texts.
            options: of `EndpointClient`.
        """
        super().__init__(url, model, **options)
        self.prompts = dict(prompts or {})


def open_source(
    model: str | OutsideModel,
    *,
    dtype: str,
    device: str,
    max_tokens: int | None = None,
    root: str | None = None,
) -> StateSource:
    """Open a model of the family or from outside.

    Args:
        model: a directory or name, or a model from outside.
        dtype: precision of the computation, where it runs here.
        device: torch device, likewise.
        max_tokens: longest text, likewise; None takes the model's own limit.
        root: storage root that keeps the panels of endpoints known so far.

    Raises:
        DataError: nothing usable is there, or something of it is not known.
        EndpointError: nothing answers at the address, or not with vectors.
    """
    if isinstance(model, str):
        return open_model(model, dtype=dtype, device=device, max_tokens=max_tokens)
    if model.endpoint is None:
        return open_model(model.model, dtype=dtype, device=device, max_tokens=max_tokens)
    return EndpointSource(
        model.endpoint,
        model.model,
        **reach_of(model),
        most_texts=model.texts_per_request,
        root=root,
    )


def open_model(path: str, *, dtype: str, device: str, max_tokens: int | None = None) -> EncoderSource:
    """Load a model by name or from a directory.

    Args:
        path: a model directory on any storage, or a Hugging Face name.
        dtype: precision of the computation.
        device: torch device.
        max_tokens: longest text; None takes the model's own limit.

    Raises:
        DataError: nothing usable is there, or something of it is not known.
    """
    if "://" in path:
        with local_folder(path) as folder:
            return open_model(folder, dtype=dtype, device=device, max_tokens=max_tokens)
    return EncoderSource(Encoder.load(path, dtype=dtype, device=device, max_tokens=max_tokens))
