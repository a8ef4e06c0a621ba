"""Plan and run a recipe from Python, and read what came out. Needs `pip install "polyglossa[all]"`.

python jobs/examples/run_recipe.py jobs/recipes/quickstart.yaml [--until corpus] [--set a.b.c=value …]
"""

import argparse

import polyglossa


def main(argv: list[str] | None = None) -> None:
    """Print the plan, make the artifacts, print where each lies and what it counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="recipe file (YAML)")
    parser.add_argument("--until", help="stop after this stage")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    options = parser.parse_args(argv)

    recipe = polyglossa.load_recipe(options.recipe, options.set)
    planned = polyglossa.plan(recipe)
    print(f"{recipe.name}: {len(planned.nodes)} artifacts, {planned.hours:.2f} h one after another")
    for name, made in polyglossa.run(recipe, until=options.until).items():
        print(f"{name}: {made.uri}  {made.counts}")


if __name__ == "__main__":
    main()
