const card = JSON.parse($("card-data").textContent);
const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const short = (value) => value >= 1e9 ? `${+(value / 1e9).toPrecision(3)}B` : value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M` : value >= 1e4 ? `${+(value / 1e3).toPrecision(3)}k` : whole(value);
const words = (name) => name.replaceAll("_", " ");
/* A table that sorts by any heading, its first columns texts; numbers are written out, and [shown, sorted by] is a cell. */
const figures = (headings, rows, texts = 1) => table(headings, rows.map((row) => row.map((value) =>
  Array.isArray(value) ? cell(...value) : typeof value === "number" || value === null ? cell(whole(value), value) : cell(value))), { texts: [...Array(texts).keys()], sortable: true });
const FAMILIES = [["Latin", "Latn"], ["Cyrillic, Greek, Armenian, Georgian", "Cyrl Grek Armn Geor"], ["Arabic, Hebrew, Syriac", "Arab Hebr Syrc"],
  ["South Asian", "Deva Beng Gujr Guru Orya Taml Telu Knda Mlym Sinh Olck Cakm Mtei Rohg"], ["Southeast Asian, Tibetan", "Thai Laoo Khmr Mymr Tibt Java"],
  ["East Asian", "Hans Hant Hani Jpan Kore Hang Yiii Bopo"], ["African", "Ethi Adlm Nkoo Vaii Tfng"], ["other, none", ""]];
const family = (script) => { const place = FAMILIES.findIndex(([, list]) => list.split(" ").includes(script || "?")); return place < 0 ? 7 : place; };
const told = (row) => `${row.title} (${row.name}${row.script ? `, ${row.script}` : ""}): ${whole(row.rows)} rows, ${short(row.tokens)} ${card.tokens_are}, median ${whole(row.median_query)} and ${whole(row.median_positive)} characters`;

function showPicture() {
  const list = card.languages.filter((row) => row.rows > 0), wide = Math.max(4, Math.min(26, (($("picture").clientWidth || 1000) - 52) / Math.max(list.length, 1)));
  const [left, top, height, bottom] = [42, 10, 230, 26], width = left + wide * list.length + 8;
  const most = Math.max(1, Math.log10(Math.max(...list.map((row) => row.rows), 1)));
  const y = (value) => top + height * (1 - value / most);
  const svg = draw("svg", { width, height: top + height + bottom, role: "img", "aria-label": "Rows by language" });
  for (let power = 0; power <= most; power++) {
    svg.append(draw("line", { class: "axis", x1: left, x2: width, y1: y(power), y2: y(power) }));
    svg.append(draw("text", { x: left - 6, y: y(power) + 4, "text-anchor": "end" }, short(10 ** power)));
  }
  list.forEach((row, place) => {
    const tall = Math.max(2, height * Math.log10(Math.max(row.rows, 1)) / most);
    const bar = draw("rect", { class: "language", x: left + place * wide, y: top + height - tall, width: Math.max(1, wide - 1), height: tall, fill: `var(--m${family(row.script)})`, "data-language": row.name, tabindex: -1 });
    bar.append(draw("title", {}, told(row)));
    for (const event of ["pointerenter", "click"]) bar.addEventListener(event, () => ($("detail").textContent = told(row)));
    svg.append(bar);
    if (wide >= 22 || place % Math.ceil(26 / wide) === 0) svg.append(draw("text", { x: left + place * wide, y: top + height + 16 }, row.name.slice(0, 3)));
  });
  $("picture").replaceChildren(svg);
  const counts = FAMILIES.map(([name], place) => [name, place, list.filter((row) => family(row.script) === place).length]).filter(([, , count]) => count);
  $("legend").replaceChildren(...counts.map(([name, place, count]) => make("span", {}, make("i", { style: `background:var(--m${place})` }), `${name} · ${count}`)));
}
function showLanguages() {
  const wanted = $("find").value.trim().toLowerCase();
  const rows = card.languages.filter((row) => `${row.title} ${row.name} ${row.script}`.toLowerCase().includes(wanted));
  $("languagetable").replaceChildren(figures(["language", "code", "script", "rows", card.tokens_are, "median query", "median positive"],
    rows.map((row) => [row.title, row.name, row.script, row.rows, row.tokens, row.median_query, row.median_positive]), 3));
}
const rejected = (source) => Object.values(source.rejects).reduce((sum, rows) => sum + rows, 0);
function showSources() {
  const identified = (source) => source.identification.identified ? `${whole(source.identification.identified)} (${whole(source.identification.doubtful || 0)} doubtful)`
    : source.identification.agree || source.identification.disagree ? `${(100 * (source.identification.disagree || 0) / ((source.identification.agree || 0) + (source.identification.disagree || 0))).toFixed(1)} % disagree` : "–";
  $("sourcetable").replaceChildren(figures(["source", "task", "rows read", "rejected", "rows kept", "train", "validation", "held out", card.tokens_are, "median query", "median positive", "languages", "identified, or checked"],
    card.sources.map((source) => [source.name, [source.task].flat().join(", ") || "–", source.rows_in, rejected(source), source.rows, source.splits.train || 0, source.splits.validation || 0, source.splits.heldout || 0,
      source.tokens, source.median_query, source.median_positive, source.languages, identified(source)]), 2));
  $("tasktable").replaceChildren(figures(["task", "rows", card.tokens_are, "median query", "median positive"], card.tasks.map((row) => [row.name, row.rows, row.tokens, row.median_query, row.median_positive])));
}
function showRejects() {
  const reasons = Object.entries(card.rejects), most = Math.max(1, ...Object.values(card.rejects));
  if (!reasons.length) return $("reasontable").replaceChildren(make("p", {}, "No row was rejected."));
  $("reasontable").replaceChildren(figures(["reason", "", "rows"], reasons.map(([reason, rows]) => [words(reason), [make("i", { class: "bar", style: `width:${Math.max(2, 220 * rows / most)}px` }), rows], rows]), 2));
  const named = card.sources.filter((source) => rejected(source));
  $("rejecttable").replaceChildren(make("h3", {}, "By source"), figures(["source", ...reasons.map(([reason]) => words(reason))], named.map((source) => [source.name, ...reasons.map(([reason]) => source.rejects[reason] || 0)])));
}
function showRest() {
  const near = card.near_duplicates;
  $("near").textContent = near ? `Near-duplicates: ${whole(near.candidates)} candidate pairs, ${whole(near.edges)} alike, ${whole(near.dropped)} rows dropped.` : "Near-duplicates were not looked for.";
  $("duplicatetable").replaceChildren(card.duplicates.length ? figures(["kept in", "dropped from", "rows"], card.duplicates.map((row) => [row.kept, row.dropped, row.rows]), 2) : make("p", {}, "No row came twice."));
  $("instructiontable").replaceChildren(card.instructions.length ? figures(["source", "queries", "with an instruction, kept as theirs", "beginning with one in another form", "rows whose documents hold one"],
    card.instructions.map((row) => [row.name, row.queries, row.lifted, row.kept, row.documents])) : make("p", {}, "No query and no document begins with an instruction."));
  $("leaktable").replaceChildren(card.decontamination.length ? figures(["evaluation set", "texts", "blocks", "rows with its query", "with its document", "with a shared block"],
    card.decontamination.map((row) => [row.name, row.texts, row.blocks, row.contaminated_query, row.contaminated_document, row.contaminated_block])) : make("p", {}, "The recipe names no evaluation set."));
  $("sampled").replaceChildren(...card.sources.filter((source) => source.samples.length).map((source) => make("details", {}, make("summary", {}, `${source.name} · ${source.samples.length} rows`),
    source.samples.map((row) => make("div", { class: "sample" }, make("b", {}, row.query), make("br"), row.positive, row.negative ? make("small", {}, `not: ${row.negative}`) : null,
      make("small", {}, [row.positive_language && row.positive_language !== row.language ? `${row.language} → ${row.positive_language}` : row.language, row.label && `label ${row.label}`, row.split, row.score !== undefined && `score ${row.score}`, row.confidence !== undefined && `confidence ${row.confidence.toFixed(2)}`].filter(Boolean).join(" · ")))))));
}
const kept = card.languages.filter((row) => row.rows > 0).length, total = card.sources.reduce((sum, source) => sum + source.tokens, 0);
$("lead").textContent = `${whole(card.rows_in)} rows read from ${card.sources.length} ${card.sources.length === 1 ? "source" : "sources"}; ${whole(card.rows_out)} kept, ${whole(card.rows_in - card.rows_out)} rejected, each with a reason. Lengths are in characters; tokens are estimated from a sample.`;
$("tiles").replaceChildren(...[[short(card.rows_out), "rows kept"], [whole(kept), kept === 1 ? "language" : "languages"], [short(total), card.tokens_are], [whole(card.sources.length), card.sources.length === 1 ? "source" : "sources"],
  [card.rows_in ? `${(100 * (card.rows_in - card.rows_out) / card.rows_in).toFixed(1)} %` : "–", "of rows rejected"]].map(([value, name]) => make("div", { class: "tile" }, make("b", {}, value), make("span", {}, name))));
showPicture(); showLanguages(); showSources(); showRejects(); showRest();
$("find").addEventListener("input", showLanguages);
document.body.dataset.ready = "yes";
