const search = JSON.parse($("search-data").textContent);
const paths = Object.keys(search.space);
const last = (trial) => trial.rungs.filter((rung) => !("failed" in rung)).at(-1);
const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : value);
const valueOf = (trial, path) => plain(path in trial.values ? trial.values[path] : search.own[path]);
const digits = (value, count = 4) => (value === undefined || value === null ? "–" : value.toFixed(count));
const said = (value) => (value === null || value === undefined ? "not set" : typeof value === "number" && !Number.isInteger(value) ? `${+value.toPrecision(3)}` : `${value}`);
const whole = (value) => (value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const shortPath = (path) => path.split(".").slice(-2).join(".");
const named = (trial) => (Object.keys(trial.values).length ? `trial ${trial.number}` : `trial ${trial.number}, the recipe as it is`);

/* One trial can be picked anywhere; every picture then shows it. */
const scored = search.trials.filter(last);
let picked = null;
function pick(number) {
  picked = picked === number ? null : number;
  show(picked);
}
function show(number) {
  for (const node of document.querySelectorAll("[data-trial]")) {
    const own = Number(node.dataset.trial) === number;
    node.classList.toggle("faint", number !== null && !own && node.tagName !== "TR");
    node.classList.toggle(node.tagName === "TR" ? "on" : "strong", own);
  }
  const trial = search.trials.find((one) => one.number === number);
  $("detail").textContent = trial ? describe(trial) : "Point at a line, a dot or a row to follow one trial; click to keep it.";
}
function describe(trial) {
  const end = last(trial);
  const score = end ? `${digits(end.score)} (${digits(end.low)}–${digits(end.high)}) after ${end.step} steps` : trial.reason;
  return `${named(trial)}, ${trial.state}: ${score}. ` + paths.map((path) => `${shortPath(path)} ${said(valueOf(trial, path))}`).join(", ");
}
function follows(trial, node) {
  node.setAttribute("data-trial", trial.number);
  node.addEventListener("pointerenter", () => picked === null && show(trial.number));
  node.addEventListener("pointerleave", () => picked === null && show(null));
  node.addEventListener("click", () => pick(trial.number));
  if (node.namespaceURI.endsWith("svg")) node.append(draw("title", {}, describe(trial)));
  return node;
}

/* Colour tells the score, from the worst to the best that was seen. */
const scores = scored.map((trial) => last(trial).score);
const [worst, finest] = [Math.min(...scores), Math.max(...scores)];
const share = (score) => (finest > worst ? (score - worst) / (finest - worst) : 1);
const colour = (score) => `color-mix(in oklab, var(--m1), var(--m0) ${Math.round(100 * share(score))}%)`;

function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw), list = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) list.push(+value.toPrecision(10));
  return list;
}
function span(values, pad = 0.08) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low || Math.abs(high) || 1) * pad;
  return [low - room, high + room];
}
const line = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/* An axis maps a value to a place between 0 and 1, and says which values to write beside it. */
function axis(path) {
  const dimension = search.space[path], kind = Object.keys(dimension)[0], given = dimension[kind];
  if (kind === "choice" || kind === "grid") {
    const list = given.map(plain);
    for (const trial of scored) if (!list.includes(valueOf(trial, path))) list.push(valueOf(trial, path));
    return { place: (value) => (list.length > 1 ? list.indexOf(value) / (list.length - 1) : 0.5), marks: list };
  }
  const values = [...given, ...scored.map((trial) => valueOf(trial, path)).filter((value) => typeof value === "number")];
  const log = kind === "loguniform", scale = log ? (value) => Math.log10(Math.max(value, 1e-300)) : (value) => value;
  const low = Math.min(...values), high = Math.max(...values);
  const place = (value) => (typeof value === "number" ? (scale(value) - scale(low)) / (scale(high) - scale(low) || 1) : 0.5);
  const inner = log ? ticks(scale(low), scale(high), 3).map((power) => 10 ** power) : ticks(low, high, 4);
  return { place, marks: inner.filter((value) => value >= low && value <= high) };
}

function parallel() {
  const columns = [...paths.map((path) => ({ title: shortPath(path), ...axis(path), of: (trial) => valueOf(trial, path) })),
    { title: "score", place: share, marks: ticks(worst, finest, 4).filter((value) => value >= worst && value <= finest), of: (trial) => last(trial).score }];
  const width = Math.max(150 * columns.length, $("parallel").clientWidth || 900), height = 350, top_ = 52, bottom = 20;
  // Room for the first axis's own labels, and for half of the names that stand over the first and the last axis.
  const left = Math.max(70, ...columns[0].marks.map((mark) => 12 + 7 * said(mark).length)), right = 60;
  const x = (index) => left + (index * (width - left - right)) / (columns.length - 1);
  const y = (column, value) => height - bottom - column.place(value) * (height - top_ - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", style: `min-width:${width}px`, "aria-label": "Trials as lines over their values" });
  columns.forEach((column, index) => {
    svg.append(draw("line", { class: "axis", x1: x(index), x2: x(index), y1: top_, y2: height - bottom }),
      draw("text", { class: "name", x: x(index), y: 18 + (index % 2) * 12, "text-anchor": "middle" }, column.title));
  });
  for (const trial of [...scored].sort((a, b) => last(a).score - last(b).score)) {
    const points = columns.map((column, index) => [x(index), y(column, column.of(trial))]);
    const classes = `trial ${trial.state}${trial.number === search.best ? " best" : ""}`;
    svg.append(follows(trial, draw("path", { class: classes, d: line(points), style: `stroke:${colour(last(trial).score)}` })));
  }
  columns.forEach((column, index) => { // over the lines, which would strike them through
    for (const mark of column.marks)
      svg.append(draw("text", { class: "mark", x: x(index) - 6, y: y(column, mark) + 4, "text-anchor": "end" }, said(mark)));
  });
  $("parallel").replaceChildren(svg);
  $("ramp").replaceChildren(make("span", {}, digits(worst, 3)),
    ...[0, 0.25, 0.5, 0.75, 1].map((part) => make("i", { style: `background:${colour(worst + part * (finest - worst))}` })),
    make("span", {}, `${digits(finest, 3)} · dashed: stopped early`));
}

function importance() {
  const entries = Object.entries(search.importance).sort(([, a], [, b]) => b - a);
  $("importancecaption").textContent = entries.length
    ? "Share of the scores' variance that each parameter accounts for (fANOVA)" : "Too few trials reached a common step to tell what matters.";
  $("importance").replaceChildren(...entries.map(([path, part]) => make("div", { class: "share" },
    make("code", { title: path }, shortPath(path)), make("i", { style: `width:${Math.max(0.5, 100 * part)}%` }), make("span", {}, `${Math.round(100 * part)} %`))));
}

function frame(id, xs, ys, { xText, xMarks, xTitle, height = 320 }) {
  const width = Math.max(300, Math.min(id === "curves" ? 1060 : 560, $(id).clientWidth || 520)), [left, right, head, foot] = [52, 16, 12, 34];
  const px = (value) => left + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (width - left - right);
  const py = (value) => height - foot - ((value - ys[0]) / (ys[1] - ys[0] || 1)) * (height - head - foot);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const value of ticks(...ys)) if (value >= ys[0] && value <= ys[1])
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: py(value), y2: py(value) }),
      draw("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, `${+value.toFixed(4)}`));
  for (const value of xMarks)
    svg.append(draw("text", { x: px(value), y: height - foot + 18, "text-anchor": "middle" }, xText(value)));
  svg.append(draw("text", { x: width - right, y: height - 2, "text-anchor": "end" }, xTitle));
  $(id).replaceChildren(svg);
  return { svg, px, py };
}

function pareto() {
  const sized = scored.filter((trial) => last(trial).parameters);
  if (!sized.length) return;
  const sizes = sized.map((trial) => last(trial).parameters);
  const { svg, px, py } = frame("pareto", span(sizes), span(sized.map((trial) => last(trial).score)),
    { xText: (value) => (value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M` : `${+(value / 1e3).toPrecision(3)}k`), xMarks: ticks(...span(sizes), 4), xTitle: "parameters" });
  const front = search.front.map((number) => sized.find((trial) => trial.number === number)).filter(Boolean);
  svg.append(draw("path", { class: "front", d: line(front.map((trial) => [px(last(trial).parameters), py(last(trial).score)])) }));
  for (const trial of sized) svg.append(follows(trial, draw("circle", { class: "point", r: search.front.includes(trial.number) ? 7 : 5,
    cx: px(last(trial).parameters), cy: py(last(trial).score), style: `fill:${colour(last(trial).score)}` })));
}

function curves() {
  const rungs = scored.flatMap((trial) => trial.rungs.filter((rung) => !("failed" in rung)));
  const steps = [...new Set(rungs.map((rung) => rung.step))].sort((a, b) => a - b);
  const { svg, px, py } = frame("curves", [0, steps.at(-1)], span(rungs.flatMap((rung) => [rung.low, rung.high]), 0.03),
    { xText: String, xMarks: steps, xTitle: "steps" });
  for (const trial of scored) {
    const own = trial.rungs.filter((rung) => !("failed" in rung)), style = colour(last(trial).score);
    if (trial.number === search.best)
      svg.prepend(draw("path", { class: "band", style: `fill:${style}`, d: `${line([...own.map((rung) => [px(rung.step), py(rung.high)]),
        ...[...own].reverse().map((rung) => [px(rung.step), py(rung.low)])])}Z` }));
    svg.append(follows(trial, draw("path", { class: `trial ${trial.state}`, style: `stroke:${style}`, d: line(own.map((rung) => [px(rung.step), py(rung.score)])) })));
    svg.append(follows(trial, draw("circle", { class: "point", r: 4, cx: px(own.at(-1).step), cy: py(own.at(-1).score), style: `fill:${style}` })));
  }
}

function trials() {
  const order = [...search.trials].sort((a, b) => (b.state === "finished") - (a.state === "finished") || (last(b)?.score ?? -1) - (last(a)?.score ?? -1));
  const head = ["trial", "state", "score", "95 %", "unseen", "steps", "parameters", ...paths.map(shortPath)];
  const body = order.map((trial) => {
    const end = last(trial), mark = trial.number === search.best ? " ★" : "";
    const cells = [`${trial.number}${mark}`, trial.state === "failed" ? `failed: ${trial.reason}` : trial.state, digits(end?.score),
      end ? `${digits(end.low, 3)}–${digits(end.high, 3)}` : "–", digits(end?.unseen), end?.step ?? "–", whole(end?.parameters), ...paths.map((path) => said(valueOf(trial, path)))];
    return follows(trial, make("tr", { class: trial.number === search.best ? "best" : "" }, cells.map((cell) => make("td", {}, String(cell)))));
  });
  $("trials").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, head.map((title) => make("th", { scope: "col" }, title)))), make("tbody", {}, body)));
}

function outcome() {
  const { figures, comparison } = search, best = search.trials.find((trial) => trial.number === search.best);
  $("title").textContent = `Search: ${search.member} of ${search.recipe}`;
  $("lead").textContent = `${figures.trials} trials proposed by ${search.searcher}, scheduler ${search.scheduler}; judged by held-out retrieval.`;
  const tile = (value, text) => make("div", { class: "tile" }, make("b", {}, value), make("span", {}, text));
  $("tiles").replaceChildren(tile(digits(last(best).score), `best score, trial ${best.number}`), tile(`${digits(last(best).low, 3)}–${digits(last(best).high, 3)}`, "its 95 % interval"),
    tile(figures.finished, "finished"), tile(figures.stopped, "stopped early"), tile(figures.failed, "failed"));
  if (!comparison) return;
  if (comparison.failed) { $("comparison").textContent = `No comparison: ${comparison.failed}`; return; }
  const rows = comparison.seeds.map((seed, index) => [seed, comparison.recipe[index], comparison.best[index], comparison.best[index] - comparison.recipe[index]]);
  $("comparison").replaceChildren(make("p", { class: "lead" },
    `Trained anew with other seeds, on ${comparison.part} queries: ${comparison.difference >= 0 ? "+" : ""}${digits(comparison.difference)} (95 % of resamples: ${digits(comparison.low)} to ${digits(comparison.high)})`),
  make("table", {}, make("thead", {}, make("tr", {}, ["seed", "recipe as it is", "best", "difference"].map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map((value, index) => make("td", {}, index ? digits(value) : String(value))))))));
}

function all() { outcome(); parallel(); importance(); pareto(); curves(); trials(); show(picked); }
addEventListener("resize", all);
all();
document.body.dataset.ready = "yes";
