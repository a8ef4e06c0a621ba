"""Packed attention is exact: every text's states equal those of the text alone in the stock model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.worlds import VOCABULARY, make_model
from polyglossa.engine.embedder import Embedder
from polyglossa.model.attention.products import attention_slots, runs_of
from polyglossa.model.forward import TextModel


@pytest.mark.parametrize("lengths", [[3], [4, 4, 4], [9, 8, 8, 1], [2, 30, 7], [600, 5, 5], [520, 515]])
def test_packed_texts_embed_as_they_do_alone(lengths: list[int]) -> None:
    alone, embedder = make_model().double(), Embedder(TextModel.of(make_model()), dtype="float64")
    texts = [torch.randint(0, VOCABULARY, (length,)) for length in lengths]
    found = embedder(torch.cat(texts), lengths, seed=0)
    expected = torch.stack([alone(input_ids=text[None], use_cache=False).last_hidden_state[0, -1] for text in texts])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    found.square().sum().backward()
    expected.square().sum().backward()
    theirs = dict(alone.named_parameters())
    for name, parameter in embedder.backbone.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-8, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=40))
def test_runs_hold_every_text_once_and_pad_little(lengths: list[int]) -> None:
    runs = runs_of(tuple(lengths))
    assert [length for run in runs for length in run.lengths] == lengths
    assert [run.start for run in runs[1:]] == [run.stop for run in runs[:-1]]
    assert attention_slots(lengths) <= 1.125 * sum(lengths)
    assert all(len(run.lengths) == 1 for run in runs if run.longest > 512)


def test_dropout_is_drawn_from_the_seed() -> None:
    embedder = Embedder(TextModel.of(make_model(dropout=0.5)), dtype="float32")
    tokens = torch.arange(10)
    one, again, other = embedder(tokens, [6, 4], 1), embedder(tokens, [6, 4], 1), embedder(tokens, [6, 4], 2)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the packed kernel runs on a GPU, and none is here")
def test_the_gpu_kernel_gives_the_padded_states_to_bf16_tolerance() -> None:
    lengths = [700, 64, 64, 9, 1]
    texts = [torch.randint(0, VOCABULARY, (length,)) for length in lengths]
    exact = Embedder(TextModel.of(make_model()), dtype="float32").cuda()(torch.cat(texts).cuda(), lengths, 0)
    packed = Embedder(TextModel.of(make_model()), dtype="bfloat16").cuda()(torch.cat(texts).cuda(), lengths, 0)
    assert float(torch.nn.functional.cosine_similarity(packed, exact).min()) > 0.999
