"""One embedding everywhere, in the graph that other programs run: every family, every pooling, padding on any side."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model.family_models import CONFIGS, save_plain
from model.test_families import TEXTS, tokenizer_for
from polyglossa.export.onnx_file import write_onnx
from polyglossa.export.padded_encoder import open_onnx, pad, padded_passes
from polyglossa.export.padded_graph import PaddedGraph
from polyglossa.model.directory import load_model
from polyglossa.model.encoder import Encoder
from polyglossa.model.pooling import POOLINGS


def padded(texts: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    ids_BL, mask_BL = pad(texts, 0)
    if left:
        for row, tokens in enumerate(texts):
            ids_BL[row], mask_BL[row] = (np.roll(one, -len(tokens)) for one in (ids_BL[row], mask_BL[row]))
    return torch.from_numpy(ids_BL), torch.from_numpy(mask_BL)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_gives_the_encoders_states_padded_on_either_side(name: str, tmp_path: Path) -> None:
    path = save_plain(tmp_path, CONFIGS[name](), tokenizer_for(name))
    encoder = Encoder.load(path)
    tokens = encoder.tokenize(TEXTS[:-1])
    expected = encoder.states(tokens).numpy()
    graph = PaddedGraph(load_model(path)).eval()
    for left in (False, True):
        with torch.inference_mode():
            _, _, state_BS = graph(*padded(tokens, left=left))
        np.testing.assert_allclose(state_BS.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_gives_the_encoders_states(pooling: str, tmp_path: Path) -> None:
    path = save_plain(tmp_path, CONFIGS["bert"](), tokenizer_for("bert"))
    model = load_model(path, pooling=pooling)
    encoder = Encoder(model, Encoder.load(path).tokenizer, max_tokens=40)
    tokens = encoder.tokenize(TEXTS[:6])
    expected = encoder.states(tokens).numpy()
    for left in (False, True):
        with torch.inference_mode():
            _, _, state_BS = PaddedGraph(load_model(path, pooling=pooling)).eval()(*padded(tokens, left=left))
        np.testing.assert_allclose(state_BS.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "xlm-roberta"])
def test_the_traced_graph_takes_any_number_of_texts_and_tokens(name: str, tmp_path: Path) -> None:
    path = save_plain(tmp_path / "model", CONFIGS[name](), tokenizer_for(name))
    encoder = Encoder.load(path)
    file = tmp_path / "onnx" / "model.onnx"
    write_onnx(load_model(path), file)
    tokens = encoder.tokenize(TEXTS)
    np.testing.assert_allclose(open_onnx(file).states(tokens), encoder.states(tokens).numpy(), atol=2e-5)
    session = onnxruntime.InferenceSession(file)
    assert [one.name for one in session.get_inputs()] == ["input_ids", "attention_mask"]
    ids_BL, mask_BL = pad(tokens[:3], 0)
    vectors = session.run(["sentence_embedding"], {"input_ids": ids_BL, "attention_mask": mask_BL})[0]
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS[:3]), atol=2e-5)


def test_passes_hold_every_text_once_and_pad_less_than_a_quarter() -> None:
    lengths = [3, 90, 4, 5, 88, 40, 41, 1, 300]
    passes = padded_passes(lengths, 128)
    assert sorted(row for rows in passes for row in rows) == list(range(len(lengths)))
    for rows in passes:
        real = sum(lengths[row] for row in rows)
        assert max(lengths[row] for row in rows) * len(rows) <= 1.25 * real
        assert real <= 128 or len(rows) == 1
