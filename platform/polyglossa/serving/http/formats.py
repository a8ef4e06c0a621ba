"""Vectors as bytes of an answer: JSON numbers or base64, of float32, int8 or sign bits.

To add a type of numbers or an encoding: a function, its name in `OUTPUT_DTYPES` or `ENCODINGS`, and the name in the
request (`schema.py`).
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping

import numpy as np
import orjson

_ROWS_AT_ONCE = 64  # then the event loop gets a turn: a large answer must not hold up the small ones


def as_float32(vector_ND: np.ndarray) -> np.ndarray:
    """Keep the values, little-endian."""
    return vector_ND.astype("<f4", copy=False)


def as_int8(vector_ND: np.ndarray) -> np.ndarray:
    """Scale each vector so that its largest coordinate is ±127; cosines stay within about 0.001."""
    largest_N1 = np.maximum(np.abs(vector_ND).max(axis=1, keepdims=True), 1e-12)
    return np.rint(vector_ND * (127 / largest_N1)).astype(np.int8)


def as_sign_bits(vector_ND: np.ndarray) -> np.ndarray:
    """Keep one bit a coordinate, 1 where it is positive, the first coordinate in the highest bit."""
    return np.packbits(vector_ND > 0, axis=1)


OUTPUT_DTYPES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "float32": as_float32,
    "int8": as_int8,
    "binary": as_sign_bits,
}
"""What finished float32 vectors become, by `output_dtype`."""


def as_numbers(vector_V: np.ndarray) -> bytes:
    """Write a list of numbers."""
    return orjson.dumps(vector_V, option=orjson.OPT_SERIALIZE_NUMPY)


def as_base64(vector_V: np.ndarray) -> bytes:
    """Write the bytes of a vector as a base64 string."""
    return b'"%b"' % base64.b64encode(vector_V.tobytes())


ENCODINGS: Mapping[str, Callable[[np.ndarray], bytes]] = {"float": as_numbers, "base64": as_base64}
"""What a vector is in JSON, by `encoding_format`."""


async def embedding_list(vector_NV: np.ndarray, encoding: str, model: str, tokens: int) -> bytes:
    """Write OpenAI's answer to an embeddings request.

    Args:
        vector_NV: vectors in the asked type.
        encoding: one of `ENCODINGS`.
        model: name of the member that answered.
        tokens: tokens of all texts together.
    """
    parts = []
    async for index, value in _rows(vector_NV, encoding):
        parts.append(b'{"object":"embedding","index":%d,"embedding":%b}' % (index, value))
    usage = orjson.dumps({"prompt_tokens": tokens, "total_tokens": tokens})
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (b",".join(parts), orjson.dumps(model), usage)


async def matrix(vector_ND: np.ndarray) -> bytes:
    """Write a list of lists of numbers."""
    return b"[%b]" % b",".join([value async for _, value in _rows(vector_ND, "float")])


async def _rows(vector_NV: np.ndarray, encoding: str) -> AsyncIterator[tuple[int, bytes]]:
    encode = ENCODINGS[encoding]
    for index, vector_V in enumerate(vector_NV):
        if index and index % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield index, encode(vector_V)
