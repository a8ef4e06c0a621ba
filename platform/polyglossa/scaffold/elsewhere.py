"""Which of mteb's small tasks show what a fine-tuning loses elsewhere: those whose data can be had from here."""

import os

_TASKS = {
    True: {"STSBenchmark": "mteb/stsbenchmark-sts", "NFCorpus": "mteb/nfcorpus"},
    False: {"STS17": "mteb/sts17-crosslingual-sts", "STSBenchmark": "mteb/stsbenchmark-sts"},
}
"""Of models for English alone, and of others: task → data set."""
_SECONDS = 5


def small_tasks(is_english: bool) -> tuple[str, ...]:
    """Name the tasks whose data is cached here, or can be fetched now; none where there is no hub."""
    from huggingface_hub import HfApi, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = {repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "dataset"}
    except CacheNotFound:
        cached = set()
    tasks = _TASKS[is_english]
    found = tuple(task for task, data in tasks.items() if data in cached)
    if found or os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "TRUE"):
        return found
    try:
        HfApi().dataset_info(next(iter(tasks.values())), timeout=_SECONDS)
    except Exception:  # the hub's client raises its own errors, httpx's and the system's: none of them is a reason here
        return ()
    return tuple(tasks)
