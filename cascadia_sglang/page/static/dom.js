// Elements, tables and numbers as text.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key === "tier") made.style.setProperty("--tier", tierColour(value));
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * Replace the rows of a table. Cells are texts, elements, or `{text, class, field}`; the first names
 * its row. A table without a head has `[]`.
 */
export function fillTable(table, caption, head, rows) {
  const parts = [element("caption", {}, caption)];
  const heads = head.map((text, column) => element("th", { scope: "col", class: rows[0]?.[column]?.class }, text));
  if (heads.length) parts.push(element("thead", {}, element("tr", {}, ...heads)));
  parts.push(element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell)))));
  table.replaceChildren(...parts);
}

function cell(content, column) {
  const [name, scope] = column === 0 ? ["th", "row"] : ["td", null];
  const isPlain = content === null || typeof content !== "object" || content instanceof Node;
  if (isPlain) return element(name, { scope }, content ?? "–");
  return element(name, { scope, class: content.class, "data-field": content.field }, content.text ?? "–");
}

export function tierName(name, index) {
  return element("span", { class: "tier-name", tier: index }, name);
}

export const tierColour = (index) => `var(--tier-${Math.max(0, index) % 6})`;

/** Keep a select's choice while its options follow what there is. */
export function fillSelect(select, options) {
  const wanted = options.map(([value]) => value).join("\n");
  if (select.dataset.options === wanted) return;
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  select.dataset.options = wanted;
  if (options.some(([value]) => value === before)) select.value = before;
}

export function number(value, digits = 1) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

export const percent = (share, digits = 1) =>
  share === null || share === undefined ? "–" : `${number(100 * share, digits)} %`;

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.9995) return `${number(1000 * value, value < 0.01 ? 1 : 0)} ms`;
  return `${number(value, value < 10 ? 2 : 1)} s`;
}

export const clock = (at) => new Date(1000 * at).toLocaleTimeString("en-GB");
