"""The one template of instructions: what stands before a query in training, evaluation and over HTTP. No torch here."""

from collections.abc import Mapping


def instruction_prompt(instruction: str) -> str:
    """Return what stands before a query, F2LLM's template; nothing for an empty instruction."""
    return f"Instruct: {instruction}\nQuery: " if instruction else ""


def pinned_prompts(prompts: Mapping[str, str]) -> tuple[str, str]:
    """Pick what a model directory puts before queries and before documents; empty where it pins nothing.

    Args:
        prompts: prefix by name; documents go by the first of the names that sentence-transformers looks for.
    """
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    return prompts.get("query", ""), document


def render(text: str, instruction: str | None) -> str:
    """Put a text behind its task's instruction; without one the text stays bare."""
    return instruction_prompt(instruction or "") + text
