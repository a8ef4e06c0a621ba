"""The kernel of a layer is chosen by one function, and is handed what float64 attention by the definition agrees with.

Kernels are recorded calls here: each is replaced by its own definition, computed in float64 from the arguments it got.
"""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.worlds import make_model
from polyglossa.model.attention import kernels, packed
from polyglossa.model.attention.kernels import Installed, KernelChoice, choose_kernel, chosen_kernels
from polyglossa.model.attention.layers import LayerAttention
from polyglossa.model.attention.packed_texts import PackedTexts
from polyglossa.model.forward import TextModel

CAUSAL, BOTH, WINDOW = (LayerAttention("", *seen) for seen in ((None, 0), (None, None), (5, 0)))
EITHER_SIDE, CAPPED = LayerAttention("", 3, 4), LayerAttention("", None, 0, 20.0)
ARGUMENTS = frozenset({"query", "scale", "window_size"})
NEW, OLD, OLDER = (
    Installed("2.13.0", ARGUMENTS | {"enable_gqa"}, True),
    Installed("2.11.0", ARGUMENTS, True),
    Installed("2.10.0", frozenset({"query", "is_causal"}), True),
)
NO_FLASH = Installed("2.13.0", ARGUMENTS | {"enable_gqa"}, False)


@pytest.mark.parametrize(
    ("layer", "options", "kernel", "reason"),
    [
        (CAUSAL, {}, "torch", "does all"),
        (WINDOW, {}, "torch", "does all"),
        (BOTH, {"installed": OLD}, "torch", "does all"),
        (CAPPED, {}, "flash_attn", "no soft cap"),
        (CAUSAL, {"dropout": 0.1}, "flash_attn", "no dropout"),
        (WINDOW, {"installed": OLDER}, "flash_attn", "window_size in torch 2.10.0"),
        (CAUSAL, {"installed": Installed("2.9.0", frozenset(), True)}, "flash_attn", "torch 2.9.0"),
        (CAPPED, {"installed": NO_FLASH}, "products", "flash-attn is not installed"),
        (CAPPED, {"dropout": 0.1}, "products", "together"),
        (CAUSAL, {"device": "cpu"}, "products", "not on cpu"),
        (CAUSAL, {"dtype": torch.float32}, "products", "not float32"),
        (CAUSAL, {"head_width": 320}, "products", "heads of 8"),
        (CAUSAL, {"head_width": 36}, "products", "heads of 8"),
    ],
)
def test_each_layer_gets_the_kernel_that_computes_it_and_a_reason(
    layer: LayerAttention, options: dict[str, Any], kernel: str, reason: str
) -> None:
    usual = {"device": "cuda", "dtype": torch.bfloat16, "head_width": 128, "dropout": 0.0, "installed": NEW}
    choice = choose_kernel(layer, **{**usual, **options})
    assert choice.kernel == kernel
    assert reason in choice.reason


def test_a_manifest_says_what_computed_how_many_layers() -> None:
    backbone = TextModel.of(make_model()).backbone
    (on_gpu,) = chosen_kernels(backbone, device="cuda", dtype="bfloat16")
    assert (on_gpu["kernel"], on_gpu["layers"]) == ("torch", 2)
    (here,) = chosen_kernels(backbone, device="cpu", dtype="float32")
    assert here == {"kernel": "products", "reason": "variable-length kernels run on CUDA, not on cpu", "layers": 2}


def by_definition(
    query_NHE: Tensor, key_NKE: Tensor, value_NKE: Tensor, bounds: Tensor, key_bounds: Tensor, scale: float,
    window: tuple[int, int], soft_cap: float,
) -> Tensor:  # fmt: skip
    """Attend as variable-length kernels say they do: queries stand at the end of their keys; −1 is no limit."""
    parts = []
    for text in range(len(bounds) - 1):
        query = query_NHE[bounds[text] : bounds[text + 1]].double().transpose(0, 1)
        own = slice(int(key_bounds[text]), int(key_bounds[text + 1]))
        groups = query_NHE.shape[1] // key_NKE.shape[1]
        key, value = (one[own].double().repeat_interleave(groups, 1).transpose(0, 1) for one in (key_NKE, value_NKE))
        scores = query @ key.transpose(1, 2) * scale
        if soft_cap:
            scores = torch.tanh(scores / soft_cap) * soft_cap
        place = torch.arange(query.shape[1])[:, None] + key.shape[1] - query.shape[1]
        before = place - torch.arange(key.shape[1])
        hidden = torch.zeros_like(before, dtype=torch.bool)
        if window[0] >= 0:
            hidden |= before > window[0]
        if window[1] >= 0:
            hidden |= before < -window[1]
        parts.append((scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value).transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put recorded definitions in the place of both kernels, and let packed attention believe in CUDA."""
    calls: list[dict[str, Any]] = []

    def torch_kernel(
        query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, key_bounds: Tensor, longest: int, longest_key: int,
        *, scale: float, window_size: tuple[int, int], enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        assert enable_gqa or "enable_gqa" not in kernels.installed_kernels().torch_arguments
        calls.append({"kernel": "torch", "dtypes": {query.dtype, key.dtype, value.dtype}, "bounds": bounds})
        _check(bounds, key_bounds, longest, longest_key)
        return by_definition(query, key, value, bounds, key_bounds, scale, window_size, 0.0)

    def flash(
        query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, key_bounds: Tensor, longest: int, longest_key: int,
        *, dropout_p: float, softmax_scale: float, causal: bool, window_size: tuple[int, int], softcap: float,
    ) -> Tensor:  # fmt: skip
        calls.append({"kernel": "flash_attn", "dtypes": {query.dtype, key.dtype, value.dtype}, "dropout": dropout_p})
        _check(bounds, key_bounds, longest, longest_key)
        window = (window_size[0], 0) if causal else window_size
        return by_definition(query, key, value, bounds, key_bounds, softmax_scale, window, softcap)

    fake = ModuleType("flash_attn")
    fake.flash_attn_varlen_func = flash  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", fake)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", torch_kernel)
    return calls


def _check(bounds: Tensor, key_bounds: Tensor, longest: int, longest_key: int) -> None:
    assert bounds.dtype == key_bounds.dtype == torch.int32
    assert int(bounds.diff().max()) == longest
    assert int(key_bounds.diff().max()) == longest_key


def drawn(heads: int, tokens: int) -> Tensor:
    return torch.randn(1, heads, tokens, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(heads))


@pytest.mark.parametrize("kernel", ["torch", "flash_attn"])
@pytest.mark.parametrize("layer", [CAUSAL, BOTH, WINDOW, EITHER_SIDE, CAPPED], ids=str)
def test_kernels_are_handed_what_products_compute_in_float64(
    layer: LayerAttention, kernel: str, recorded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "torch" and layer.soft_cap is not None:
        pytest.skip("torch's kernel has no soft cap")
    module, texts = nn.Module(), PackedTexts([3, 9, 1, 30, 9], "cpu")
    module.layer_attention = layer  # type: ignore[assignment]
    given = drawn(6, 52), drawn(2, 52), drawn(2, 52)[..., :]
    expected, _ = packed.packed_attention(module, *given, None, packed_texts=texts)
    assert not recorded
    monkeypatch.setattr(packed, "choose_kernel", lambda *_, **__: KernelChoice(kernel, "the test wants it"))  # type: ignore[arg-type]
    found, _ = packed.packed_attention(module, *given, None, packed_texts=texts)
    assert [call["kernel"] for call in recorded] == [kernel]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_behind_a_shared_beginning_kernels_see_it_before_every_text(
    recorded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, texts = nn.Module(), PackedTexts([7, 3, 1, 12], "cpu", shared_tokens=7)
    module.layer_attention = WINDOW  # type: ignore[assignment]
    given = drawn(4, 23), drawn(2, 23), drawn(2, 23)
    expected, _ = packed.packed_attention(module, *given, None, packed_texts=texts)
    monkeypatch.setattr(packed, "choose_kernel", lambda *_, **__: KernelChoice("torch", "the test wants it"))
    found, _ = packed.packed_attention(module, *given, None, packed_texts=texts)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_queries_and_keys_that_norms_left_in_float32_meet_values_in_bfloat16(recorded: list[dict[str, Any]]) -> None:
    texts = PackedTexts([4, 6], "cpu")
    query, key, value = (drawn(heads, 10)[0].float() for heads in (4, 2, 2))
    kernels.attend_by_kernel(
        KernelChoice("torch", ""), query, key, value.bfloat16(), texts=texts, layer=CAUSAL, scale=0.25, dropout=0.0
    )
    assert recorded[0]["dtypes"] == {torch.bfloat16}
    assert recorded[0]["bounds"].tolist() == [0, 4, 10]
