"""A copy of a backbone that takes packed texts, so that the backbone itself still answers stock calls."""

import copy

from transformers import PreTrainedModel

from polyglossa.model.forward import TextModel


def packed(backbone: PreTrainedModel) -> TextModel:
    return TextModel.of(copy.deepcopy(backbone))
