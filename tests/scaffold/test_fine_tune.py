"""What `init` chooses ends while a person waits: fewer steps where texts are long or the model large."""

from pathlib import Path

import pytest

from polyglossa.scaffold.base_model import BaseModel
from polyglossa.scaffold.fine_tune import Machine, Source, choose_learning, expected_seconds
from scaffold.own_files import MACHINE

GPU = Machine(on_gpu=True, cores=16, memory_gib=80.0)


def model(parameters: float, table: float) -> BaseModel:
    return BaseModel("m", "m", Path("m"), int(parameters), 384, 6, 1536, 512, ("en",), {}, (), int(table), ("query",))


def source(document_tokens: float, rows: int = 2600) -> Source:
    return Source("faq", "search", rows, rows, rows, 300, 15.0, document_tokens, "eng")


@pytest.mark.parametrize("document_tokens", [20.0, 120.0, 400.0])
def test_steps_end_within_a_quarter_of_an_hour_on_processors_or_are_the_fewest(document_tokens: float) -> None:
    small = model(22.7e6, 11.7e6)
    chosen = choose_learning([source(document_tokens)], small, MACHINE)
    assert chosen.steps == 30 or expected_seconds([source(document_tokens)], small, chosen, MACHINE) <= 15 * 60
    assert chosen.steps >= 30


def test_long_texts_and_large_models_get_fewer_steps_and_a_gpu_keeps_them() -> None:
    small, large = model(22.7e6, 11.7e6), model(118e6, 96e6)
    short, long = source(20.0), source(200.0)
    steps = [choose_learning([one], small, MACHINE).steps for one in (short, long)]
    assert steps[0] > steps[1]
    assert choose_learning([long], large, MACHINE).steps <= steps[1]
    assert choose_learning([short], small, GPU).steps == choose_learning([long], small, GPU).steps


def test_few_rows_are_not_given_more_steps_than_their_passes() -> None:
    chosen = choose_learning([source(400.0, rows=150)], model(22.7e6, 11.7e6), MACHINE)
    assert chosen.batch * chosen.steps <= 3.1 * 150
