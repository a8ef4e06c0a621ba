"use strict";
const $ = (id) => document.getElementById(id);

/* Small makers of elements; text always goes in as text. */
function make(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}
function draw(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/* A text beside the pointer, and as the node's title. */
function hint(node, text) {
  const tip = $("tip");
  const show = (x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(innerWidth - box.width - 4, x + 12))}px`;
    tip.style.top = `${y - box.height - 10 < 4 ? y + 16 : y - box.height - 10}px`;
  };
  node.addEventListener("pointermove", (event) => show(event.clientX, event.clientY));
  node.addEventListener("pointerleave", () => (tip.hidden = true));
  node.append(draw("title", {}, text));
  return node;
}

/* What a cell shows, and what its column is sorted by. */
const cell = (show, sort = show) => ({ show, sort });

/* A table of rows, each its cells or { class, cells }; columns in `texts` are set and sorted as text. */
function table(headings, rows, { texts = [], sortable = false } = {}) {
  const body = make("tbody"), look = (column) => (texts.includes(column) ? "text" : "");
  const lines = rows.map((row) => ({ class: row.class || "", cells: (row.cells || row).map((one) => (one instanceof Object && "show" in one ? one : cell(one))) }));
  let order = null;
  const fill = () => {
    const sorted = order === null ? lines : [...lines].sort((a, b) => {
      const [x, y] = [a.cells[order.column].sort, b.cells[order.column].sort];
      return (typeof x === "string" ? x.localeCompare(y) : (x ?? -1) - (y ?? -1)) * order.sign;
    });
    body.replaceChildren(...sorted.map((row) => make("tr", { class: row.class }, row.cells.map(({ show }, column) => make("td", { class: look(column) }, show)))));
  };
  const turn = (column) => {
    order = { column, sign: order && order.column === column ? -order.sign : texts.includes(column) ? 1 : -1 };
    fill();
  };
  const head = headings.map((heading, column) => make("th", { class: look(column), scope: "col" },
    sortable ? make("button", { type: "button", onclick: () => turn(column) }, heading) : heading));
  fill();
  return make("table", {}, make("thead", {}, make("tr", {}, head)), body);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}
setTheme(new URLSearchParams(location.search).get("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
