"""Importance of channels, heads and layers, measured in one pass over calibration texts that any number of plans use.

Each channel is judged by the size of what it hands on: its activation (after the norm, after the gate, out of the
head) times the norm of the weights that read it. The product does not change when a scale moves between a map and the
one that reads it, which leaves the model the same. Sums are float64 and add up, so the pass can be split at will.

Shapes: T tokens, C channels of a site, D residual channels, M MLP channels, K key/value heads, L layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from polyglossa.errors import UserError
from polyglossa.model.forward import TextModel
from polyglossa.model.pass_plan import cut_passes
from polyglossa.prune.anatomy import Anatomy, anatomy_of
from polyglossa.prune.plan import Scores
from polyglossa.prune.surgery import sizes_of

Array = NDArray[np.float64]
_SUM, _ABSOLUTE, _SQUARE = range(3)


@dataclass(frozen=True)
class ActivationSums:
    """Sums over tokens. Those of two sets of texts of one model add up to the sums of both.

    Attributes:
        tokens: tokens seen.
        moments: site (module name) → [3, C]: Σx, Σ|x|, Σx².
        turning: layer (module name) → Σ (1 − cos(input, output)) of the residual stream.
    """

    tokens: int = 0
    moments: Mapping[str, Array] = field(default_factory=dict)
    turning: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: "ActivationSums") -> "ActivationSums":
        zero = np.float64(0)
        return ActivationSums(
            self.tokens + other.tokens,
            {site: self.moments.get(site, zero) + moments_3C for site, moments_3C in other.moments.items()},
            {layer: self.turning.get(layer, 0.0) + turned for layer, turned in other.turning.items()},
        )


def measure(model: TextModel, token_ids: Sequence[Sequence[int]], chunk_tokens: int = 2048) -> ActivationSums:
    """Run texts through a model and sum what every site of its backbone carries.

    Args:
        model: of a type that `anatomy_of` knows; left unchanged.
        token_ids: token ids per text, any lengths ≥ 1.
        chunk_tokens: token budget of one forward pass.

    Raises:
        UserError: its texts are padded, so that sites would carry padding too.
    """
    recorder = _Recorder(model, anatomy_of(model.backbone.config.model_type))
    if not model.description.packed:
        raise UserError(
            "prune: the model's texts are padded (`backbone.packed: false`); importance is measured packed."
        )
    was_training = model.training
    model.eval()
    with torch.inference_mode(), recorder.listening():
        for texts in cut_passes([len(ids) for ids in token_ids], chunk_tokens):
            recorder.forward([token_ids[i] for i in texts])
    model.train(was_training)
    return recorder.sums()


def score(backbone: PreTrainedModel, sums: ActivationSums, criterion: str, seed: int = 0) -> Scores:
    """Turn activation sums into importance.

    Args:
        backbone: the model that was measured; its weights say how strongly each channel is read.
        sums: what `measure` returned.
        criterion: "l2" | "mean_abs" | "variance" of the activations; "prefix" ranks residual channels by their index
            and the rest by l2; "random" is the control of an ablation.
        seed: seed of "random".
    """
    sizes, anatomy = sizes_of(backbone.config), anatomy_of(backbone.config.model_type)
    layers = [f"{anatomy.layers}.{i}" for i in range(sizes.layers)]
    hidden_SD = _hidden_scores(backbone, anatomy, layers, sums, criterion)
    mlp = [_contribution(backbone, f"{layer}.{anatomy.mlp_output}", sums, criterion) for layer in layers]
    heads = [_contribution(backbone, f"{layer}.{anatomy.attention_output}", sums, criterion) for layer in layers]
    scores = Scores(
        hidden_SD,
        np.stack(mlp),
        np.stack([(channels.reshape(sizes.kv_heads, -1) ** 2).sum(axis=1) ** 0.5 for channels in heads]),
        np.array([sums.turning[layer] for layer in layers]) / max(sums.tokens, 1),
        _output_energy(backbone, anatomy, sums),
    )
    if criterion == "prefix":
        return replace(scores, hidden_SD=_descending(hidden_SD))
    return _shuffle(scores, seed) if criterion == "random" else scores


def _hidden_scores(
    backbone: PreTrainedModel, anatomy: Anatomy, layers: Sequence[str], sums: ActivationSums, criterion: str
) -> Array:
    """Share of each residual channel in what each layer reads, and in the model's output: [L + 1, D], rows sum to 1."""
    rows = [
        np.mean(
            [_share(_norm_contribution(backbone, layer, norm, anatomy, sums, criterion)) for norm in anatomy.readers],
            axis=0,
        )
        for layer in layers
        if anatomy.readers
    ]
    if not rows:
        return np.zeros((len(layers) + 1, backbone.config.hidden_size))
    return np.stack([*rows, _share(_magnitude(sums, anatomy.last_norm, criterion))])


def _norm_contribution(
    backbone: PreTrainedModel, layer: str, norm: str, anatomy: Anatomy, sums: ActivationSums, criterion: str
) -> Array:
    weights = [backbone.get_submodule(f"{layer}.{reader}").weight for reader in anatomy.readers[norm]]
    return _magnitude(sums, f"{layer}.{norm}", criterion) * _column_norms(torch.cat(weights))


def _output_energy(backbone: PreTrainedModel, anatomy: Anatomy, sums: ActivationSums) -> Array:
    """Share of each residual channel in the mean square before the last norm's gain: [D]."""
    if not anatomy.last_norm:
        return np.full(backbone.config.hidden_size, 1 / backbone.config.hidden_size)
    gain_D = backbone.get_submodule(anatomy.last_norm).weight.detach().double().cpu().numpy()
    return _share(_magnitude(sums, anatomy.last_norm, "l2") / np.where(gain_D == 0, np.inf, gain_D))


def _contribution(backbone: PreTrainedModel, site: str, sums: ActivationSums, criterion: str) -> Array:
    return _magnitude(sums, site, criterion) * _column_norms(backbone.get_submodule(site).weight)


def _column_norms(weight_OI: Tensor) -> Array:
    norms: Array = weight_OI.detach().double().norm(dim=0).cpu().numpy()
    return norms


def _magnitude(sums: ActivationSums, site: str, criterion: str) -> Array:
    """Typical size of each channel's activation, in the activation's own unit."""
    mean_3C = sums.moments[site] / max(sums.tokens, 1)
    if criterion == "mean_abs":
        return mean_3C[_ABSOLUTE]
    if criterion == "variance":
        return np.sqrt(np.maximum(mean_3C[_SQUARE] - mean_3C[_SUM] ** 2, 0.0))
    return np.sqrt(mean_3C[_SQUARE])


def _share(contribution_C: Array) -> Array:
    energy_C = contribution_C**2
    return energy_C / max(float(energy_C.sum()), 1e-300)


def _descending(scores_SD: Array) -> Array:
    return np.broadcast_to(-np.arange(scores_SD.shape[1], dtype=np.float64), scores_SD.shape)


def _shuffle(scores: Scores, seed: int) -> Scores:
    generator = np.random.default_rng(seed)
    order_D = generator.random(scores.hidden_SD.shape[1])
    return replace(
        scores,
        hidden_SD=np.broadcast_to(order_D, scores.hidden_SD.shape),
        mlp_LM=generator.random(scores.mlp_LM.shape),
        kv_heads_LK=generator.random(scores.kv_heads_LK.shape),
    )


class _Recorder:
    """Listens to a backbone with hooks and keeps running sums on its device."""

    def __init__(self, model: TextModel, anatomy: Anatomy) -> None:
        self._model, self._backbone, self._anatomy = model, model.backbone, anatomy
        self._tokens = 0
        self._moments: dict[str, Tensor] = {}
        self._turning: dict[str, Tensor] = {}

    def forward(self, token_ids: Sequence[Sequence[int]]) -> None:
        """Pass texts, one after another."""
        tokens_N = torch.tensor([token for ids in token_ids for token in ids], device=self._model.device)
        self._tokens += len(tokens_N)
        self._model.hidden_states(tokens_N, [len(ids) for ids in token_ids])

    def sums(self) -> ActivationSums:
        """Return what was summed so far."""
        moments = {name: value.cpu().numpy() for name, value in self._moments.items()}
        return ActivationSums(self._tokens, moments, {name: float(value) for name, value in self._turning.items()})

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hook every site for the duration of the block."""
        module_of, handles = self._backbone.get_submodule, []
        anatomy = self._anatomy
        for index in range(self._backbone.config.num_hidden_layers):
            layer = f"{anatomy.layers}.{index}"
            handles.append(module_of(layer).register_forward_hook(self._turn(layer)))
            for name in (anatomy.mlp_output, anatomy.attention_output):
                site = f"{layer}.{name}"
                handles.append(module_of(site).register_forward_hook(self._hear_input(site)))
            for name in anatomy.readers:
                site = f"{layer}.{name}"
                handles.append(module_of(site).register_forward_hook(self._hear_output(site)))
        if anatomy.last_norm:
            last = anatomy.last_norm
            handles.append(module_of(last).register_forward_hook(self._hear_output(last)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hear_input(self, site: str) -> Callable[..., None]:
        return lambda module, arguments, output: self._add(site, arguments[0])

    def _hear_output(self, site: str) -> Callable[..., None]:
        return lambda module, arguments, output: self._add(site, output)

    def _add(self, site: str, activation_1TC: Tensor) -> None:
        x_TC = activation_1TC[0].double()
        moments_3C = torch.stack([x_TC.sum(0), x_TC.abs().sum(0), x_TC.square().sum(0)])
        self._moments[site] = self._moments.get(site, 0) + moments_3C

    def _turn(self, layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            after_1TD = output[0] if isinstance(output, tuple) else output
            before_TD, after_TD = arguments[0][0].double(), after_1TD[0].double()
            turned = (1 - nn.functional.cosine_similarity(before_TD, after_TD, dim=-1)).sum()
            self._turning[layer] = self._turning.get(layer, 0) + turned

        return hook
