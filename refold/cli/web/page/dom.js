// Elements are made here and nowhere else. What people write becomes text nodes and attributes,
// never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const h = (tag, properties, ...children) =>
  fill(document.createElement(tag), properties, children);

export const s = (tag, properties, ...children) =>
  fill(document.createElementNS(SVG, tag), properties, children);

// Makes one element look like another, with as little change as possible: a button that is being
// pressed, a text that is being selected and a field that is being filled in stay.
export function morph(from, to) {
  if (from.nodeName !== to.nodeName || from.dataset?.key !== to.dataset?.key) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name } of [...from.attributes])
    if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS"))
      from.removeAttribute(name);
  for (const { name, value } of to.attributes)
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  const wanted = [...to.childNodes];
  const there = [...from.childNodes];
  wanted.forEach((child, i) => (i < there.length ? morph(there[i], child) : from.append(child)));
  there.slice(wanted.length).forEach((child) => child.remove());
}

// Shows elements as the content of one.
export function show(element, ...children) {
  const copy = element.cloneNode(false);
  copy.append(...children.flat(Infinity).filter(Boolean));
  morph(element, copy);
}

export function table(heads, rows, classes = []) {
  const cell = (tag) => (text, i) =>
    h(tag, { class: classes[i] }, text === null || text === undefined ? "" : text);
  return h("div", { class: "scroll" },
    h("table", null,
      h("thead", null, h("tr", null, heads.map(cell("th")))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map(cell("td")))))));
}

export const box = (title, ...children) =>
  h("section", { class: "box", "data-box": title }, h("h3", null, title), ...children);
