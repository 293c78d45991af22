// Overview: four charts, the queues, and the processes that serve.

import { act } from "./api.js";
import { chart } from "./chart.js";
import { attribute, cell, follow, h, table, text, toast } from "./dom.js";
import { bytes, count, duration, rate, relative } from "./format.js";

const STATES = ["waiting", "scheduled", "queued", "running", "succeeded", "dead", "cancelled"];

export function overview(model) {
  const charts = [
    [chart("Requests per second", [
      { key: "requests", label: "all" }, { key: "errors", label: "failed" },
    ], rate), () => model.history],
    [chart("Response time", [
      { key: "p50", label: "median" }, { key: "p99", label: "99 %" },
    ], duration), () => model.history],
    [chart("Jobs per second", [
      { key: "processed", label: "done" }, { key: "failed", label: "failed" },
    ], rate), () => model.work],
    [chart("Event loop lag", [{ key: "lag", label: "longest" }], duration), () => model.history],
  ];
  const queues = queueTable();
  const processes = processTable();
  const element = h("div", {},
    h("h1", { class: "hidden" }, "Overview"),
    h("div", { class: "charts" }, charts.map(([one]) => one.element)),
    h("section", {}, h("h2", {}, "Queues"), queues.element),
    h("section", {}, h("h2", {}, "Web processes"), processes.element));

  function update() {
    for (const [one, points] of charts) one.show(points(), model.now);
    queues.update(model);
    processes.update(model);
  }
  return { element, update };
}

function queueTable() {
  const headings = [["Queue", ""], ...STATES.map((state) => [state, "number"]),
    ["Oldest", "number"], ["", ""]];
  const rows = table("Queues", headings);
  const empty = h("p", { class: "empty" });
  const element = h("div", {}, rows.element, empty);

  function update(model) {
    const items = model.brokers.flatMap((broker, index) => broker.queues.map(
      (queue) => ({ ...queue, broker: index, now: model.now }),
    ));
    follow(rows.body, items, (item) => `${item.broker} ${item.name}`, queueRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0;
    text(empty, model.brokers.length === 0
      ? "This application has no Jobs object, so there are no queues."
      : "No job was enqueued yet. The first one makes its queue appear here.");
  }
  return { element, update };
}

function queueRow(item) {
  const base = `broker=${item.broker}&queue=${encodeURIComponent(item.name)}`;
  const name = h("a", { href: `#/jobs?${base}` }, item.name);
  const paused = h("span", { class: "badge", "data-state": "paused" }, "paused");
  const links = STATES.map((state) => h("a", { href: `#/jobs?${base}&state=${state}` }));
  const oldest = h("span");
  const button = h("button", {});
  const purge = purgeButton(() => now);
  let now = item;
  button.addEventListener("click", async () => {
    const action = now.paused ? "resume" : "pause";
    try {
      await act(`queues/${now.broker}/${action}?name=${encodeURIComponent(now.name)}`);
      toast(`${now.name}: ${action}d`);
    } catch (error) {
      toast(error.message, true);
    }
  });
  const row = h("tr", {},
    cell("Queue", "name", name, " ", paused),
    STATES.map((state, index) => cell(state, "number", links[index])),
    cell("Oldest", "number", oldest),
    cell("", "actions", button, " ", purge));
  row.update = (next) => {
    now = next;
    purge.hidden = unstarted(next) === 0 && !purge.dataset.asked;
    attribute(purge, "aria-label", `Purge ${next.name}`);
    paused.hidden = !next.paused;
    STATES.forEach((state, index) => {
      const value = next.counts[state] ?? 0;
      text(links[index], count(value));
      attribute(links[index], "class", value === 0 ? "zero" : `count count-${state}`);
      attribute(links[index], "aria-label", `${value} ${state} in ${next.name}`);
    });
    text(oldest, next.oldest_queued_at ? duration(next.now - next.oldest_queued_at) : "–");
    text(button, next.paused ? "Resume" : "Pause");
    attribute(button, "aria-label", `${next.paused ? "Resume" : "Pause"} ${next.name}`);
  };
  return row;
}

/** How many jobs of a queue a purge would cancel. */
function unstarted(queue) {
  return ["waiting", "scheduled", "queued"].reduce((sum, name) => sum + (queue.counts[name] ?? 0), 0);
}

/** Cancels a queue's jobs that have not begun, when it is pressed a second time. */
function purgeButton(queue) {
  const button = h("button", {}, "Purge");
  let timer = null;

  function rest() {
    clearTimeout(timer);
    delete button.dataset.asked;
    text(button, "Purge");
  }
  button.addEventListener("click", async () => {
    if (!button.dataset.asked) {
      button.dataset.asked = "yes";
      text(button, `Cancel ${count(unstarted(queue()))} jobs?`);
      timer = setTimeout(rest, 5000);
      return;
    }
    rest();
    const { broker, name } = queue();
    try {
      await act(`queues/${broker}/purge?name=${encodeURIComponent(name)}`);
      toast(`${name}: purged`);
    } catch (error) {
      toast(error.message, true);
    }
  });
  return button;
}

function processTable() {
  const rows = table("Web processes", [["Process", ""], ["Requests", "number"],
    ["Failed", "number"], ["Connections", "number"], ["Loop lag", "number"], ["Memory", "number"],
    ["Started", "number"]]);
  const empty = h("p", { class: "empty" }, "Measuring: the first figures come in a second.");
  const element = h("div", {}, rows.element, empty);

  function update(model) {
    const items = model.processes.map((one) => ({ ...one, now: model.now }));
    follow(rows.body, items, (one) => one.pid, processRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0;
  }
  return { element, update };
}

function processRow(item) {
  const values = ["Requests", "Failed", "Connections", "Loop lag", "Memory", "Started"].map(
    (label) => cell(label, "number"),
  );
  const row = h("tr", {}, cell("Process", "name", `pid ${item.pid}`), values);
  row.update = (next) => [
    count(next.requests), count(next.errors), count(next.connections), duration(next.lag),
    bytes(next.rss), relative(next.started_at, next.now),
  ].forEach((value, index) => text(values[index], value));
  return row;
}
