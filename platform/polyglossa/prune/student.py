"""The student of a parent: score, plan, cut, and give it a tokenizer of its own where the recipe asks for one.

Runs on one worker, needs no Ray. The vocabulary report says for each language what the smaller table costs it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from polyglossa.errors import UserError
from polyglossa.model.description import describe_like
from polyglossa.model.directory import save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import plain_tokenizer
from polyglossa.prune.importance import ActivationSums, score
from polyglossa.prune.language_texts import Sample, join_samples
from polyglossa.prune.plan import PrunePlan, Sizes, make_plan
from polyglossa.prune.surgery import prune_model, sizes_of
from polyglossa.prune.tokenizer_json import shrink_tokenizer
from polyglossa.prune.vocabulary import Shrinker, Usage
from polyglossa.recipe.sections.prune import PruneStage, VocabularyConfig

_TRADE = (0.25, 0.5, 0.75)  # shares of the parent's table that the report prices


@dataclass(frozen=True)
class PrunedModel:
    """What pruning leaves: a model, its tokenizer, and the account of both."""

    backbone: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    plan: PrunePlan
    figures: dict[str, Any]
    vocabulary: dict[str, Any] | None


def cut_student(parent: Encoder, sums: ActivationSums, config: PruneStage, samples: Iterable[Sample]) -> PrunedModel:
    """Cut a student out of its parent.

    Args:
        parent: the trained model.
        sums: what `measure` returned for it.
        config: sizes and rules.
        samples: texts by language; read only where the vocabulary shrinks.

    Raises:
        UserError: the sizes or the vocabulary cannot be had.
    """
    sizes = sizes_of(parent.backbone.config)
    scores = score(parent.backbone, sums, config.criterion, config.seed)
    target = target_of(config, sizes)
    if target.hidden != sizes.hidden and parent.description.dense:
        raise UserError("prune.hidden: the parent has dense layers behind its pooling; keep its width.")
    plan = make_plan(sizes, target, scores, config.depth)
    tokenizer, report = parent.tokenizer, None
    if config.vocabulary is not None:
        kept, report = choose_tokens(tokenizer, config.vocabulary, samples)
        plan = replace(plan, kept_tokens=tuple(kept))
        tokenizer = shrunk(tokenizer, kept)
    backbone = prune_model(parent.backbone, plan)
    figures: dict[str, Any] = {
        "parent_parameters": sum(parameter.numel() for parameter in parent.backbone.parameters()),
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
    }
    if report is not None:
        figures |= {name: report[name] for name in ("tokens_before", "tokens_after", "largest_growth")}
    return PrunedModel(backbone, tokenizer, plan, figures, report)


def save_student(student: PrunedModel, parent: Encoder, folder: str) -> None:
    """Write the student's model directory; Matryoshka widths that still fit are inherited."""
    width = student.plan.sizes.hidden
    trained_widths = getattr(student.backbone.config, "matryoshka_dimensions", None) or []
    description = describe_like(parent.description, type(student.backbone), student.backbone.config)
    save_model_directory(
        folder,
        TextModel(student.backbone, parent.model.layers_behind, description),
        student.tokenizer,
        max_tokens=parent.max_tokens,
        matryoshka_widths=[*(trained for trained in trained_widths if trained < width), width],
    )


def target_of(config: PruneStage, parent: Sizes) -> Sizes:
    """Sizes that a config asks for, of this parent."""
    return Sizes(config.hidden, config.mlp, config.layers, config.kv_heads or parent.kv_heads)


def choose_tokens(
    tokenizer: PreTrainedTokenizerFast, config: VocabularyConfig, samples: Iterable[Sample]
) -> tuple[list[int], dict[str, Any]]:
    """Choose the tokens that stay and price them for each language."""
    backend, usage = tokenizer.backend_tokenizer, Usage()
    for language, texts in join_samples(samples, config.texts_per_language).items():
        usage.read(backend, language, (text for _, text in texts))
    content = json.loads(backend.to_str())
    shrinker = Shrinker(content, usage)
    kept = shrinker.choose(config.tokens, config.max_growth)
    return kept, _report(shrinker, kept, backend.get_vocab_size())


def shrunk(tokenizer: PreTrainedTokenizerFast, kept: list[int]) -> PreTrainedTokenizerFast:
    """Return the tokenizer with the kept tokens alone, its special tokens and limits as they were."""
    content = shrink_tokenizer(json.loads(tokenizer.backend_tokenizer.to_str()), kept)
    backend = Tokenizer.from_str(json.dumps(content))
    return plain_tokenizer(tokenizer, max_tokens=tokenizer.model_max_length, backend=backend)


def _report(shrinker: Shrinker, kept: list[int], before: int) -> dict[str, Any]:
    costs = shrinker.cost(kept)
    languages = {language: cost.to_json() | {"growth_at": {}} for language, cost in costs.items()}
    for size in sorted({max(round(share * before), shrinker.smallest) for share in _TRADE}):
        for language, cost in shrinker.cost(shrinker.rank(size, dict.fromkeys(costs, 1.0))).items():
            languages[language]["growth_at"][str(size)] = round(cost.growth, 4)
    worst = max(costs, key=lambda language: costs[language].growth)
    return {
        "tokens_before": before,
        "tokens_after": len(kept),
        "largest_growth": round(costs[worst].growth, 4),
        "largest_growth_language": worst,
        "languages": languages,
    }
