"""Averages are what their formulas say, and the result is a model directory like any other."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from merge.conftest import write_model
from polyglossa.errors import UserError
from polyglossa.merge.weights import average, save
from polyglossa.model.directory import load_model
from polyglossa.model.encoder import Encoder


def state(folder: str) -> dict[str, Tensor]:
    return load_model(folder).backbone.state_dict()


def test_linear_is_the_weighted_mean(folders: list[str]) -> None:
    merged = average("linear", folders, [1.0, 1.0, 2.0]).backbone.state_dict()
    first, second, third = map(state, folders)
    for name, tensor in merged.items():
        expected = 0.25 * first[name] + 0.25 * second[name] + 0.5 * third[name]
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_spherical_mean_of_two_follows_the_great_circle(folders: list[str], share: float) -> None:
    merged = average("slerp", folders[:2], [1 - share, share]).backbone.state_dict()
    name = "layers.0.self_attn.k_proj.weight"
    start, end = (state(folder)[name].double().flatten() for folder in folders[:2])
    angle = torch.acos(torch.dot(start, end) / start.norm() / end.norm())
    expected = (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)
    torch.testing.assert_close(merged[name].double().flatten(), expected, rtol=1e-4, atol=1e-5)


def test_spherical_mean_of_three_keeps_their_length(folders: list[str]) -> None:
    merged = average("slerp", folders, [1.0, 1.0, 1.0]).backbone.state_dict()
    name = "embed_tokens.weight"
    lengths = [state(folder)[name].norm() for folder in folders]
    linear = average("linear", folders, [1.0, 1.0, 1.0]).backbone.state_dict()[name].norm()
    assert linear < min(lengths)
    assert linear < merged[name].norm() < max(lengths) * 1.01


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_averaging_a_model_with_its_copy_changes_nothing(folders: list[str], tmp_path: Path, method: str) -> None:
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    merged = average(method, [folders[0], str(copy)], [0.5, 0.5]).backbone.state_dict()
    for name, tensor in state(folders[0]).items():
        torch.testing.assert_close(merged[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_average_reloads_with_what_its_first_model_had(folders: list[str], tmp_path: Path) -> None:
    merged = average("linear", folders[:2], [1.0, 1.0])
    save(merged, str(tmp_path))
    loaded = Encoder.load(str(tmp_path))
    assert (loaded.encode(["red house"]) == merged.encode(["red house"])).all()
    assert loaded.prompts == {"query": "Q: "}
    assert loaded.max_tokens == 16
    assert loaded.backbone.config.matryoshka_dimensions == [16, 32]


def test_models_of_different_shapes_are_refused(folders: list[str], tmp_path: Path) -> None:
    deeper = write_model(tmp_path, 1, layers=3)
    with pytest.raises(UserError, match=r"has num_hidden_layers 3, .* has 2; only equal shapes average"):
        average("linear", [folders[0], deeper], [1.0, 1.0])


def test_a_model_named_twice_is_refused(folders: list[str]) -> None:
    with pytest.raises(UserError, match="named twice"):
        average("linear", [folders[0], folders[0]], [1.0, 1.0])


def test_one_model_is_no_merge(folders: list[str]) -> None:
    with pytest.raises(UserError, match="got 1 models and 1 weights; give two or more"):
        average("linear", folders[:1], [1.0])
