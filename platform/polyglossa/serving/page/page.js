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

function showWidths() {
  const model = models.find(one => one.id === $("model").value);
  options($("width"), [...model.widths].sort((a, b) => b - a));
}

async function load() {
  try {
    models = (await ask("v1/models")).data;
    options($("model"), models.map(one => one.id));
    showWidths();
    say("");
  } catch (error) { say(error.message, true); }
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

async function search(event) {
  event.preventDefault();
  const texts = $("texts").value.split("\n").map(line => line.trim()).filter(Boolean);
  if (!texts.length) return say("Give at least one text.", true);
  if (!models.length) await load();
  say("…");
  const common = { model: $("model").value, dimensions: Number($("width").value) };
  try {
    const started = performance.now();
    const [question, documents] = await Promise.all([
      ask("v1/embeddings", { ...common, input: $("query").value, input_type: "query" }),
      ask("v1/embeddings", { ...common, input: texts, input_type: "document" }),
    ]);
    const milliseconds = performance.now() - started;
    const query = question.data[0].embedding;
    const ranked = documents.data.map(({ embedding, index }) => [dot(embedding, query), texts[index]]);
    ranked.sort((a, b) => b[0] - a[0]);
    $("results").replaceChildren(...ranked.map(([score, text]) => {
      const line = document.createElement("li");
      const number = document.createElement("b");
      const words = document.createElement("span");
      number.textContent = score.toFixed(3);
      words.textContent = text;
      words.dir = "auto";
      line.append(number, words);
      return line;
    }));
    const tokens = question.usage.total_tokens + documents.usage.total_tokens;
    say(`${milliseconds.toFixed(0)} ms for ${texts.length + 1} texts, ${tokens} tokens`);
  } catch (error) { say(error.message, true); }
}

$("form").addEventListener("submit", search);
$("model").addEventListener("change", showWidths);
$("key").addEventListener("change", load);
load();
