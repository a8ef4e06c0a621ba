"""Open model directories in whatever sentence-transformers is installed, with nothing of ours.

    python jobs/bench/rivals/loading.py MODEL_DIRECTORY…

The last line is one JSON object: versions, prompts and default prompt of each, and the vectors of a query and a
document.
"""

import json
import sys

import sentence_transformers
import transformers


def main() -> None:
    """Open every directory and embed."""
    answer = {"versions": f"sentence-transformers {sentence_transformers.__version__}, transformers "}
    answer["versions"] += transformers.__version__
    prompts, vectors = [], []
    for path in sys.argv[1:]:
        model = sentence_transformers.SentenceTransformer(path, device="cpu")
        prompts.append([model.prompts, model.default_prompt_name])
        for name in ("query", "document"):
            prompt = model.prompts.get(name, "")
            vectors.append(model.encode("Where does the river begin?", prompt=prompt).tolist())
    print(json.dumps({**answer, "prompts": prompts, "vectors": vectors}))


if __name__ == "__main__":
    main()
