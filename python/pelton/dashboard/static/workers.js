// Workers: who runs jobs, and how much each has done.

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
  const element = h("section", {}, h("h1", {}, "Workers"), rows.element, empty);

  function update() {
    const items = model.brokers.flatMap((broker, index) => broker.workers.map(
      (worker) => ({ ...worker, broker: index, now: model.now }),
    ));
    follow(rows.body, items, (one) => `${one.broker} ${one.name}`, workerRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0;
  }
  return { element, update };
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
