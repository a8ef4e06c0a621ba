"""A member as a model hub wants it: the folder, a card with licence, data and results, and the upload.

Nothing leaves the machine unless it is asked for: without `upload`, what would be sent is listed and stays in the
folder.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polyglossa.errors import PolyglossaError, UserError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_SOURCE = {"name": "MTEB", "url": "https://github.com/embeddings-benchmark/mteb/"}


@dataclass(frozen=True)
class HubCard:
    """What a card says besides what the member's own says."""

    name: str
    """ORGANISATION/MODEL."""
    licence: str
    """As hubs write it: `apache-2.0`, `mit`, `cc-by-nc-4.0`, `other` …"""
    languages: Sequence[str] = ()
    results: Sequence[Mapping[str, Any]] = ()
    """mteb's task results, as its files hold them, each with `task_type`, `dataset` and `metric` beside them."""


def check_card(name: str, licence: str) -> None:
    """Refuse a name or licence that a hub would refuse.

    Raises:
        UserError: one line that says what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name}: write ORGANISATION/MODEL, in letters, digits, dots, dashes and underscores.")
    if not _LICENCE.fullmatch(licence):
        raise UserError(f"--licence {licence}: write it as hubs do: apache-2.0, mit, cc-by-4.0, other.")


def write_card(folder: Path, card: HubCard) -> None:
    """Write the folder's `README.md`: its own text, and a head that the hub reads.

    Args:
        folder: a model directory; its card, if it has one, stays and gets the head.
        card: what the head says.
    """
    file = folder / "README.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else f"# {card.name}\n"
    found = _HEAD.match(text)
    head: dict[str, Any] = dict(yaml.safe_load(found[1]) or {}) if found else {}
    body = text[found.end() :] if found else text
    head |= {"license": card.licence, "pipeline_tag": head.get("pipeline_tag", "feature-extraction")}
    head["library_name"] = head.get("library_name", "sentence-transformers")
    head["tags"] = list(dict.fromkeys([*head.get("tags", ()), "sentence-transformers", "mteb"]))
    if card.languages:
        head["language"] = list(card.languages)
    if card.results:
        head["model-index"] = [{"name": card.name.rpartition("/")[2], "results": model_index(card.results)}]
    shown = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    file.write_text(f"---\n{shown}---\n{body}", encoding="utf-8")


def model_index(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write results in the form of a card's `model-index`, as MTEB writes them: a row a split and subset."""
    return [
        {
            "task": {"type": one["task_type"]},
            "dataset": {
                "type": one["dataset"],
                "name": f"MTEB {one['task_name']} ({row['hf_subset']})",
                "config": row["hf_subset"],
                "split": split,
                "revision": one["dataset_revision"],
            },
            "metrics": [{"type": one["metric"], "value": round(100 * float(row["main_score"]), 4)}],
            "source": dict(_SOURCE),
        }
        for one in results
        for split, rows in sorted(one["scores"].items())
        for row in rows
    ]


def upload(folder: Path, name: str, *, token_variable: str, private: bool) -> str:
    """Send a folder to the hub.

    Args:
        folder: what is sent.
        name: ORGANISATION/MODEL; made where it is not there.
        token_variable: environment variable that holds the token.
        private: whether a new repository is hidden.

    Returns:
        The commit's address.

    Raises:
        UserError: no token, or one that may not write there.
        PolyglossaError: the hub could not be reached or failed.
    """
    token = os.environ.get(token_variable, "").strip()
    if not token:
        raise UserError(f"--upload: the variable {token_variable} holds no token; set it, or name another.")
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload of a polyglossa member"))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise UserError(
                f"{name}: the hub refuses the token in {token_variable} ({status}); it needs the right to write there."
            ) from None
        raise PolyglossaError(f"{name}: the hub answered {status}. Nothing more was sent; try again.") from None
    except (OSError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PolyglossaError(f"{name}: the hub could not be reached ({reason}).") from None


def listing(folder: Path) -> list[tuple[str, int]]:
    """Files of a folder with their sizes, as they would be sent."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return [(str(file.relative_to(folder)), file.stat().st_size) for file in files]
