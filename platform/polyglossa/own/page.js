const own = JSON.parse($("own-data").textContent);
const LONG = 400;
const ACCURACY = "Accuracy: share of the trained classifiers that name the label. Beside it the place of the nearest text that has it.";

const score = (value, digits = 4) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const cut = (text) => (text.length > LONG ? `${text.slice(0, LONG)}…` : text);
const signed = (one) => one.difference === undefined ? one.reason || "–"
  : `${one.difference < 0 ? "−" : "+"}${Math.abs(one.difference).toFixed(4)}${one.low === null ? "" : ` (${score(one.low)} … ${score(one.high)})`}`;

function showGain() {
  const rows = [
    ...Object.entries(own.tasks).flatMap(([task, figures]) => Object.entries(figures.against || {}).map(([name, one]) =>
      [task, "held out", figures.metric, score(figures.own), name, score(one.mean), signed(one)])),
    ...Object.entries(own.elsewhere).map(([task, one]) => [task, "elsewhere", one.metric, score(one.own), own.start, score(one.mean), signed(one)])];
  $("gaintable").replaceChildren(table(["task", "part", "measure", own.member, "against", "its score", "difference (95 % interval)"], rows));
  $("proposal").textContent = own.proposal ? own.proposal.said : "";
}
function found(side, metric) {
  const rank = side.rank ? `, right answer at ${side.rank}` : "";
  return [make("div", {}, `${metric} ${score(side.score, 3)}${rank}`),
    ...side.found.slice(0, 1).map((text, place) => make("div", { class: side.is_right[place] ? "right" : "" }, cut(text)))];
}
function showExamples(kind) {
  const blocks = Object.entries(own.examples).filter(([, one]) => one[kind].length).map(([task, one]) => make("div", { class: "scroll" },
    make("h3", {}, task),
    ...(own.tasks[task].metric === "accuracy" ? [make("p", {}, ACCURACY)] : []),
    table(["query", "right", own.start, own.member], one[kind].map((row) => [row.query, row.right.map(cut).join("\n"), found(row.before, own.tasks[task].metric), found(row.after, own.tasks[task].metric)]), { texts: [0, 1, 2, 3] })));
  $(`${kind}rows`).replaceChildren(...blocks);
  $(kind).hidden = !blocks.length;
}
function showDoubts() {
  const { label, several_answers: several, repeated } = own.doubtful;
  $("labels").hidden = !label.length;
  $("several").hidden = !several.length;
  $("repeated").hidden = !repeated.length;
  $("labelrows").replaceChildren(table(["task", "part", "query", "answer", "ranks", "found first now"], label.map((row) =>
    [row.task, row.part, row.query, row.answers.map(cut).join("\n"), `${row.rank_before}, ${row.rank_after}`, cut(row.found_after)]), { texts: [2, 3, 5] }));
  $("severalrows").replaceChildren(table(["source", "query", "answers", "rows"], several.map((row) =>
    [row.task, row.query, row.answers.map(cut).join("\n\n"), `${row.times}`]), { texts: [1, 2] }));
  $("repeatedrows").replaceChildren(table(["source", "query", "answer", "rows"], repeated.map((row) =>
    [row.task, row.query, row.answers.map(cut).join("\n"), `${row.times}`]), { texts: [1, 2] }));
}
$("lead").textContent = `${own.member} beside ${own.start}, on what was held out of training.`;
showGain();
showExamples("gained");
showExamples("lost");
showDoubts();
$("contents").replaceChildren(...[...document.querySelectorAll("section:not([hidden])")].map((section) => make("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)));
document.body.dataset.ready = "yes";
