"""Find the finished artifacts of a recipe, and the models that it serves. Nothing is made here."""

from polyglossa import artifact
from polyglossa.artifact import Artifact
from polyglossa.errors import ArtifactError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import key_of
from polyglossa.recipe import Recipe
from polyglossa.storage import absolute


def find_artifacts(recipe: Recipe) -> dict[str, Artifact]:
    """Find the artifacts of a recipe that were made; a node whose inputs are not there is left out."""
    artifacts: dict[str, Artifact] = {}
    for node in build(recipe).nodes.values():
        if all(name in artifacts for name in node.inputs.values()):
            inputs = {role: artifacts[name] for role, name in node.inputs.items()}
            found = artifact.find(absolute(recipe.root), key_of(node, inputs))
            if found is not None:
                artifacts[node.name] = found
    return artifacts


def served_models(recipe: Recipe) -> dict[str, str]:
    """Model directory of each member that the recipe serves, in the recipe's order.

    Raises:
        ArtifactError: a member is not trained yet.
    """
    there = find_artifacts(recipe)
    roles = build(recipe).nodes["serve"].inputs
    models = {role.removeprefix("model:"): node for role, node in roles.items() if role.startswith("model:")}
    missing = [member for member, node in models.items() if node not in there]
    if missing:
        raise ArtifactError(f"{recipe.name}: {', '.join(missing)} not trained yet; run `polyglossa run RECIPE` first.")
    return {member: there[node].at("model") for member, node in models.items()}
