"""A small parent model and texts for it."""

import pytest
import torch
from transformers import Qwen3Config, Qwen3Model


@pytest.fixture(scope="module")
def parent() -> Qwen3Model:
    """A Qwen3 model of 4 layers, width 32, with gains that are not all one."""
    config = Qwen3Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen3Model(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.data.uniform_(0.5, 1.5)
            else:
                parameter.data.normal_(std=0.15)
    return model


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Token ids of 40 texts of different lengths."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 20, (40,), generator=generator).tolist()
    return [torch.randint(0, 97, (length,), generator=generator).tolist() for length in lengths]
