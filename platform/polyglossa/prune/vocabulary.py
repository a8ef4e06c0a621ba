"""Choose the tokens that a corpus needs: usage by language, a guard for each language, and the cost to each.

A language's cost is its growth: tokens per character after, over before, minus one. Tokens are taken by their share of
each language's tokens, summed over languages; then languages that grow more than the mean weigh more and the others
less, until all are within the guard.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer, models

from polyglossa.errors import UserError
from polyglossa.prune.tokenizer_json import (
    Json,
    always_kept,
    close,
    merges_of,
    parts_of,
    shrink_tokenizer,
    vocabulary_of,
)

_ROUNDS = 32  # of ever smaller steps: with full ones, tokens that two languages share swing between them


@dataclass
class Usage:
    """Words (pre-tokens) of texts, by language.

    Attributes:
        words: language → word → how often.
        characters: language → characters of its texts.
    """

    words: dict[str, Counter[str]] = field(default_factory=dict)
    characters: Counter[str] = field(default_factory=Counter)

    def read(self, tokenizer: Tokenizer, language: str, texts: Iterable[str]) -> None:
        """Count the words of texts of one language."""
        words = self.words.setdefault(language, Counter())
        for text in texts:
            self.characters[language] += len(text)
            normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
            words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))


@dataclass(frozen=True)
class LanguageCost:
    """What a smaller vocabulary costs one language."""

    characters: int
    tokens_before: int
    tokens_after: int

    @property
    def growth(self) -> float:
        """Relative growth of tokens per character."""
        return self.tokens_after / max(self.tokens_before, 1) - 1

    def to_json(self) -> dict[str, Any]:
        """Return the figures with the ratios a reader wants."""
        per_character = {
            name: round(tokens / max(self.characters, 1), 4)
            for name, tokens in (("before", self.tokens_before), ("after", self.tokens_after))
        }
        return {"characters": self.characters, "tokens_per_character": per_character, "growth": round(self.growth, 4)}


class Shrinker:
    """Chooses tokens for one tokenizer and one corpus, for any number of sizes."""

    def __init__(self, tokenizer: Json, usage: Usage) -> None:
        self._tokenizer, self._parts, self._base = tokenizer, parts_of(tokenizer), always_kept(tokenizer)
        self._all, self._usage = sorted(set(vocabulary_of(tokenizer).values())), usage
        model = bpe(tokenizer)
        spelled = {word: [piece.id for piece in model.tokenize(word)] for word in set().union(*usage.words.values())}
        self._spelled: Mapping[str, Sequence[int]] = spelled
        self._tokens = {language: self._count(words) for language, words in usage.words.items()}

    @property
    def smallest(self) -> int:
        """Size of the smallest vocabulary that can still write any text."""
        return len(self._base)

    def choose(self, size: int, max_growth: float) -> list[int]:
        """Choose `size` tokens such that no language grows by more than `max_growth`.

        Returns:
            Kept ids in ascending order.

        Raises:
            UserError: the size is out of range, or no choice of that size was found within the guard.
        """
        if not self.smallest <= size <= len(self._all):
            raise UserError(
                f"prune.vocabulary.tokens: got {size}; allowed is {self.smallest} (bytes and special tokens) to "
                f"{len(self._all)} (all that the parent's tokenizer has)."
            )
        weights = dict.fromkeys(self._tokens, 1.0)
        worst: tuple[float, str] = (float("inf"), "")
        for step in range(_ROUNDS):
            kept = self.rank(size, weights)
            growth = {language: cost.growth for language, cost in self.cost(kept).items()}
            worst = min(worst, max((value, language) for language, value in growth.items()))
            if worst[0] <= max_growth:
                return kept
            mean = sum(growth.values()) / len(growth)
            for language, value in growth.items():
                weights[language] *= min(max(value / mean, 0.5), 2.0) ** (1 / (2 + step / 4))
        raise UserError(
            f"prune.vocabulary: with {size} tokens {worst[1]!r} still grows by {worst[0]:.1%} (tokens per character), "
            f"allowed is {max_growth:.1%}; raise `tokens` or `max_growth`."
        )

    def rank(self, size: int, weights: Mapping[str, float]) -> list[int]:
        """Take tokens, each with all it is made of, by weighted share of the languages' tokens, up to a size."""
        score: Counter[int] = Counter()
        for language, tokens in self._tokens.items():
            scale = weights[language] / max(tokens.total(), 1)
            for token, count in tokens.items():
                score[token] += scale * count  # type: ignore[assignment]  # a Counter of floats adds like one of ints
        kept = set(self._base)
        rest = (token for token in self._all if token not in score)  # unused ones fill up, lowest id first
        for token in (*sorted(score, key=lambda token: (-score[token], token)), *rest):
            missing = close([token], self._parts, kept)
            if len(kept) + len(missing) <= size:
                kept |= missing
            if len(kept) == size:
                break
        return sorted(kept)

    def cost(self, kept: Sequence[int]) -> dict[str, LanguageCost]:
        """Say what keeping only these tokens costs each language."""
        kept_set, model = set(kept), bpe(shrink_tokenizer(self._tokenizer, kept))
        grown = {
            word: len(model.tokenize(word)) - len(spelled)
            for word, spelled in self._spelled.items()
            if not kept_set.issuperset(spelled)  # others are written as before
        }
        costs = {}
        for language, words in self._usage.words.items():
            before = self._tokens[language].total()
            more = sum(words[word] * extra for word, extra in grown.items() if word in words)
            costs[language] = LanguageCost(self._usage.characters[language], before, before + more)
        return costs

    def _count(self, words: Mapping[str, int]) -> Counter[int]:
        tokens: Counter[int] = Counter()
        for word, count in words.items():
            for token in self._spelled[word]:
                tokens[token] += count
        return tokens


def bpe(tokenizer: Json) -> models.BPE:
    """Build the BPE model of a tokenizer, without its pre-tokenizer: it spells one word at a time."""
    model = tokenizer["model"]
    options = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback")
    settings = {name: model[name] for name in (*options, "ignore_merges") if model.get(name) is not None}
    return models.BPE(vocab=model["vocab"], merges=merges_of(tokenizer), **settings)
