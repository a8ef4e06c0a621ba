"""Write a model as ONNX, and its weights in eight or four bits.

Names of inputs and outputs are sentence-transformers' and Optimum's (`input_ids`, `attention_mask`;
`last_hidden_state`, `sentence_embedding`), so `SentenceTransformer(folder, backend="onnx")` loads what is written here;
`state` is the raw state that Matryoshka cuts and `/embed` without normalisation need.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyglossa.export.padded_graph import PaddedGraph
from polyglossa.model.forward import TextModel

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("last_hidden_state", "sentence_embedding", "state")
_OPSET = 18
_LARGEST_BYTES = 2**31 - 2**20
"""Above it weights lie in a file beside the graph: protobuf holds no more than 2 GiB."""
_BLOCK = 32
"""Weights that share a scale in four bits."""


def write_onnx(model: TextModel, file: Path) -> None:
    """Trace a model over padded texts, with free numbers of texts and tokens.

    Args:
        model: float32 on the CPU; it attends padded from now on.
        file: where the graph goes.
    """
    graph = PaddedGraph(model).eval()
    ids_BL = torch.ones(2, 5, dtype=torch.int64)
    mask_BL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    file.parent.mkdir(parents=True, exist_ok=True)
    free = {0: "texts", 1: "tokens"}
    axes = dict.fromkeys((*INPUTS, "last_hidden_state"), free)
    axes |= {"sentence_embedding": {0: "texts"}, "state": {0: "texts"}}
    large = sum(tensor.nbytes for tensor in model.state_dict().values()) > _LARGEST_BYTES
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracer and not `dynamo=True`: the graph has no decisions, and MiniLM took 5 s against 94 s.
        torch.onnx.export(
            graph,
            (ids_BL, mask_BL),
            str(file),
            dynamo=False,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            opset_version=_OPSET,
            do_constant_folding=True,
            external_data=large,
        )


def quantize_int8(source: Path, target: Path, *, kept: Iterable[str] = ()) -> None:
    """Write a copy whose matrix weights have eight bits, a scale a column; activations are quantised as they come.

    Args:
        source: float32 graph.
        target: where the copy goes.
        kept: names of matrix products that stay in float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = _prepared(source, Path(folder))
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=list(kept),
            use_external_data_format=_is_large(source),
            extra_options={"MatMulConstBOnly": True},
        )


def quantize_int4(source: Path, target: Path) -> None:
    """Write a copy whose matrix weights have four bits, a scale for every 32 of them; products run in eight bits."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = _prepared(source, Path(folder))
        quantizer = MatMulNBitsQuantizer(
            onnx.load(prepared), bits=4, block_size=_BLOCK, is_symmetric=True, accuracy_level=4
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(target), use_external_data_format=_is_large(source))


def outliers(file: Path, batches: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Tell how far the activations of each matrix product stand out on texts: largest value over the usual one.

    A product whose input has few large values loses most where all its values share one scale of eight bits.

    Args:
        file: float32 graph.
        batches: inputs of the graph.

    Returns:
        Names of matrix products over constant weights and their ratio, the worst first.
    """
    import onnx
    import onnxruntime

    graph = onnx.load(file)
    constants = {tensor.name for tensor in graph.graph.initializer}
    products = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants]
    watched = sorted({node.input[0] for node in products})
    known = {output.name for output in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched if name not in known)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "watched.onnx"
        onnx.save(graph, place, save_as_external_data=_is_large(file))
        session = onnxruntime.InferenceSession(place, providers=["CPUExecutionProvider"])
        ratio: dict[str, float] = dict.fromkeys(watched, 0.0)
        for batch in batches:
            for name, value in zip(watched, session.run(watched, dict(batch)), strict=True):
                usual = float(np.sqrt(np.mean(np.square(value)))) or 1.0
                ratio[name] = max(ratio[name], float(np.abs(value).max()) / usual)
    return sorted(((node.name, ratio[node.input[0]]) for node in products), key=lambda one: -one[1])


def _prepared(source: Path, folder: Path) -> Path:
    """Write a copy with constants folded and shapes known, as the quantisers want it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = folder / "prepared.onnx"
    quant_pre_process(
        str(source), str(target), skip_symbolic_shape=True, save_as_external_data=_is_large(source),
        all_tensors_to_one_file=True,
    )  # fmt: skip
    return target


def _is_large(file: Path) -> bool:
    return sum(one.stat().st_size for one in file.parent.glob(f"{file.stem}*")) > _LARGEST_BYTES


class _quiet:
    """Keep the quantisers' advice out of the terminal."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._level)
