"""Matryoshka widths of a search task: the same states cut shorter, searched again, scored as mteb scores.

mteb judges a subset at a time (12–25 ms each, most of it for abstention curves and cut-offs). A width needs the main
score alone, so all subsets go through the evaluator under mteb's retrieval scores (pytrec_eval) in one call.
"""

from statistics import fmean

import pytrec_eval

from polyglossa.evaluate.models.protocol import MtebSearcher
from polyglossa.evaluate.scoring.summary import SPLIT
from polyglossa.evaluate.tasks.search_task import SearchTask

_MEASURES = {"hit_rate_at_1": ("success.1", "success_1"), "ndcg_at_10": ("ndcg_cut.10", "ndcg_cut_10")}
"""Main score → what the evaluator under mteb is asked for, and what it calls its answer."""


def score_by_language(task: SearchTask, searcher: MtebSearcher) -> dict[str, float]:
    """Main score of every language of a task at the searcher's width, rounded as mteb rounds."""
    results: dict[str, dict[str, float]] = {}
    qrels: dict[str, dict[str, int]] = {}
    languages: dict[str, str] = {}
    for language in task.hf_subsets:
        data = task.dataset[language][SPLIT]
        searcher.index(data["corpus"], task_metadata=task.metadata)
        found = searcher.search(data["queries"], task_metadata=task.metadata, top_k=max(task.k_values))
        for query, ranked in found.items():
            key = f"{language}/{query}"
            results[key], qrels[key], languages[key] = ranked, data["relevant_docs"][query], language
    measure, per_query = _MEASURES[task.metadata.main_score]
    scored = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(results)
    by_language: dict[str, list[float]] = {}
    for query, scores in scored.items():
        by_language.setdefault(languages[query], []).append(scores[per_query])
    return {language: round(fmean(scores), 5) for language, scores in by_language.items()}
