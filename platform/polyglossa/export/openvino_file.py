"""Write an ONNX graph as OpenVINO, its matrix weights in eight bits; no calibration package is needed for that."""

from pathlib import Path
from typing import Any

import numpy as np


def write_openvino(source: Path, target: Path, *, int8: bool = True) -> int:
    """Convert an ONNX graph.

    Weights of eight bits are a constant, a scale a row and a product, which the CPU plugin runs in eight bits: it
    quantises the activations as they come.

    Args:
        source: float32 ONNX file.
        target: `.xml` file; the weights go beside it.
        int8: whether matrix weights get eight bits.

    Returns:
        How many matrices got them.
    """
    import openvino

    model = openvino.convert_model(source)
    count = _compress(model) if int8 else 0
    target.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, target, compress_to_fp16=False)
    return count


def _compress(model: Any) -> int:
    from openvino import opset13 as ops

    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        weight = node.input_value(1).get_node()
        if weight.get_type_name() != "Constant" or len(weight.shape) != 2:
            continue
        rows = np.array(weight.data, np.float32)
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        scale = np.maximum(np.abs(rows).max(axis=axis, keepdims=True), 1e-12) / 127
        small = ops.constant(np.rint(rows / scale).astype(np.int8))
        wide = ops.multiply(ops.convert(small, "f32"), ops.constant(scale.astype(np.float32)))
        node.input(1).replace_source_output(wide.output(0))
        count += 1
    model.validate_nodes_and_infer_types()
    return count
