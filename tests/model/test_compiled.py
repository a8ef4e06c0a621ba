"""Compiled layers give the states of those that are not, and passes of other sizes compile nothing anew."""

import torch
from torch._dynamo.testing import CompileCounter

from engine.worlds import VOCABULARY, make_model
from polyglossa.model.forward import TextModel
from polyglossa.model.variants.compiled import compile_layers


def test_compiled_layers_agree_and_sizes_are_symbols() -> None:
    torch._dynamo.reset()
    plain, compiled, counter = TextModel.of(make_model()), TextModel.of(make_model()), CompileCounter()
    assert compile_layers(compiled.backbone, counter) == 2
    graphs = []
    for lengths in ([3, 4, 5], [9, 8, 2, 1], [30, 7], [2, 2, 2]):
        tokens = torch.arange(sum(lengths)) % VOCABULARY
        torch.testing.assert_close(compiled(tokens, lengths), plain(tokens, lengths), rtol=1e-5, atol=1e-6)
        graphs.append(counter.frame_count)
    assert graphs[0] > 0
    assert graphs[1:] == [graphs[1]] * 3, "the second size makes sizes symbols, and later ones compile nothing"
    torch._dynamo.reset()
