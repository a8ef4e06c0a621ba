"""What a recipe's named and new backbones are, in a line each: `polyglossa recipe check`'s answer."""

from pathlib import Path

from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.backbone import BackboneConfig


def describe_backbones(recipe: Recipe) -> list[str]:
    """Describe every backbone of a recipe that can be looked at without fetching anything.

    Raises:
        DataError: a directory holds no model, or something of it is not known.
    """
    found = [(f"{one.name}: backbone", one.backbone) for one in recipe.members if one.backbone is not None]
    lines = [f"{label} {_describe(backbone)}" for label, backbone in found]
    outside = recipe.mine.model if recipe.mine is not None else None
    if isinstance(outside, str) and Path(outside).is_dir():
        lines.append(f"mine: {_describe(BackboneConfig(model=outside))}")
    return lines


def _describe(config: BackboneConfig) -> str:
    if config.model is None:
        attention = config.attention or "causal"
        pooling = config.pooling or ("last" if attention == "causal" else "mean")
        assert config.shape is not None
        return f"qwen3, {attention}, pooling {pooling}, width {config.shape.hidden}{_longest(config)}"
    if not Path(config.model).is_dir():
        return f"{config.model}: a name on the hub, described when it is fetched"
    from polyglossa.model.directory import describe_directory  # torch and transformers, for those alone who need them

    description, _ = describe_directory(
        config.model, pooling=config.pooling, attention=config.attention, packed=config.packed
    )
    said = description.answer()
    notes = [
        f"windows of {' and '.join(map(str, said['windows']))} tokens" if said["windows"] else "",
        f"scores capped at {said['soft_cap']:g}" if said["soft_cap"] else "",
        f"dense {', '.join(said['dense'])}" if said["dense"] else "",
        f"prompts {', '.join(said['prompts'])}" if said["prompts"] else "no prompts",
        "" if said["packed"] else "padded",
    ]
    first = f"{said['family']}, {said['attention']}, pooling {said['pooling']}, width {said['width']}"
    return (
        f"{config.model}: {', '.join(part for part in [first, *notes] if part)}, texts up to {config.max_tokens} tokens"
    )


def _longest(config: BackboneConfig) -> str:
    return f", texts up to {config.max_tokens} tokens"
