"""A member leaves in other programs' formats, held to its encoder; what a format lacks is refused by name."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from model.conftest import TEXTS
from model.family_models import CONFIGS, save_plain, save_sentence_transformer, word_tokenizer
from polyglossa.errors import DataError, UserError
from polyglossa.export import write
from polyglossa.export.gguf_file import check_gguf, read_gguf
from polyglossa.export.padded_encoder import open_onnx, open_openvino
from polyglossa.export.panel import Fidelity, Panel, Promise, compare, text_panel
from polyglossa.export.request import check_request
from polyglossa.export.write import MANIFEST, export_model
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer

PANEL = Panel(
    ("Where does the river begin?", "Who yields names?", "What is an integer?"),
    ("Behind the old town, where it is cold.", "The walk yields each name.", "A number without a fraction."),
    tuple(text for text in TEXTS if text),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    tokenizer = train_tokenizer(TEXTS * 4, vocabulary=400, max_tokens=48)
    backbone = build_model(
        hidden=32, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=400, max_tokens=48,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=1,
    )  # fmt: skip
    model = TextModel.of(backbone, prompts={"query": "Find: "})
    save_model_directory(str(folder), model, tokenizer, max_tokens=48, matryoshka_widths=[8, 32])
    return str(folder)


def test_onnx_keeps_what_its_manifest_says_in_every_weight(path: str, tmp_path: Path) -> None:
    out = tmp_path / "onnx"
    manifest = export_model(path, "onnx", str(out), weights=("float32", "int8", "int4"), panel=PANEL, least_cosine=0.8)
    assert json.loads((out / MANIFEST).read_text()) == manifest
    encoder = Encoder.load(path)
    assert manifest["model"]["fingerprint"] == encoder.fingerprint
    tokens = encoder.tokenize(PANEL.texts)
    wanted = encoder.states(tokens).numpy()
    for file in manifest["files"]:
        states = open_onnx(out / file["file"]).states(tokens)
        assert compare(wanted, states, PANEL).least_cosine == pytest.approx(file["panel"]["least_cosine"], abs=1e-4)
    assert [one["weights"] for one in manifest["files"]] == ["float32", "int8", "int4"]
    assert manifest["files"][0]["panel"]["least_cosine"] > 0.99999
    assert manifest["files"][1]["panel"]["least_cosine"] > 0.97
    for name in ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"):
        assert (out / name).is_file()
    assert not list(out.glob("*.safetensors"))


def test_openvino_gives_the_encoders_vectors_in_eight_bits(path: str, tmp_path: Path) -> None:
    out = tmp_path / "openvino"
    manifest = export_model(path, "openvino", str(out), weights=("float32", "int8"), panel=PANEL)
    assert [
        file["panel"]["least_cosine"] >= least for file, least in zip(manifest["files"], (0.9999, 0.97), strict=True)
    ] == [True] * 2
    encoder = Encoder.load(path)
    tokens = encoder.tokenize(PANEL.texts)
    states = open_openvino(out / manifest["files"][0]["file"]).states(tokens)
    np.testing.assert_allclose(states, encoder.states(tokens).numpy(), atol=1e-4)


def test_gguf_reads_back_as_the_model_and_its_tokenizer(path: str, tmp_path: Path) -> None:
    out = tmp_path / "gguf"
    manifest = export_model(path, "gguf", str(out), weights=("F16", "Q8_0"), panel=PANEL)
    half, eight = manifest["files"]
    assert half["panel"]["least_cosine"] >= 0.9999
    assert eight["panel"]["least_cosine"] >= 0.999
    content = read_gguf(out / half["file"])
    encoder = Encoder.load(path)
    vocabulary = encoder.tokenizer.get_vocab()
    assert all(content.tokens[index] == token for token, index in vocabulary.items())
    assert content.fields["tokenizer.ggml.eos_token_id"] == encoder.tokenizer.eos_token_id
    assert content.fields["tokenizer.ggml.add_eos_token"] is True
    assert content.fields["qwen3.pooling_type"] == 3
    assert any("space before each text" in note for note in half["notes"])


def test_a_folder_is_held_to_sentence_transformers(path: str, tmp_path: Path) -> None:
    manifest = export_model(path, "folder", str(tmp_path / "copy"), panel=PANEL)
    assert manifest["files"][0]["panel"]["least_cosine"] == pytest.approx(1, abs=1e-6)
    assert Encoder.load(str(tmp_path / "copy")).fingerprint == Encoder.load(path).fingerprint


@pytest.mark.parametrize(
    ("name", "dense", "pooling", "reason"),
    [
        ("bert", (16,), "mean", "dense layers"),
        ("qwen2-windows", (), "lasttoken", "windows"),
        ("gemma2", (), "lasttoken", "gemma2"),
        ("bert", (), "max", "pooling max"),
        ("qwen3-both-ways", (), "mean", "bidirectional"),
    ],
)
def test_gguf_refuses_by_name_what_it_has_no_place_for(
    name: str, dense: tuple[int, ...], pooling: str, reason: str, tmp_path: Path
) -> None:
    saved = save_sentence_transformer(
        tmp_path, CONFIGS[name](), word_tokenizer(behind="</s>"), pooling=pooling, dense=dense
    )
    with pytest.raises(DataError, match=reason):
        check_gguf(Encoder.load(saved).description)
    with pytest.raises(DataError, match=reason):
        export_model(saved, "gguf", str(tmp_path / "out"), panel=PANEL)
    assert not (tmp_path / "out").exists()


def test_gguf_refuses_a_tokenizer_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    saved = save_plain(tmp_path / "model", CONFIGS["qwen3"](), word_tokenizer(behind="</s>"))
    with pytest.raises(DataError, match="WordLevel"):
        export_model(saved, "gguf", str(tmp_path / "out"), panel=PANEL)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]


def test_an_export_that_keeps_too_little_is_not_written(path: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="least cosine to the encoder"):
        export_model(path, "onnx", str(tmp_path / "out"), weights=("int4",), panel=PANEL, least_cosine=0.9999999)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_earlier_export_and_nothing_else(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gguf"
    export_model(path, "gguf", str(out), panel=PANEL)
    before = (out / MANIFEST).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "write_gguf", full)
    with pytest.raises(UserError, match="disk is full"):
        export_model(path, "gguf", str(out), panel=PANEL)
    assert (out / MANIFEST).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["gguf"]


def test_a_folder_of_somebody_elses_is_never_replaced(path: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is no export"):
        export_model(path, "folder", str(tmp_path), panel=PANEL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("to", "weights", "said"), [("tflite", (), "onnx, openvino"), ("gguf", ("int8",), "F16, Q8_0")]
)
def test_unknown_formats_and_weights_are_named_with_what_there_is(to: str, weights: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_request(to, weights)


def test_states_that_are_not_finite_keep_no_promise() -> None:
    ours = np.eye(9, 4, dtype=np.float32) + 0.1
    theirs = ours.copy()
    theirs[3] = np.nan
    panel = Panel(("a",) * 3, ("b",) * 3, ("c",) * 3)
    found = compare(ours, theirs, panel)
    assert found.least_cosine == -1
    with pytest.raises(DataError, match="Nothing was written"):
        Promise(0.9, 0.9).check("model.onnx", found)
    Promise(0.9, 0.9).check("model.onnx", Fidelity(0.95, 0.99, 0.91, 1.0, 9))


def test_a_panel_of_ones_own_needs_twenty_texts() -> None:
    lines = [f"text {index} tells of rivers and towns and what lies between" for index in range(20)]
    assert len(text_panel(lines).queries) == 20
    with pytest.raises(DataError, match="at least 20"):
        text_panel(lines[:19])
