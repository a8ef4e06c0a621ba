"""The shipped configurations are what Ray Serve and the application accept, and bad arguments are one line."""

from pathlib import Path

import pytest
import yaml

from polyglossa.errors import UserError
from polyglossa.serving.settings import read_settings

CONFIGS = Path(__file__).resolve().parents[2] / "serve" / "config"


@pytest.mark.parametrize("name", ["local.yaml", "production.yaml"])
def test_shipped_configuration_is_valid(name: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    text = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    deployed = ServeDeploySchema.model_validate(text)
    settings = read_settings(deployed.applications[0].args)
    assert deployed.applications[0].import_path == "serve.app:build"
    assert (deployed.http_options.host == "127.0.0.1") == (name == "local.yaml")
    assert settings.keys_file or name == "local.yaml"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"members": []}, "members"),
        ({"members": [{"name": "a", "path": "p"}], "alias": {}}, "did you mean 'aliases'"),
        ({"members": [{"name": "a", "path": "p"}], "aliases": {"best": "b"}}, "'b' is not one of a"),
        ({"members": [{"name": "a", "path": "p", "replicas": {"min": 3, "max": 2}}]}, "min = 3 is above max = 2"),
        ({"members": [{"name": "a", "path": "p"}], "ingress": {"min": 0}}, "ingress.min"),
        ({"members": [{"name": "a", "path": "p", "dtype": "float16"}]}, "dtype"),
    ],
)
def test_bad_argument_is_named_in_one_line(args: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        read_settings(args)
    assert "\n" not in str(refused.value)
