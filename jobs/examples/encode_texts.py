"""Encode texts with a member of a family, or any model, and compare them. Needs `pip install polyglossa` alone.

python jobs/examples/encode_texts.py path/of/model "Where is the library?" "Die Bibliothek ist dort." [--prompt query]
"""

import argparse

import polyglossa


def main(argv: list[str] | None = None) -> None:
    """Print the cosine of the first text, as a query, to each of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model directory, or name on the hub")
    parser.add_argument("texts", nargs="+", help="a query, then documents")
    parser.add_argument("--prompt", help="one of the model's prompts, put before the query")
    parser.add_argument("--width", type=int, help="Matryoshka width; default: the full one")
    options = parser.parse_args(argv)

    encoder = polyglossa.Encoder.load(options.model)
    query_1S = encoder.encode(options.texts[:1], prompt=options.prompt, width=options.width)
    document_NS = encoder.encode(options.texts[1:], width=options.width)
    for text, cosine in zip(options.texts[1:], document_NS @ query_1S[0], strict=True):
        print(f"{cosine:6.3f}  {text}")


if __name__ == "__main__":
    main()
