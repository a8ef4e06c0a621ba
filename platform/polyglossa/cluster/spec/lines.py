"""Find the line of a YAML file that an error speaks of."""

import re
from pathlib import Path

import yaml


def with_line(message: str, path: Path) -> str:
    """Put the line's number behind the file's name in `FILE: a.b.c: what is wrong`."""
    found = re.match(rf"{re.escape(str(path))}: ([^\s:]+):", message)
    if found is None:
        return message
    line = line_of(path.read_text(encoding="utf-8"), found[1].split("."))
    return f"{path}:{line}{message.removeprefix(str(path))}"


def line_of(text: str, keys: list[str]) -> int:
    """Return the line (from 1) of a key; of the deepest one above it that is there where the key itself is absent."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    while node is not None and keys:
        found = _below(node, keys)
        if found is None:
            break
        mark, node, keys = found
        line = mark.line + 1
    return line


def _below(node: yaml.Node, keys: list[str]) -> tuple[yaml.Mark, yaml.Node, list[str]] | None:
    """Step to a child: where its key stands, the child, and what is left of the path."""
    if isinstance(node, yaml.SequenceNode) and keys[0].isdigit() and int(keys[0]) < len(node.value):
        child = node.value[int(keys[0])]
        return child.start_mark, child, keys[1:]
    if isinstance(node, yaml.MappingNode):
        for taken in range(len(keys), 0, -1):  # a key may hold dots, as `vpc.amazonaws.com/efa` does
            for key, child in node.value:
                if key.value == ".".join(keys[:taken]):
                    return key.start_mark, child, keys[taken:]
    return None
