"""What the endpoint is compared with: plain FastAPI over `SentenceTransformer.encode`, as a tutorial would write it.

python jobs/bench/rivals/endpoint.py MODEL_DIRECTORY PORT DTYPE
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Body(BaseModel):
    """A request of OpenAI's embeddings API."""

    model: str
    input: str | list[str]
    encoding_format: str = "float"


def make_app(path: str, dtype: str) -> FastAPI:
    """Build the application over a model directory."""
    model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embeddings(body: Body) -> dict[str, object]:
        texts = [body.input] if isinstance(body.input, str) else body.input
        vectors = model.encode(texts, show_progress_bar=False)
        data = [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
        return {"object": "list", "data": data, "model": body.model}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1], sys.argv[3]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
