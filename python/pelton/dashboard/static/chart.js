// A line chart in SVG: a few series over the same five minutes.

import { h, text } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 120;
const SECONDS = 300;

/**
 * A chart of `series` ([{key, label}]; the first is filled) of points ({at, key: number|null}).
 * `show(points, now)` draws; `format` writes values.
 */
export function chart(title, series, format) {
  const svg = s("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title,
  });
  const paths = series.map((one, index) => {
    const area = index === 0 ? svg.appendChild(s("path", { class: "area" })) : null;
    return { area, line: svg.appendChild(s("path", { class: `line line-${index}` })) };
  });
  const cursor = svg.appendChild(s("line", { class: "cursor", y1: 0, y2: HEIGHT }));
  const values = series.map(() => h("b", {}, "–"));
  const legend = h("p", { class: "legend" }, series.map((one, index) => h(
    "span", { class: `key key-${index}` }, `${one.label} `, values[index],
  )));
  const top = h("span", { class: "top-value" });
  const when = h("span", { class: "when" });
  const element = h("figure", { class: "chart" },
    h("figcaption", {}, title), legend, h("div", { class: "plot" }, top, when, svg));
  const state = { points: [], now: 0, max: 0, hover: null };

  function readout() {
    const shown = state.hover ?? state.points.at(-1);
    series.forEach((one, index) => {
      const value = shown?.[one.key];
      text(values[index], value === null || value === undefined ? "–" : format(value));
    });
    text(when, state.hover === null ? "" : `${Math.round(state.now - state.hover.at)} s ago`);
    cursor.classList.toggle("shown", state.hover !== null);
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = state.now - SECONDS * (1 - (event.clientX - box.left) / box.width);
    state.hover = nearest(state.points, at);
    if (state.hover !== null) {
      const x = across(state.hover.at, state.now);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
    readout();
  });
  svg.addEventListener("pointerleave", () => {
    state.hover = null;
    readout();
  });

  function show(points, now) {
    state.points = points.filter((point) => point.at > now - SECONDS - 2);
    state.now = now;
    const all = state.points.flatMap((point) => series.map((one) => point[one.key] ?? 0));
    state.max = ceiling(Math.max(0, ...all));
    text(top, state.max > 0 ? format(state.max) : "");
    series.forEach((one, index) => {
      const line = path(state.points, one.key, now, state.max);
      paths[index].line.setAttribute("d", line);
      paths[index].area?.setAttribute("d", close(line, state.points, now));
    });
    readout();
  }
  return { element, show };
}

function path(points, key, now, max) {
  let drawn = "";
  let pen = "M";
  for (const point of points) {
    const value = point[key];
    if (value === null || value === undefined) {
      pen = "M";
      continue;
    }
    const y = HEIGHT - 2 - (max > 0 ? (value / max) * (HEIGHT - 8) : 0);
    drawn += `${pen}${across(point.at, now).toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return drawn;
}

/** The area below a line without gaps; nothing where there are any. */
function close(line, points, now) {
  if (points.length < 2 || line.lastIndexOf("M") !== 0) return "";
  const [first, last] = [points[0], points.at(-1)];
  return `${line}L${across(last.at, now)} ${HEIGHT}L${across(first.at, now)} ${HEIGHT}Z`;
}

function across(at, now) {
  return WIDTH * (1 - (now - at) / SECONDS);
}

/** The next of 1, 2, 5 times a power of ten: the scale does not tremble. */
function ceiling(value) {
  if (value <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.999999);
}

function nearest(points, at) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(point.at - at) < Math.abs(best.at - at)) best = point;
  }
  return best;
}

function s(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
