// Workers: who runs jobs, how much each has done, and the limits that hold across them.

import { attribute, cell, follow, h, table, text } from "./dom.js";
import { absolute, count, relative } from "./format.js";

const SILENT = 20; // seconds without a heartbeat until a worker looks dead

export function workers(model) {
  const rows = table("Workers", [["Worker", ""], ["Queues", ""], ["Running", "number"],
    ["Done", "number"], ["Failed", "number"], ["Started", "number"], ["Seen", "number"]]);
  const empty = h("div", { class: "empty" },
    h("p", {}, "No worker is running, so jobs wait in their queues."),
    h("p", {}, "Start one with ", h("code", {}, "pelton worker APP"), ", or all at once with ",
      h("code", {}, "pelton run APP"), "."));
  const limits = table("Limits", [["Of", ""], ["At a time", "number"], ["A second", "number"],
    ["Burst", "number"]]);
  const limited = h("section", {}, h("h2", {}, "Limits across workers"), limits.element);
  const element = h("section", {}, h("h1", {}, "Workers"), rows.element, empty, limited);

  function update() {
    const items = model.brokers.flatMap((broker, index) => broker.workers.map(
      (worker) => ({ ...worker, broker: index, now: model.now }),
    ));
    follow(rows.body, items, (one) => `${one.broker} ${one.name}`, workerRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0;
    const bounds = model.brokers.flatMap((broker, index) => (broker.limits ?? []).map(
      (limit) => ({ ...limit, broker: index }),
    ));
    follow(limits.body, bounds, (one) => `${one.broker} ${one.scope}`, limitRow);
    limited.hidden = bounds.length === 0;
  }
  return { element, update };
}

function limitRow(item) {
  const values = ["At a time", "A second", "Burst"].map((label) => cell(label, "number"));
  const row = h("tr", {}, cell("Of", "name", item.scope), values);
  row.update = (next) => {
    [next.concurrency, next.rate, next.burst].forEach(
      (value, index) => text(values[index], value === null ? "" : String(value)),
    );
  };
  return row;
}

function workerRow(item) {
  const meter = h("meter", { min: 0, "aria-label": "jobs running" });
  const running = h("span");
  const values = ["Done", "Failed", "Started", "Seen"].map((label) => cell(label, "number"));
  const silent = h("span", { class: "badge", "data-state": "dead" }, "silent");
  const row = h("tr", {},
    cell("Worker", "name", item.name, " ", silent,
      h("small", {}, `${item.hostname}, pid ${item.pid}`)),
    cell("Queues", "", item.queues.length ? item.queues.join(", ") : "all"),
    cell("Running", "number", meter, " ", running),
    values);
  row.update = (next) => {
    silent.hidden = next.now - next.seen_at < SILENT;
    attribute(meter, "max", next.concurrency);
    attribute(meter, "value", next.running);
    text(running, `${next.running} of ${next.concurrency}`);
    [count(next.processed), count(next.failed), relative(next.started_at, next.now),
      relative(next.seen_at, next.now)].forEach((value, index) => text(values[index], value));
    attribute(values[2], "title", absolute(next.started_at));
  };
  return row;
}
