"""Dense layers behind the pooling, as sentence-transformers' `2_Dense` folders hold them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polyglossa.errors import DataError

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    f"torch.nn.modules.{module}.{kind.__name__}": kind
    for module, kinds in {
        "linear": (nn.Identity,),
        "activation": (nn.Tanh, nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Mish, nn.ELU, nn.LeakyReLU, nn.Softsign),
    }.items()
    for kind in kinds
}
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class DenseShape:
    """What a dense layer computes: activation(W x + b), plus a residual where it has one."""

    in_features: int
    out_features: int
    bias: bool
    activation_function: str
    """Full name of a torch module."""
    use_residual: bool = False


class Dense(nn.Module):
    """A dense layer over states; parameters are named as sentence-transformers names them."""

    def __init__(self, shape: DenseShape) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(shape.in_features, shape.out_features, bias=shape.bias)
        if shape.use_residual and shape.in_features != shape.out_features:
            self.residual = nn.Linear(shape.in_features, shape.out_features, bias=False)
        self.activation = _ACTIVATIONS[shape.activation_function]()

    def forward(self, state_BD: Tensor) -> Tensor:
        """Map states [B, in] to [B, out]."""
        mapped: Tensor = self.activation(self.linear(state_BD))
        if not self.shape.use_residual:
            return mapped
        return mapped + (self.residual(state_BD) if hasattr(self, "residual") else state_BD)


def read_dense(folder: Path, config: dict[str, Any], width: int) -> Dense:
    """Load a dense layer.

    Args:
        folder: of the module.
        config: its `config.json`.
        width: of the states that reach it.

    Raises:
        DataError: it computes something else than it may, fits no state of this width, or has pickled weights only.
    """
    names = ("module_input_name", "module_output_name")
    if any(config.get(name) not in (None, "sentence_embedding") for name in names):
        raise DataError(f"{folder}: a dense layer over tokens, not over a text's state, is not known.")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if activation not in _ACTIVATIONS:
        raise DataError(f"{folder}: activation {activation} is not known; known are {', '.join(_ACTIVATIONS)}.")
    shape = DenseShape(
        int(config["in_features"]),
        int(config["out_features"]),
        bool(config.get("bias", True)),
        activation,
        bool(config.get("use_residual", False)),
    )
    if shape.in_features != width:
        raise DataError(f"{folder}: reads states {shape.in_features} wide, and {width} reach it.")
    if not (folder / _WEIGHTS).is_file():
        raise DataError(f"{folder}: has no {_WEIGHTS}; pickled weights are never read.")
    dense, weights = Dense(shape), load_file(folder / _WEIGHTS)
    expected = {name: tuple(tensor.shape) for name, tensor in dense.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        raise DataError(f"{folder}: its weights are {found}, and its configuration says {expected}.")
    dense.load_state_dict(weights)
    return dense


def write_dense(folder: Path, dense: Dense) -> None:
    """Write a dense layer's weights in float32; its configuration is the caller's to write."""
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in dense.state_dict().items()}
    save_file(state, folder / _WEIGHTS)


def dense_config(dense: Dense) -> dict[str, Any]:
    """Return the `config.json` of a dense layer; what is at its default is left out, as older readers want it."""
    plain = asdict(dense.shape)
    return plain if dense.shape.use_residual else {key: value for key, value in plain.items() if key != "use_residual"}
