"""The timeline of a run: overlapping nodes are counted, drawn, and put into the page without breaking its links."""

import json
import re
from pathlib import Path

from polyglossa.artifact import ArtifactKey, Draft, produce
from polyglossa.pipeline.concurrent.timeline import Stay, drawing, most_at_once, plain
from polyglossa.pipeline.run import _page, _record
from polyglossa.runtime.memory import Peak


def stay(name: str, started: float, ended: float, **more: object) -> Stay:
    return Stay(name, "train", "train", 2, ready=0.0, started=started, ended=ended, outcome="made", **more)  # type: ignore[arg-type]


STAYS = [
    stay("a", 0, 10),
    stay("b", 5, 15, host="one", waited_for="room"),
    stay("c", 10, 20),
    stay("d", 12, 14, together_with=["e"]),
    stay("e", 12, 14, together_with=["d"]),
    Stay("f", "report", "driver", 1),
]


def test_nodes_that_ran_at_the_same_time_are_counted_and_a_shared_worker_group_counts_once() -> None:
    assert most_at_once(STAYS) == 3
    assert most_at_once([]) == 0
    assert most_at_once([stay("a", 0, 10), stay("b", 10, 20)]) == 1


def test_the_timeline_is_data_in_the_order_of_starts_and_a_section_that_stands_alone() -> None:
    assert [entry["name"] for entry in plain(STAYS)] == ["a", "b", "c", "d", "e", "f"]
    assert plain(STAYS)[-1]["outcome"] == "waiting"
    page = drawing([*STAYS, stay("</script><b>", 1, 2)])
    data = json.loads(re.findall(r'id="timeline-data">(.*?)</script>', page)[0])
    assert len(data) == 7
    assert "<b>" not in page
    assert "waited for room" in page


def test_the_page_beside_the_run_holds_the_timeline_and_reaches_the_artifacts_own_links(tmp_path: Path) -> None:
    def write(draft: Draft) -> None:
        Path(draft.at("report.html")).write_text(f'<main>all <a href="#all"></a><a href="../../{card}"></a></main>')

    corpus = produce(
        str(tmp_path), ArtifactKey("corpus", "corpus", 1, {}), lambda draft: draft.write_json({}, "report", "card.html")
    )
    card = Path(corpus.at("report", "card.html")).relative_to(tmp_path / "artifacts")
    report = produce(str(tmp_path), ArtifactKey("report", "report", 1, {}), write)
    page = Path(_page(str(tmp_path), report, STAYS)).read_text()
    place, link = re.findall(r'href="(.*?)"', page)[:2]
    assert place == "#all"  # a place on the page stays one
    assert (tmp_path / link).is_file()
    assert page.index("all") < page.index('id="timeline"') < page.index("</main>")
    unchanged = [Stay("a", "train", "train", 2, outcome="unchanged")]
    assert Path(_page(str(tmp_path), report, unchanged)).read_text() == page


def test_the_ledger_keeps_every_invocation_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        _record(str(tmp_path), float(number), Peak(gib=1.5), ["a"], STAYS)
    entries = json.loads((tmp_path / "invocations.json").read_text())
    assert [entry["wall_seconds"] for entry in entries] == [1.0, 2.0]
    assert entries[0]["most_nodes_at_once"] == 3
    kept = {f"timelines/{path.name}" for path in (tmp_path / "timelines").iterdir()}
    assert {entry["timeline"] for entry in entries} == kept
    assert not list(tmp_path.glob("*.part"))
