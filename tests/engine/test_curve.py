"""The numbers of training do not drift: 50 steps of a seeded toy model follow the stored loss curve, and it learns."""

import json
from pathlib import Path

import numpy as np

from engine.curve import STORED, losses


def test_fifty_steps_follow_the_stored_curve_and_learn(tmp_path: Path) -> None:
    found, stored = losses(str(tmp_path)), json.loads(STORED.read_text())
    np.testing.assert_allclose(found, stored, rtol=1e-5, atol=1e-5)
    assert np.mean(found[-10:]) < 0.8 * np.mean(found[:10])
