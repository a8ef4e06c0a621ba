"""Vectors as bytes of an answer: JSON numbers or base64, of float32, int8 or sign bits."""

import asyncio
import base64
from collections.abc import AsyncIterator

import numpy as np
import orjson

_ROWS_AT_ONCE = 64  # then the event loop gets a turn: a large answer must not hold up the small ones


def convert(vector_ND: np.ndarray, dtype: str) -> np.ndarray:
    """Turn float32 vectors into the asked type.

    Args:
        vector_ND: finished vectors.
        dtype: `float32`; `int8`, each vector scaled so that its largest coordinate is ±127 (cosines stay within about
            0.001); or `binary`, one bit a coordinate, 1 where it is positive, first coordinate in the highest bit.
    """
    if dtype == "int8":
        largest_N1 = np.maximum(np.abs(vector_ND).max(axis=1, keepdims=True), 1e-12)
        return np.rint(vector_ND * (127 / largest_N1)).astype(np.int8)
    if dtype == "binary":
        return np.packbits(vector_ND > 0, axis=1)
    return vector_ND.astype("<f4", copy=False)


async def embedding_list(vector_NV: np.ndarray, encoding: str, model: str, tokens: int) -> bytes:
    """Write OpenAI's answer to an embeddings request.

    Args:
        vector_NV: converted vectors.
        encoding: `float` or `base64`.
        model: name of the member that answered.
        tokens: tokens of all texts together.
    """
    parts = []
    async for index, value in _rows(vector_NV, encoding):
        parts.append(b'{"object":"embedding","index":%d,"embedding":%b}' % (index, value))
    usage = orjson.dumps({"prompt_tokens": tokens, "total_tokens": tokens})
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (b",".join(parts), orjson.dumps(model), usage)


def cohere_rows(vector_ND: np.ndarray, kind: str) -> list[object]:
    """Write vectors in one of Cohere's types.

    Args:
        vector_ND: finished vectors, float32.
        kind: `float`, `base64`; `int8` and `uint8` (each vector scaled to its largest coordinate, moved by 128);
            `binary` and `ubinary` (sign bits, eight to a byte, signed and not).
    """
    if kind == "base64":
        return [base64.b64encode(vector_D.astype("<f4").tobytes()).decode() for vector_D in vector_ND]
    if kind == "float":
        return list(vector_ND)
    value_NV = convert(vector_ND, "int8" if kind in ("int8", "uint8") else "binary")
    if kind == "uint8":
        value_NV = (value_NV.astype(np.int16) + 128).astype(np.uint8)
    if kind == "binary":
        value_NV = (value_NV.astype(np.int16) - 128).astype(np.int8)
    return list(value_NV)


async def matrix(vector_ND: np.ndarray) -> bytes:
    """Write a list of lists of numbers."""
    return b"[%b]" % b",".join([value async for _, value in _rows(vector_ND, "float")])


async def _rows(vector_NV: np.ndarray, encoding: str) -> AsyncIterator[tuple[int, bytes]]:
    for index, vector_V in enumerate(vector_NV):
        if index and index % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
        if encoding == "base64":
            yield index, b'"%b"' % base64.b64encode(vector_V.tobytes())
        else:
            yield index, orjson.dumps(vector_V, option=orjson.OPT_SERIALIZE_NUMPY)
