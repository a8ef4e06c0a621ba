"""The one template of instructions: what stands before a query in training, evaluation and over HTTP. No torch here."""


def instruction_prompt(instruction: str) -> str:
    """Return what stands before a query, F2LLM's template; nothing for an empty instruction."""
    return f"Instruct: {instruction}\nQuery: " if instruction else ""


def render(text: str, instruction: str | None) -> str:
    """Put a text behind its task's instruction; without one the text stays bare."""
    return instruction_prompt(instruction or "") + text
