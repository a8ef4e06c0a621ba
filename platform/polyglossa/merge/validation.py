"""Validation retrieval: does a query find its positive among all positives of its source's validation rows?

The score is the mean over sources of nDCG@10. What the loss knows to be no negative (the same group, an equal text) is
another right answer, so it counts neither as a rival nor as a hit.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from polyglossa.data.bundles import BundleReader
from polyglossa.data.pack_index import read_pack_index
from polyglossa.errors import DataError
from polyglossa.merge.shares import mean_score, validation_sources
from polyglossa.model.encoder import Encoder, finish
from polyglossa.objectives.masks import known_positives
from polyglossa.objectives.ranking import ndcg_at_10


def validation_score(encoder: Encoder, pack_uri: str, queries: int) -> float:
    """Score a model on the validation rows of a pack.

    Args:
        encoder: the model.
        pack_uri: pack artifact whose tokenizer is the model's.
        queries: queries per source, at most; their positives are what is searched.

    Raises:
        DataError: the pack holds no validation row of a retrieval or bitext source, or is another tokenizer's.
    """
    sources = list(validation_sources(pack_uri))
    return mean_score([source_scores(encoder, pack_uri, sources, queries)], sources)


def source_scores(encoder: Encoder, pack_uri: str, sources: Sequence[str], queries: int) -> dict[str, float]:
    """Score a model on each of some sources.

    Raises:
        DataError: the pack is another tokenizer's.
    """
    index = read_pack_index(pack_uri)
    if index.tokenizer not in (None, encoder.tokenizer_fingerprint):
        raise DataError(f"{pack_uri}: was packed with another tokenizer than the model's. Pack with the model's own.")
    reader = BundleReader(pack_uri, part="validation", cache_bytes=0)
    return {source: _source_score(encoder, reader, source, queries) for source in sources}


def _source_score(encoder: Encoder, reader: BundleReader, source: str, limit: int) -> float:
    query_tokens, positive_tokens, groups = [], [], []
    for query, positive, group in _rows(reader, source):
        query_tokens.append(query)
        positive_tokens.append(positive)
        groups.append(group)
        if len(groups) == limit:
            break
    query_QD, positive_QD = (finish(encoder.states(tokens)) for tokens in (query_tokens, positive_tokens))
    numbers: dict[tuple[int, ...], int] = {}
    text_Q, answer_Q = (
        torch.tensor([numbers.setdefault(tuple(text), len(numbers)) for text in tokens])
        for tokens in (query_tokens, positive_tokens)
    )
    excluded_QQ = known_positives(text_Q, answer_Q, torch.tensor(groups))
    own = [[row] for row in range(len(groups))]
    return float(ndcg_at_10(query_QD, positive_QD, own, excluded_QP=excluded_QQ).mean())


def _rows(reader: BundleReader, source: str) -> Iterator[tuple[list[int], list[int], int]]:
    for number in range(reader.bundles(source)):
        bundle = reader.read(source, number)
        texts = np.split(bundle.tokens, bundle.token_offsets[1:-1])
        for query, positive, group in zip(bundle.query_Q, bundle.positive_Q, bundle.group_Q, strict=True):
            yield texts[query].tolist(), texts[positive].tolist(), int(group)
