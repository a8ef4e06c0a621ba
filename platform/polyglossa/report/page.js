const family = JSON.parse($("family-data").textContent);
const colour = (index) => `var(--m${index % 8})`;
const score = (value, digits = 3) => (value === undefined || value === null ? "–" : value.toFixed(digits));
const whole = (value) => Math.round(value).toLocaleString("en");
const short = (value) =>
  value >= 1e9 ? `${+(value / 1e9).toPrecision(3)}B` : value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M`
  : value >= 1e3 ? `${+(value / 1e3).toPrecision(3)}k` : `${+value.toPrecision(3)}`;

/* Every model that was judged: members, and beside them the untrained and the undistilled ones. */
const models = family.members.flatMap((member, index) => [
  { ...member, colour: colour(index), kind: "member" },
  ...(member.untrained ? [{ ...member.untrained, name: `${member.name}, untrained`, colour: colour(index), kind: "untrained" }] : []),
  ...(member.without ? [{ ...member.without, name: `${member.name}, not distilled`, colour: colour(index), kind: "without" }] : []),
]);
const members = models.filter((model) => model.kind === "member");
const taskNames = [...new Set(members.flatMap((member) => Object.keys(member.tasks)))];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/* Charts */
function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const first = Math.ceil(low / step) * step, list = [];
  for (let value = first; value <= high + step * 1e-6; value += step) list.push(+value.toPrecision(10));
  return list;
}
function axes({ width, height, left = 46, right = 16, top = 12, bottom = 34, x, y, xTicks, xText, yTicks, yText, xTitle }) {
  const px = (value) => left + ((value - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const py = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const value of yTicks)
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: py(value), y2: py(value) }),
      draw("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, yText(value)));
  for (const value of xTicks)
    svg.append(draw("text", { x: px(value), y: height - bottom + 18, "text-anchor": "middle" }, xText(value)));
  if (xTitle) svg.append(draw("text", { x: width - right, y: height - 2, "text-anchor": "end" }, xTitle));
  return { svg, px, py };
}
const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
function span(values, pad = 0.08) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low || Math.abs(high) || 1) * pad;
  return [low - room, high + room];
}

/* Charts are drawn as wide as their place: a scaled-down drawing would have unreadable text on a phone. */
const room = (id) => Math.max(300, Math.min(560, $(id).clientWidth || 520));
/* What a score is held against: each model is a point, or, by width, each of its widths. */
const COSTS = {
  parameters: { title: "parameters", text: short, points: (model, task) => (model.parameters ? [[model.parameters, model.tasks[task].mean, ""]] : []) },
  milliseconds: { title: "milliseconds for one text", text: (value) => `${+value.toPrecision(2)}`,
    points: (model, task) => (model.milliseconds ? [[model.milliseconds, model.tasks[task].mean, ""]] : []) },
  bytes: { title: "bytes of a vector (float32)", text: short,
    points: (model, task) => Object.entries(model.tasks[task].widths || {}).map(([width, value]) => [4 * width, value, ` at ${width}`]) },
};
const widest = (model) => model.dim * 4;
function sizeChart(task, cost) {
  const { title, text, points } = COSTS[cost];
  const shown = models.filter((model) => model.tasks[task]).flatMap((model) =>
    points(model, task).map(([value, mean, mark]) => ({ model, value, mean, mark, full: !mark || value === widest(model) })));
  if (!shown.length) return make("p", { class: "lead" }, `No ${title} were measured for this task.`);
  const interval = (point) => (point.full && point.model.tasks[task].interval) || [];
  const scores = shown.flatMap((point) => [point.mean, ...interval(point)]), sizes = shown.map((point) => Math.log10(point.value));
  const x = span(sizes, 0.18), y = span([...scores, Math.max(0, Math.min(...scores))]);
  const xTicks = cost === "parameters" ? [...new Set(members.map((model) => Math.log10(model.parameters)))] : [...new Set(sizes)].sort((a, b) => a - b)
    .filter((value, index, all) => index === 0 || index === all.length - 1 || value - all[index - 1] > (x[1] - x[0]) / 9);
  const { svg, px, py } = axes({ width: room("size"), height: 320, x, y: [Math.max(0, y[0]), y[1]], yTicks: ticks(Math.max(0, y[0]), y[1]),
    yText: String, xTicks, xText: (value) => text(10 ** value), xTitle: title });
  const front = shown.filter((point) => point.model.kind === "member").filter((point, _, all) =>
    !all.some((other) => other !== point && other.value <= point.value && other.mean >= point.mean && (other.value < point.value || other.mean > point.mean)))
    .sort((a, b) => a.value - b.value);
  if (front.length > 1)
    svg.append(draw("path", { class: "front", d: path(front.map((point) => [px(Math.log10(point.value)), py(point.mean)])),
      fill: "none", stroke: "var(--soft)", "stroke-dasharray": "4 4" }));
  const labels = [];
  for (const point of shown) {
    const { model, value, mean, mark, full } = point, [cx, cy] = [px(Math.log10(value)), py(mean)], around = interval(point);
    if (around.length) svg.append(draw("line", { class: "interval", x1: cx, x2: cx, y1: py(around[0]), y2: py(around[1]), stroke: model.colour, "stroke-width": 2, "stroke-opacity": 0.5 }));
    const solid = model.kind === "member";
    svg.append(hint(draw("circle", { cx, cy, r: full ? (solid ? 7 : 6) : 4, fill: solid ? model.colour : "var(--panel)", stroke: model.colour, "stroke-width": 2 }),
      `${model.name}${mark}\n${score(mean, 4)}, ${text(value)} ${title}${cost === "parameters" || !model.parameters ? "" : `, ${short(model.parameters)} parameters`}`));
    if (!full) continue;
    const side = cx > room("size") * 0.6 ? -1 : 1;
    let below = cy + 4;
    while (labels.some(([x, y]) => Math.abs(x - cx) < 90 && Math.abs(y - below) < 13)) below += 13;
    labels.push([cx, below]);
    svg.append(draw("text", { x: cx + side * 12, y: below, "text-anchor": side > 0 ? "start" : "end", class: solid ? "name" : "" }, model.name));
  }
  svg.setAttribute("aria-label", `Score on ${task} by ${title}`);
  return svg;
}
function widthChart(task) {
  const shown = members.filter((model) => model.tasks[task] && Object.keys(model.tasks[task].widths || {}).length);
  if (!shown.length) return make("p", { class: "lead" }, "No narrower width was judged on this task.");
  const points = shown.map((model) => Object.entries(model.tasks[task].widths).map(([width, value]) => [+width, value]).sort((a, b) => a[0] - b[0]));
  const all = points.flat(), widths = [...new Set(all.map(([width]) => width))].sort((a, b) => a - b);
  const x = widths.length > 1 ? [Math.log2(widths[0]), Math.log2(widths.at(-1))] : [Math.log2(widths[0]) - 1, Math.log2(widths[0]) + 1];
  const y = [0, Math.max(...all.map(([, value]) => value)) * 1.08];
  const { svg, px, py } = axes({ width: room("widths"), height: 320, x, y, yTicks: ticks(...y), yText: String,
    xTicks: widths.map(Math.log2), xText: (value) => `${Math.round(2 ** value)}`, xTitle: "width" });
  points.forEach((line, index) => {
    svg.append(draw("path", { d: path(line.map(([width, value]) => [px(Math.log2(width)), py(value)])), fill: "none", stroke: shown[index].colour, "stroke-width": 2.5 }));
    for (const [width, value] of line)
      svg.append(hint(draw("circle", { cx: px(Math.log2(width)), cy: py(value), r: 5, fill: shown[index].colour }),
        `${shown[index].name} at ${width}\n${score(value, 4)}, ${((100 * value) / line.at(-1)[1]).toFixed(1)} % of full width`));
  });
  svg.setAttribute("aria-label", `Score on ${task} by vector width`);
  return svg;
}
function radar() {
  const kinds = [...new Set(members.flatMap((member) => Object.values(member.tasks).map((task) => task.type)).filter(Boolean))].sort();
  if (kinds.length < 3) return null;
  const size = 340, middle = size / 2, radius = 118;
  const at = (index, value) => {
    const angle = (2 * Math.PI * index) / kinds.length - Math.PI / 2;
    return [middle + Math.cos(angle) * radius * value, middle + Math.sin(angle) * radius * value];
  };
  const svg = draw("svg", { viewBox: `-60 0 ${size + 120} ${size}`, role: "img", "aria-label": "Mean score by kind of task" });
  for (const ring of [0.25, 0.5, 0.75, 1])
    svg.append(draw("path", { d: `${path(kinds.map((_, index) => at(index, ring)))}Z`, fill: "none", class: "axis" }));
  kinds.forEach((kind, index) => {
    const [x, y] = at(index, 1.13);
    svg.append(draw("text", { x, y: y + 4, "text-anchor": Math.abs(x - middle) < 8 ? "middle" : x > middle ? "start" : "end" }, kind));
  });
  for (const member of members) {
    const values = kinds.map((kind) => {
      const found = Object.values(member.tasks).filter((task) => task.type === kind).map((task) => task.mean);
      return found.length ? Math.max(0, mean(found)) : 0;
    });
    svg.append(draw("path", { d: `${path(values.map((value, index) => at(index, value)))}Z`, fill: member.colour, "fill-opacity": 0.12, stroke: member.colour, "stroke-width": 2 }));
    values.forEach((value, index) => {
      const [cx, cy] = at(index, value);
      svg.append(hint(draw("circle", { cx, cy, r: 4, fill: member.colour }), `${member.name}\n${kinds[index]}: ${score(value)}`));
    });
  }
  return svg;
}

/* Sections */
function showFamily() {
  $("title").textContent = family.title;
  document.title = family.title;
  const best = members[0], main = mainTask();
  const languages = new Set(members.flatMap((member) => Object.values(member.tasks).flatMap((task) => Object.keys(task.by_language))));
  $("lead").textContent = `${members.length} ${members.length === 1 ? "model" : "models"}, judged on ${taskNames.length} held-out ${taskNames.length === 1 ? "task" : "tasks"} in ${languages.size} ${languages.size === 1 ? "language" : "languages"}.`;
  const top = members.filter((member) => member.tasks[main]).sort((a, b) => b.tasks[main].mean - a.tasks[main].mean)[0] || best;
  const facts = [[score(top.tasks[main] && top.tasks[main].mean), `best mean on ${main} (${top.name})`], [whole(languages.size), languages.size === 1 ? "language" : "languages"],
    [members.map((member) => short(member.parameters)).join(" · "), "parameters"]];
  if (family.corpus.rows_out) facts.push([short(family.corpus.rows_out), "rows in the corpus"]);
  $("tiles").replaceChildren(...facts.map(([value, name]) => make("div", { class: "tile" }, make("b", {}, value), make("span", {}, name))));
  const shownTasks = taskNames.slice(0, 6);
  const value = (model, task) => {
    const judged = model.tasks[task];
    if (!judged) return cell("–", null);
    const parts = [score(judged.mean, 4)];
    if (judged.interval) parts.push(" ", make("span", { class: "range" }, `${score(judged.interval[0])}–${score(judged.interval[1])}`));
    if (judged.contaminated) parts.push(" ", make("span", { class: "mark", title: "The corpus was not decontaminated against this task." }, "†"));
    return cell(make("span", {}, ...parts), judged.mean);
  };
  const distinct = models.some((model) => model.tasks[main] && model.tasks[main].mean_distinct !== undefined);
  const timed = models.some((model) => model.milliseconds);
  const rows = models.map((model) => ({ class: model.kind === "member" ? "" : "base", cells: [
    cell(make("span", {}, make("i", { class: "dot", style: `background:${model.kind === "member" ? model.colour : "transparent"};border:2px solid ${model.colour}` }), model.name), model.name),
    cell(model.parameters ? whole(model.parameters) : "–", model.parameters), cell(`${model.dim}`, model.dim),
    ...(timed ? [cell(model.milliseconds ? `${+model.milliseconds.toPrecision(2)}` : "–", model.milliseconds)] : []),
    ...shownTasks.map((task) => value(model, task)),
    ...(distinct ? [cell(score(model.tasks[main] && model.tasks[main].mean_distinct, 4))] : []),
    cell(kept(model, main)) ] }));
  $("members").replaceChildren(table(["model", "parameters", "width", ...(timed ? ["ms a text"] : []), ...shownTasks.map((task) => `${task} (${metric(task)})`),
    ...(distinct ? [`${main} without equal names`] : []), "half width keeps"], rows));
  const marked = members.some((member) => Object.values(member.tasks).some((task) => task.contaminated));
  const failed = members.flatMap((member) => Object.entries(member.failed).map(([task, reason]) => `${member.name}, ${task}: ${reason}`));
  $("notes").replaceChildren(...(marked ? [make("p", {}, "† The training corpus was not checked against the texts of this task.")] : []),
    ...failed.map((text) => make("p", {}, `Not judged: ${text}`)));
}
const metric = (task) => (members.map((member) => member.tasks[task]).find(Boolean) || {}).metric || "";
function kept(model, task) {
  const widths = (model.tasks[task] || {}).widths || {}, half = widths[Math.floor(model.dim / 2)], full = widths[model.dim];
  return half !== undefined && full ? `${((100 * half) / full).toFixed(1)} %` : "–";
}
function mainTask() {
  const breadth = (task) => Math.max(...members.map((member) => Object.keys((member.tasks[task] || { by_language: {} }).by_language).length));
  return [...taskNames].sort((a, b) => breadth(b) - breadth(a))[0];
}
function showQuality() {
  const task = $("task").value;
  $("sizecaption").textContent = `Score by ${COSTS[$("cost").value].title}; dashes join what no other member beats`;
  $("size").replaceChildren(sizeChart(task, $("cost").value));
  $("widths").replaceChildren(widthChart(task));
  showRetention();
}
function showRetention() {
  const shown = models.filter((model) => model.retention);
  $("compressed").hidden = !shown.length;
  if (!shown.length) return;
  const widths = [...new Set(shown.flatMap((model) => Object.keys(model.retention.float32).map(Number)))].sort((a, b) => b - a);
  const share = (value) => cell(value === undefined ? "–" : `${(100 * value).toFixed(1)} %`, value);
  const rows = shown.flatMap((model) => ["float32", "int8", "binary", "binary_rescored"].filter((form) => model.retention[form]).map((form) => ({
    class: model.kind === "member" ? "" : "base",
    cells: [cell(model.name), cell(form.replace("_", ", ")), ...widths.map((width) => share(model.retention[form][width]))] })));
  $("retention").replaceChildren(table(["model", "vectors", ...widths.map(String)], rows, { texts: [0, 1] }));
}
function showTasks() {
  const wheel = radar();
  if (taskNames.length < 3) return ($("tasks").hidden = true);
  if (wheel) $("radar").replaceChildren(wheel);
  else $("radar").parentElement.hidden = true;
  const rows = taskNames.map((task) => ({ cells: [cell(task), cell((members.map((member) => member.tasks[task]).find(Boolean) || {}).type || "", ""),
    ...members.map((member) => {
      const judged = member.tasks[task];
      return judged ? cell(score(judged.mean, 4), judged.mean) : cell("–", null);
    })] }));
  $("tasktable").replaceChildren(table(["task", "kind", ...members.map((member) => member.name)], rows, { sortable: true, texts: [0, 1] }));
}

const SCRIPTS = { Latn: "Latin", Cyrl: "Cyrillic", Arab: "Arabic", Deva: "Devanagari", Beng: "Bengali", Ethi: "Ethiopic", Hans: "Han, simplified",
  Hant: "Han, traditional", Jpan: "Japanese", Kore: "Korean", Hang: "Korean", Hebr: "Hebrew", Grek: "Greek", Geor: "Georgian", Armn: "Armenian",
  Thai: "Thai", Laoo: "Lao", Khmr: "Khmer", Mymr: "Myanmar", Tibt: "Tibetan", Sinh: "Sinhala", Taml: "Tamil", Telu: "Telugu", Knda: "Kannada",
  Mlym: "Malayalam", Gujr: "Gujarati", Guru: "Gurmukhi", Orya: "Odia", Olck: "Ol Chiki", Cakm: "Chakma", Mtei: "Meitei", Adlm: "Adlam", Nkoo: "N’Ko",
  Vaii: "Vai", Tfng: "Tifinagh", Cher: "Cherokee", Cans: "Canadian syllabics", Dsrt: "Deseret", Syrc: "Syriac", Rohg: "Hanifi Rohingya", Yiii: "Yi", Code: "programming" };
const FAMILIES = [["Latin", ["Latn"]], ["Cyrillic", ["Cyrl"]], ["Greek, Armenian, Georgian", ["Grek", "Armn", "Geor"]],
  ["Arabic, Hebrew, Syriac", ["Arab", "Hebr", "Syrc"]],
  ["South Asian", ["Deva", "Beng", "Gujr", "Guru", "Orya", "Taml", "Telu", "Knda", "Mlym", "Sinh", "Olck", "Cakm", "Mtei", "Rohg"]],
  ["Southeast Asian, Tibetan", ["Thai", "Laoo", "Khmr", "Mymr", "Tibt"]], ["East Asian", ["Hans", "Hant", "Hani", "Jpan", "Kore", "Hang", "Yiii"]],
  ["African", ["Ethi", "Adlm", "Nkoo", "Vaii", "Tfng"]], ["Other scripts", null]];
function familyOf(script) {
  return (FAMILIES.find(([, list]) => list && list.includes(script)) || FAMILIES.at(-1))[0];
}
function languageRows() {
  const task = $("task").value, wanted = $("find").value.trim().toLowerCase();
  const codes = new Set(members.flatMap((member) => Object.keys((member.tasks[task] || { by_language: {} }).by_language)));
  return [...codes].map((code) => {
    const about = family.languages[code] || { name: code, script: "" };
    return { code, name: about.name, script: SCRIPTS[about.script] || about.script, family: familyOf(about.script),
      scores: members.map((member) => (member.tasks[task] ? member.tasks[task].by_language[code] : undefined)) };
  }).filter((row) => !wanted || `${row.code} ${row.name} ${row.script}`.toLowerCase().includes(wanted))
    .sort((a, b) => a.name.localeCompare(b.name));
}
const level = (value) => (value === undefined ? 0 : Math.max(0, Math.min(5, Math.floor(value * 6))));
function describe(row) {
  const parts = members.map((member, index) => `${member.name} ${score(row.scores[index])}`).join(", ");
  return `${row.name} (${row.code}), ${row.script || "script unknown"}: ${parts}`;
}
function showMap(rows) {
  const chosen = members.findIndex((member) => member.name === $("member").value);
  const groups = FAMILIES.map(([name]) => [name, rows.filter((row) => row.family === name)]).filter(([, list]) => list.length);
  $("map").replaceChildren(...groups.map(([name, list]) => make("div", { class: "script" },
    make("h3", {}, `${name} · ${list.length} · mean ${score(mean(list.map((row) => row.scores[chosen] ?? 0)))}`),
    make("div", { class: "cells" }, [...list].sort((a, b) => (b.scores[chosen] ?? 0) - (a.scores[chosen] ?? 0)).map((row) => {
      const show = (event) => {
        document.querySelectorAll(".cell.on").forEach((other) => other.classList.remove("on"));
        event.currentTarget.classList.add("on");
        $("detail").textContent = describe(row);
      };
      return make("button", { class: `cell s${level(row.scores[chosen])}`, type: "button", title: describe(row), "data-language": row.code,
        onclick: show, onfocus: show, onmouseenter: show }, row.code.replace("_", "-"));
    })))));
  $("ramp").replaceChildren("0", ...[0, 1, 2, 3, 4, 5].map((step) => make("i", { class: `s${step}` })), "1");
}
function showList(rows) {
  $("list").replaceChildren(table(["language", "code", "script", ...members.map((member) => member.name)],
    rows.map((row) => ({ cells: [cell(row.name), cell(row.code), cell(row.script), ...row.scores.map((value, index) =>
      cell(make("span", {}, score(value), make("i", { class: "bar", style: `width:${60 * (value || 0)}px;background:${members[index].colour}` })), value))] })),
    { sortable: true, texts: [0, 1, 2] }));
}
function showLanguages() {
  const rows = languageRows(), list = $("view").value === "list";
  $("map").hidden = $("ramp").hidden = $("detail").hidden = list;
  $("list").hidden = !list;
  $("detail").textContent = rows.length ? `${rows.length} ${rows.length === 1 ? "language" : "languages"}; pick one for its scores.` : "No language matches.";
  (list ? showList : showMap)(rows);
}

const FIGURES = { loss: "loss", grad_norm: "gradient norm", learning_rate: "learning rate", tokens_per_second: "tokens per second",
  data_wait_share: "share of time waiting for data", padding: "share of padding", distillation: "distance to the teacher (squared)",
  evaluation: "mean score meanwhile" };
function showTraining() {
  const figure = $("figure").value;
  const runs = family.training.filter((run) => run.columns[figure]);
  $("curves").replaceChildren(...runs.map((run, index) => {
    const steps = run.columns[`${figure}_step`] || run.columns.step, values = run.columns[figure];
    const y = span(values, 0.06);
    if (y[0] < 0 && Math.min(...values) >= 0) y[0] = 0;
    const { svg, px, py } = axes({ width: 340, height: 200, left: 52, x: [0, steps.at(-1)], y, yTicks: ticks(...y, 4), yText: (value) => (Math.abs(value) < 0.01 && value ? value.toExponential(0) : short(value)),
      xTicks: [0, steps.at(-1)], xText: (value) => whole(value), xTitle: "" });
    svg.append(hint(draw("path", { d: path(values.map((value, at) => [px(steps[at]), py(value)])), fill: "none", stroke: colour(index), "stroke-width": 2 }),
      `${run.label}: ${FIGURES[figure]} ${short(values.at(-1))} at the end`));
    svg.setAttribute("aria-label", `${FIGURES[figure]} of ${run.label}`);
    return make("figure", {}, make("figcaption", {}, `${run.label} · ${short(values.at(-1))} at step ${whole(steps.at(-1))}`), svg);
  }));
}
function histogram(source, bins) {
  const { svg, px, py } = axes({ width: 340, height: 150, left: 20, x: [bins[0], bins.at(-1)], y: [0, 1], yTicks: [], yText: String,
    xTicks: [-1, -0.5, 0, 0.5, 1], xText: (value) => `${value}`, xTitle: "" });
  for (const [name, fill] of [["negative_histogram", "var(--m1)"], ["positive_histogram", "var(--m0)"]]) {
    const top = Math.max(...source[name], 1);
    svg.append(draw("path", { d: path(source[name].map((count, index) => [px((bins[index] + bins[index + 1]) / 2), py((0.95 * count) / top)])), fill: "none", stroke: fill, "stroke-width": 2 }));
  }
  svg.setAttribute("aria-label", "Cosines of positives and mined negatives");
  return svg;
}
function showData() {
  const blocks = [];
  const counts = family.corpus;
  if (counts.rows_in !== undefined)
    blocks.push(make("p", {}, `${whole(counts.rows_in)} rows read, ${whole(counts.rows_out)} kept, ${whole(counts.rows_in - counts.rows_out)} rejected with a reason.`));
  const pageOf = (role) => (role === "corpus" ? "Corpus card: languages, sources, rejects, sampled rows" : `Audit of the mined negatives${role === "mine" ? "" : ` (${role})`}`);
  const links = Object.keys(family.links).map((role) => make("p", {}, make("a", { href: family.links[role] }, pageOf(role))));
  blocks.push(...links);
  if (counts.rejects) blocks.push(table(["reason", "rows rejected"], Object.entries(counts.rejects).sort((a, b) => b[1] - a[1]).map(([reason, rows]) => ({ cells: [cell(reason.replaceAll("_", " ")), cell(whole(rows), rows)] })), { texts: [0] }));
  for (const [role, audit] of Object.entries(family.mine)) {
    const sources = Object.entries(audit.sources);
    blocks.push(make("h3", {}, role === "mine" ? "Mined negatives" : `Mined negatives, ${role.slice(5)}`), make("div", { class: "scroll" }, table(["source", "rows mined", "negatives", "positive cosine", "negative cosine", "too few"],
      sources.map(([name, source]) => ({ cells: [cell(name), cell(whole(source.rows_mined)), cell(whole(source.negatives)), cell(score(source.positive_mean)), cell(score(source.negative_mean)), cell(`${(100 * source.short_share).toFixed(1)} %`)] })), { texts: [0] })),
      make("div", { class: "small" }, sources.map(([name, source]) => make("figure", {}, make("figcaption", {}, `${name}: cosines of positives (blue) and negatives (orange)`), histogram(source, audit.bins)))));
  }
  if (family.taught.length) {
    const given = (run, show) => make("span", {}, run.teachers.flatMap((teacher, index) => [index ? ", " : "", show(teacher)]));
    const named = (teacher) => (teacher.link ? make("a", { href: teacher.link }, teacher.name) : teacher.name);
    const counted = (value) => (value === undefined || value === null ? "–" : whole(value));
    blocks.push(make("h3", {}, "Distillation"), table(["run", "teacher", "states", "texts", "embedded", "width", "term", "at the start", "at the end"],
      family.taught.flatMap((run) => Object.entries(run.terms).map(([term, [first, last]]) => ({ cells: [cell(run.run), cell(given(run, named)), cell(given(run, (teacher) => (teacher.stored ? "stored" : "live"))),
        ...["texts", "embedded", "width"].map((figure) => cell(given(run, (teacher) => counted(teacher[figure])))), cell(term.replaceAll("_", " ")), cell(short(first)), cell(short(last))] }))), { texts: [0, 1, 2] }));
  }
  $("audits").replaceChildren(...blocks.map((block) => (block.tagName === "TABLE" ? make("div", { class: "scroll" }, block) : block)));
  $("data").hidden = !blocks.length;
}
function showLineage() {
  const nodes = new Map(family.lineage.map((node) => [node.hash, { ...node }]));
  const depth = (node) => node.depth ?? (node.depth = Math.max(-1, ...Object.values(node.parents).filter((hash) => nodes.has(hash)).map((hash) => depth(nodes.get(hash)))) + 1);
  const columns = [];
  for (const node of nodes.values()) (columns[depth(node)] ||= []).push(node);
  const [wide, high, gapX, gapY] = [176, 46, 44, 14];
  columns.forEach((column, x) => column.forEach((node, y) => Object.assign(node, { x: x * (wide + gapX) + 4, y: y * (high + gapY) + 4 })));
  const [width, height] = [columns.length * (wide + gapX), Math.max(...columns.map((column) => column.length)) * (high + gapY) + 8];
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, style: `width:${width}px;max-width:none`, role: "img", "aria-label": "Artifacts and what they were made from" });
  for (const node of nodes.values())
    for (const hash of new Set(Object.values(node.parents))) {
      const from = nodes.get(hash);
      if (!from) continue;
      const [x1, y1, x2, y2] = [from.x + wide, from.y + high / 2, node.x, node.y + high / 2];
      svg.append(draw("path", { class: "edge", d: `M${x1} ${y1}C${x1 + 30} ${y1} ${x2 - 30} ${y2} ${x2} ${y2}` }));
    }
  for (const node of nodes.values()) {
    const figures = Object.entries(node.counts || {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${short(value)}`).join("\n");
    svg.append(hint(draw("g", { class: `node${["train", "backbone", "prune", "merge"].includes(node.stage) ? " model" : ""}`, transform: `translate(${node.x} ${node.y})` },
      draw("rect", { width: wide, height: high }), draw("text", { x: 10, y: 19, class: "name" }, node.name.length > 24 ? `${node.name.slice(0, 23)}…` : node.name),
      draw("text", { x: 10, y: 36 }, `${node.hash.slice(0, 8)}${node.seconds === undefined ? "" : ` · ${short(node.seconds)} s`}`)), `${node.name}\n${figures}`));
  }
  $("graph").replaceChildren(svg);
}

function showPeers() {
  const peers = family.peers;
  if (!peers) return;
  $("peers").hidden = false;
  $("peersource").textContent = `Means over the tasks of whole benchmarks. Peers as published: ${peers.source}.`;
  $("peertable").replaceChildren(table(["model", "parameters", "width", ...peers.benchmarks], peers.rows.map((row) => ({ class: row.ours ? "" : "base", cells: [
    cell(row.name), cell(row.parameters ? whole(row.parameters) : "–", row.parameters), cell(`${row.dim}`, row.dim),
    ...peers.benchmarks.map((name) => cell(row.means[name] === undefined ? "–" : `${score(row.means[name], 4)}${row.left_out[name] ? ` (${row.left_out[name]} tasks left out)` : ""}${row.trained_on[name] ? " ‡" : ""}`, row.means[name] ?? null))] })), { sortable: true }));
  const first = peers.rows.find((row) => Object.keys(row.trained_on).length);
  if (!first) return;
  const told = Object.entries(first.trained_on).map(([name, found]) => `${name}: ${[...found.tasks, ...found.likely.map((task) => `${task} (by a like name)`)].join(", ")}`);
  $("peertrained").textContent = `‡ Not zero-shot: by mteb's list of its training data, the peer was trained on tasks of this benchmark. ${first.name}: ${told.join("; ")}.`;
}
function showOwn() {
  const own = family.own;
  if (!own) return;
  $("own").hidden = false;
  const signed = (one) => one.difference === undefined ? "–" : `${one.difference < 0 ? "−" : "+"}${Math.abs(one.difference).toFixed(4)}${one.low === null ? "" : ` (${one.low.toFixed(4)} … ${one.high.toFixed(4)})`}`;
  const line = (task, kind, figures, name, against) => ({ cells: [
    cell(task), cell(kind), cell(figures.metric), cell(score(figures.own, 4), figures.own), cell(name),
    cell(score(against.mean, 4), against.mean ?? null), cell(signed(against), against.difference ?? null)] });
  const rows = [
    ...Object.entries(own.tasks).flatMap(([task, figures]) => Object.entries(figures.against || {}).map(([name, against]) => line(task, "held out", figures, name, against))),
    ...Object.entries(own.elsewhere).map(([task, figures]) => line(task, "elsewhere", figures, own.start, figures))];
  $("owntable").replaceChildren(table(["task", "part", "measure", own.member, "against", "its score", "difference (95 % interval)"], rows));
  const doubts = Object.entries(own.doubtful).map(([kind, count]) => `${whole(count)} ${DOUBTS[kind] || kind}`);
  const notes = [
    own.proposal && make("p", {}, own.proposal.said),
    doubts.length && make("p", {}, `To look at in your data: ${doubts.join(", ")}.`),
    family.links.own && make("p", {}, make("a", { href: family.links.own }, "Queries that gained and lost most, and doubtful rows"))];
  $("ownnotes").replaceChildren(...notes.filter(Boolean));
}
const DOUBTS = { label: "answers that neither model ranks high", several_answers: "questions with several answers", repeated: "repeated rows" };
function options(select, names, chosen) {
  select.replaceChildren(...names.map(([value, text]) => make("option", { value }, text)));
  if (chosen !== undefined) select.value = chosen;
}
options($("task"), taskNames.map((task) => [task, `${task} (${metric(task)})`]), mainTask());
options($("cost"), Object.entries(COSTS).filter(([name]) => name !== "milliseconds" || members.some((member) => member.milliseconds)).map(([name, { title }]) => [name, title]));
options($("member"), members.map((member) => [member.name, member.name]));
options($("figure"), Object.entries(FIGURES).filter(([name]) => family.training.some((run) => run.columns[name])));
$("legend").replaceChildren(...members.map((member) => make("span", {}, make("i", { class: "dot", style: `background:${member.colour}` }), member.name)));
showFamily(); showOwn(); showTasks(); showPeers(); showData(); showLineage(); showQuality(); showLanguages();
if (family.training.length) showTraining(); else $("training").hidden = true;
$("task").addEventListener("change", () => { showQuality(); showLanguages(); });
$("cost").addEventListener("change", showQuality);
for (const id of ["member", "view"]) $(id).addEventListener("change", showLanguages);
$("find").addEventListener("input", showLanguages);
addEventListener("resize", showQuality);
$("figure").addEventListener("change", showTraining);
$("contents").replaceChildren(...[...document.querySelectorAll("section:not([hidden])")].map((section) => make("a", { href: `${location.href.split("#")[0]}#${section.id}` }, section.querySelector("h2").textContent)));
document.body.dataset.ready = "yes";
