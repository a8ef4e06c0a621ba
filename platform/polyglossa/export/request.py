"""What may be asked of an export. No model's code: a wrong request is refused before that is loaded."""

from collections.abc import Mapping, Sequence

from polyglossa.errors import UserError
from polyglossa.extras import require_extras

WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("float32", "int8", "int4"),
    "openvino": ("float32", "int8"),
    "gguf": ("F16", "Q8_0"),
    "folder": ("float32",),
}
"""Weights that each format may have; those of `DEFAULT_WEIGHTS` are written unless others are named."""
DEFAULT_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("float32", "int8"), "openvino": ("int8",), "gguf": ("F16",), "folder": ("float32",),
}  # fmt: skip
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "gguf": ("gguf",),
}  # fmt: skip
"""Packages that a format takes."""


def check_request(to: str, weights: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the weights that are written.

    Raises:
        UserError: a format or weights that are not known, or a package that is not installed.
    """
    if to not in WEIGHTS:
        raise UserError(f"--to {to}: not a format; there are {', '.join(WEIGHTS)} and hub.")
    odd = [one for one in weights if one not in WEIGHTS[to]]
    if odd:
        raise UserError(f"--weights {odd[0]}: {to} has {', '.join(WEIGHTS[to])}.")
    if to != "folder":
        require_extras((to,), f"export --to {to}")
        for package in PACKAGES[to]:
            __import__(package)
    return tuple(dict.fromkeys(weights)) or DEFAULT_WEIGHTS[to]
