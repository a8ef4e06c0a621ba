"""Packed passes give the encoder's states, whatever texts share a pass."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.model.encoder import Encoder
from serve.passes import cut_passes, embed_packed, use_packed_attention


def test_packed_states_are_the_encoders(models: dict[str, str]) -> None:
    texts = ["Saksa", "", "Germany " * 30, "def walk(path): yield path", "ドイツ", "a", "b c", "Germany " * 9]
    encoder, packed = Encoder.load(models["base"]), Encoder.load(models["base"])
    ids = encoder.tokenize(texts)
    use_packed_attention(packed.backbone)
    np.testing.assert_allclose(embed_packed(packed.backbone, ids), encoder.states(ids), atol=2e-5)


@given(st.lists(st.integers(1, 90), max_size=60), st.integers(1, 80))
def test_every_text_is_in_one_pass_and_passes_keep_the_budget(lengths: list[int], budget: int) -> None:
    passes = cut_passes(lengths, budget)
    assert sorted(index for rows in passes for index in rows) == list(range(len(lengths)))
    assert all(len(rows) == 1 or sum(lengths[index] for index in rows) <= budget for rows in passes)
    flat = [lengths[index] for rows in passes for index in rows]
    assert flat == sorted(flat, reverse=True)
