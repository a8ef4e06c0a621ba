"""What every test shares: one thread per process, no hub, one small local Ray."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Beside another file's tests, Ray's workers at nice 15 would wait for them.
os.environ.setdefault("RAY_worker_niceness", "0")

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine makes any example slow; no test is timed.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files of few tests: those start processes and last longest, and none is left alone at the end."""
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: counts[item.path])


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """Start one local Ray for the session (two CPUs, no dashboard) and shut it down."""
    from polyglossa.runtime.session import local_ray

    with local_ray(cpus=2, object_store_gib=0.3):
        yield
