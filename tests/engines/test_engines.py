"""An engine is taken by name or by measurement, and only where its vectors are the encoder's."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bulk.conftest import member as _member
from endpoint.fake import Fake, running
from polyglossa.engines import choose as choosing
from polyglossa.engines.choose import choose, open_engine
from polyglossa.engines.spec import EngineSpec, UpstreamSpec
from polyglossa.errors import DataError, EndpointError
from polyglossa.export.panel import Panel
from polyglossa.extras import MissingExtra
from polyglossa.model.encoder import Encoder
from polyglossa.serving.settings import read_settings

member = _member
PANEL = Panel(("where is it", "who is it"), ("it is here", "it is me"), ("ドイツ", "Saksa"))


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are kept where the test is, and the panel is small."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("polyglossa.export.write.builtin_panel", lambda: PANEL)
    monkeypatch.setattr("polyglossa.engines.choose.builtin_panel", lambda: PANEL)
    monkeypatch.setattr("polyglossa.engines.vllm.builtin_panel", lambda: PANEL)


class Timed:
    """An engine whose answers are off by an angle, and that takes its time on a clock of ours."""

    def __init__(self, clock: list[float], seconds: float, off: float = 0.0) -> None:
        self.clock, self.seconds, self.off, self.width = clock, seconds, off, 2
        self.about: dict[str, Any] = {}

    def states(self, token_ids: Sequence[Sequence[int]], task: str | None = None) -> np.ndarray:
        self.clock[0] += self.seconds
        return np.array([[1.0, self.off]] * len(token_ids), np.float32)

    def slots(self, lengths: Sequence[int]) -> int:
        return sum(lengths)


def test_the_measurement_leaves_out_what_disagrees_however_fast_it_is() -> None:
    clock = [0.0]
    engines = {"torch": Timed(clock, 0.02), "onnx": Timed(clock, 0.01, 0.01), "openvino": Timed(clock, 0.001, 0.2)}
    wanted = np.array([[1.0, 0.0]] * 3, np.float32)

    def cosine(got: np.ndarray) -> float:
        return float((got[:, 0] / np.linalg.norm(got, axis=1)).min())

    reasons, milliseconds = choose(engines, [[1], [2], [3]], wanted, cosine, lambda: clock[0])
    assert milliseconds == {"torch": 20.0, "onnx": 10.0}
    assert reasons["onnx"] == ""
    assert "below 0.999" in reasons["openvino"]
    assert engines["openvino"].about["least_cosine"] < 0.99


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_an_export_is_made_once_and_answers_as_the_encoder(name: str, member: str, tmp_path: Path) -> None:
    engine = open_engine(member, EngineSpec(name))
    encoder = Encoder.load(member)
    tokens = encoder.tokenize(["Saksa", "the river and the town", ""])
    np.testing.assert_allclose(engine.states(tokens), encoder.states(tokens).numpy(), atol=1e-4)
    assert engine.about["name"] == name
    assert engine.about["least_cosine"] > 0.9999
    assert engine.slots([3, 3, 40]) == 46
    kept = next((tmp_path / "cache").rglob("export.json"))
    made = kept.stat().st_mtime_ns
    open_engine(member, EngineSpec(name))
    assert kept.stat().st_mtime_ns == made


def test_auto_says_what_it_measured_and_what_is_not_installed(member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda name: None if name == "openvino" else object())
    engine = open_engine(member, EngineSpec("auto"))
    assert engine.about["name"] in ("torch", "onnx")
    assert set(engine.about["milliseconds_a_text"]) == {"torch", "onnx"}
    assert engine.about["left_out"] == {"openvino": 'not installed: pip install "polyglossa[openvino]"'}


def test_vllm_that_is_not_installed_is_one_line_with_the_extra(member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"polyglossa\[vllm\]"):
        open_engine(member, EngineSpec("vllm", gpus=1))


def test_vllm_whose_vectors_differ_is_refused(member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder.load(member)

    class Model:
        def __init__(self, off: float) -> None:
            self.off = off

        def embed(self, prompts: list[dict[str, list[int]]], use_tqdm: bool) -> Iterator[Any]:
            state_NS = encoder.states([one["prompt_token_ids"] for one in prompts]).numpy() + self.off
            return [SimpleNamespace(outputs=SimpleNamespace(embedding=list(row))) for row in state_NS]

    given: dict[str, Any] = {}
    fake = ModuleType("vllm")
    fake.LLM = lambda **options: given.update(options) or Model(0.0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    engine = open_engine(member, EngineSpec("vllm", "int8", gpus=2))
    assert (given["tensor_parallel_size"], given["quantization"], given["runner"]) == (2, "fp8", "pooling")
    assert engine.about["weights"] == "fp8"
    fake.LLM = lambda **_: Model(5.0)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="engine: torch"):
        open_engine(member, EngineSpec("vllm", gpus=1))


def test_another_server_is_asked_by_token_ids_with_its_own_key(member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "theirs")
    fake = Fake(width=32, key="theirs")
    with running(fake) as url:
        spec = EngineSpec("endpoint", upstream=UpstreamSpec(url, "m", "UPSTREAM_KEY", 5.0))
        engine = open_engine(member, spec)
        assert engine.states([[5, 6, 7], [9]]).shape == (2, 32)
        assert fake.asked[-1]["input"] == [[5, 6, 7], [9]]
        with pytest.raises(EndpointError):
            open_engine(member, EngineSpec("endpoint", upstream=UpstreamSpec(url, "other", "UPSTREAM_KEY", 1.0)))
    with running(Fake(width=8)) as url, pytest.raises(DataError, match="8 wide"):
        open_engine(member, EngineSpec("endpoint", upstream=UpstreamSpec(url, "m")))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"engine": "endpoint"}, "needs upstream"),
        ({"engine": "vllm"}, "gpus ≥ 1"),
        ({"engine": "onnx", "gpus": 1.0}, "leave gpus at 0"),
        ({"engine": "openvino", "dtype": "bfloat16"}, "not in bfloat16"),
        ({"colocate": True, "replicas": {"min": 2, "max": 2}}, "scale `ingress`"),
        ({"engine": "tensorrt"}, "engine"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_starts(fields: dict, said: str) -> None:
    with pytest.raises(Exception, match=said):
        read_settings({"members": [{"name": "m", "path": "x", **fields}]})
