const say = (text, wrong) => { $("status").textContent = text; $("status").className = wrong ? "wrong" : ""; };
let models = [];

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: "Bearer " + key }) };
}

async function ask(path, body) {
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers: headers(), body: body && JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error.message);
  return value;
}

function options(select, values) {
  select.replaceChildren(...values.map(value => new Option(value, value)));
}

const MOST_TEXTS = 20000, AT_ONCE = 256, SHOWN = 20;
const kept = new Map();  // member and text → vector of full width: another width or question embeds nothing anew
let uploaded = null;

function showWidths(select, widths) {
  const model = models.find(one => one.id === $(select).value);
  options($(widths), model ? [...model.widths].sort((a, b) => b - a) : []);
}

async function load() {
  try {
    models = (await ask("v1/models")).data;
    options($("model"), models.map(one => one.id));
    $("beside").replaceChildren(new Option("nothing", ""), ...models.map(one => new Option(one.id, one.id)));
    showWidths("model", "width");
    showWidths("beside", "besidewidth");
    showOwn();
    say("");
  } catch (error) { say(error.message, true); }
}

// Offer the endpoint's own documents, where it has some; then they are what is searched at first.
function showOwn() {
  const count = Math.max(...models.map(one => one.documents));
  $("own").hidden = !count;
  $("count").textContent = count.toLocaleString("en");
  $("mine").checked = count > 0;
  followOwn();
}

function followOwn() {
  for (const field of ["texts", "file"]) $(field).disabled = $("mine").checked;
}

// Texts of a file: a line each, or the column of a table whose cells are longest.
function textsOf(name, content) {
  const lines = content.replace(/^\ufeff/, "").split(/\r?\n/).filter(line => line.trim());
  if (/\.(jsonl|ndjson|json)$/i.test(name)) return longestColumn(lines.map(line => JSON.parse(line)));
  const delimiter = /\.tsv$/i.test(name) ? "\t" : /\.csv$/i.test(name) ? "," : null;
  if (!delimiter) return lines.map(line => line.trim());
  const [header, ...rows] = table(content.replace(/^\ufeff/, ""), delimiter);
  return longestColumn(rows.map(row => Object.fromEntries(header.map((key, i) => [key, row[i] ?? ""]))));
}

function table(content, delimiter) {
  const rows = [[""]];
  let quoted = false;
  for (let i = 0; i < content.length; i++) {
    const sign = content[i], row = rows[rows.length - 1];
    if (quoted && sign === '"' && content[i + 1] === '"') { row[row.length - 1] += '"'; i++; }
    else if (sign === '"' && (quoted || row[row.length - 1] === "")) quoted = !quoted;
    else if (!quoted && sign === delimiter) row.push("");
    else if (!quoted && sign === "\n") rows.push([""]);
    else if (quoted || sign !== "\r") row[row.length - 1] += sign;
  }
  return rows.filter(row => row.some(cell => cell.trim()));
}

function longestColumn(rows) {
  const length = new Map();
  for (const row of rows) for (const [key, value] of Object.entries(row))
    if (typeof value === "string") length.set(key, (length.get(key) ?? 0) + value.length);
  const [column] = [...length].sort((a, b) => b[1] - a[1])[0] ?? [];
  return column === undefined ? [] : rows.map(row => String(row[column] ?? "").trim()).filter(Boolean);
}

async function upload() {
  const file = $("file").files[0];
  uploaded = null;
  if (!file) return say("");
  try {
    uploaded = [...new Set(textsOf(file.name, await file.text()))];
    if (!uploaded.length) throw new Error("no texts in it");
    if (uploaded.length > MOST_TEXTS) throw new Error(`${uploaded.length} texts; at most ${MOST_TEXTS} are searched here`);
    say(`${uploaded.length} texts from ${file.name}`);
  } catch (error) { uploaded = null; say(`${file.name}: ${error.message}.`, true); }
}

function vectorOf(base64) {
  const bytes = Uint8Array.from(atob(base64), sign => sign.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// Vectors of full width, in requests of 256 texts; what was embedded before is not asked for again.
async function embed(model, texts, kind, tell) {
  const place = text => `${model}\u0000${kind}\u0000${text}`;
  const missing = [...new Set(texts.filter(text => !kept.has(place(text))))];
  let tokens = 0;
  for (let start = 0; start < missing.length; start += AT_ONCE) {
    const part = missing.slice(start, start + AT_ONCE);
    const answer = await ask("v1/embeddings", { model, input: part, input_type: kind, encoding_format: "base64" });
    answer.data.forEach(({ embedding, index }) => kept.set(place(part[index]), vectorOf(embedding)));
    tokens += answer.usage.total_tokens;
    if (missing.length > AT_ONCE) tell(start + part.length, missing.length);
  }
  return { vectors: texts.map(text => kept.get(place(text))), tokens };
}

function cosine(a, b, width) {
  let dot = 0, lengthA = 0, lengthB = 0;
  for (let i = 0; i < width; i++) { dot += a[i] * b[i]; lengthA += a[i] * a[i]; lengthB += b[i] * b[i]; }
  return dot / (Math.sqrt(lengthA * lengthB) || 1);
}

async function rank(model, width, texts, query) {
  const tell = (done, all) => say(`${model}: ${done} of ${all} texts embedded`);
  const question = await embed(model, [query], "query", tell);
  const documents = await embed(model, texts, "document", tell);
  const ranked = documents.vectors.map((vector, row) => [cosine(vector, question.vectors[0], width), texts[row]]);
  ranked.sort((a, b) => b[0] - a[0]);
  return { ranked: ranked.slice(0, SHOWN), tokens: question.tokens + documents.tokens };
}

async function rankOwn(model, dimensions, query) {
  const answer = await ask("v1/search", { model, query, dimensions, limit: SHOWN });
  const ranked = answer.data.map(one => [one.score, one.text]);
  return { ranked, tokens: answer.usage.total_tokens, searched: answer.documents };
}

// A text that only one of two columns shows is set off.
function show(list, ranked, others) {
  const known = others && new Set(others.map(([, text]) => text));
  $(list).replaceChildren(...ranked.map(([score, text]) => {
    const line = document.createElement("li");
    const number = document.createElement("b");
    const words = document.createElement("span");
    number.textContent = score.toFixed(3);
    words.textContent = text;
    words.dir = "auto";
    if (known && !known.has(text)) line.className = "alone";
    line.append(number, words);
    return line;
  }));
}

async function search(event) {
  event.preventDefault();
  const own = $("mine").checked;
  const texts = own ? [] : uploaded ?? $("texts").value.split("\n").map(line => line.trim()).filter(Boolean);
  if (!own && !texts.length) return say("Give at least one text.", true);
  if (!models.length) await load();
  say("…");
  const [model, width] = [$("model").value, Number($("width").value)];
  const [beside, besideWidth] = [$("beside").value, Number($("besidewidth").value)];
  try {
    const started = performance.now();
    const find = (member, wide) => own ? rankOwn(member, wide, $("query").value) : rank(member, wide, texts, $("query").value);
    const first = await find(model, width);
    const second = beside ? await find(beside, besideWidth) : null;
    const milliseconds = performance.now() - started;
    $("answers").hidden = false;
    $("other").hidden = !second;
    $("name").textContent = second ? `${model}, ${width}` : "";
    show("results", first.ranked, second?.ranked);
    if (second) {
      $("othername").textContent = `${beside}, ${besideWidth}`;
      show("otherresults", second.ranked, first.ranked);
    }
    const tokens = first.tokens + (second?.tokens ?? 0);
    const searched = own ? `${first.searched.toLocaleString("en")} documents` : `${texts.length + 1} texts`;
    say(`${milliseconds.toFixed(0)} ms for ${searched}, ${tokens} tokens`);
  } catch (error) { say(error.message, true); }
}

$("form").addEventListener("submit", search);
$("model").addEventListener("change", () => showWidths("model", "width"));
$("beside").addEventListener("change", () => showWidths("beside", "besidewidth"));
$("file").addEventListener("change", upload);
$("texts").addEventListener("input", () => { uploaded = null; $("file").value = ""; });
$("mine").addEventListener("change", followOwn);
$("key").addEventListener("change", load);
load();
