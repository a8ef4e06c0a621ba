"""Vectors as bytes of an answer: JSON numbers or base64, of float32, int8 or sign bits.

To add an encoding: a function, its name in `ENCODINGS`, and the name in the request (`schema.py`); types of numbers are
`vectors.OUTPUT_DTYPES`.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping

import numpy as np
import orjson

from polyglossa.vectors import as_int8, as_sign_bits

_ROWS_AT_ONCE = 64  # then the event loop gets a turn: a large answer must not hold up the small ones


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
    value_NV = as_int8(vector_ND) if kind in ("int8", "uint8") else as_sign_bits(vector_ND)
    if kind == "uint8":
        value_NV = (value_NV.astype(np.int16) + 128).astype(np.uint8)
    if kind == "binary":
        value_NV = (value_NV.astype(np.int16) - 128).astype(np.int8)
    return list(value_NV)


async def matrix(vector_ND: np.ndarray) -> bytes:
    """Write a list of lists of numbers."""
    return b"[%b]" % b",".join([value async for _, value in _rows(vector_ND, "float")])


async def _rows(vector_NV: np.ndarray, encoding: str) -> AsyncIterator[tuple[int, bytes]]:
    encode = ENCODINGS[encoding]
    for index, vector_V in enumerate(vector_NV):
        if index and index % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield index, encode(vector_V)
