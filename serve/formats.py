"""Vectors as bytes of an answer: JSON numbers or base64."""

import asyncio
import base64

import numpy as np
import orjson

_ROWS_AT_ONCE = 64  # then the event loop gets a turn: a large answer must not hold up the small ones


async def embedding_list(vector_ND: np.ndarray, encoding: str, model: str, tokens: int) -> bytes:
    """Write OpenAI's answer to an embeddings request.

    Args:
        vector_ND: finished vectors, float32.
        encoding: `float` or `base64`.
        model: name of the member that answered.
        tokens: tokens of all texts together.
    """
    encode = _base64 if encoding == "base64" else _numbers
    parts = []
    for index, vector_D in enumerate(vector_ND):
        if index and index % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
        parts.append(b'{"object":"embedding","index":%d,"embedding":%b}' % (index, encode(vector_D)))
    usage = orjson.dumps({"prompt_tokens": tokens, "total_tokens": tokens})
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (b",".join(parts), orjson.dumps(model), usage)


def _numbers(vector_D: np.ndarray) -> bytes:
    return orjson.dumps(vector_D, option=orjson.OPT_SERIALIZE_NUMPY)


def _base64(vector_D: np.ndarray) -> bytes:
    return b'"%b"' % base64.b64encode(vector_D.astype("<f4").tobytes())
