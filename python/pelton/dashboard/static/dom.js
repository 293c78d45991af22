// Small helpers for building and updating the page without a framework.

/**
 * An element. `attributes`: strings are set as attributes, functions as listeners (`onclick`),
 * true as an empty attribute, false and null not at all.
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets an element's text, if it is another one: selections and focus survive. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Sets or removes an attribute. */
export function attribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Makes the children of `parent` follow `items`: one child a key, made once, updated in place and
 * kept in order. `make(item)` returns an element with a function `update(item)`.
 */
export function follow(parent, items, key, make) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = name;
    }
    old.delete(name);
    child.update(item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of old.values()) child.remove();
}

/** A table with these headings; `body` is its `tbody`. */
export function table(caption, headings) {
  const body = h("tbody");
  const head = headings.map(([label, kind]) => h("th", { scope: "col", class: kind }, label));
  const element = h("table", { "aria-label": caption }, h("thead", {}, h("tr", {}, head)), body);
  return { element: h("div", { class: "scroll" }, element), body };
}

/** A table cell that knows its heading, for narrow screens. */
export function cell(label, kind, ...children) {
  return h("td", { "data-label": label, class: kind }, ...children);
}

/** Says something for a few seconds. */
export function toast(message, bad = false) {
  const element = document.getElementById("toast");
  element.textContent = message;
  element.classList.toggle("bad", bad);
  element.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => element.classList.remove("shown"), 4000);
}
