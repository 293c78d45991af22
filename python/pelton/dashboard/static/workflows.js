// Workflows: how far each of the newest is, live, and their end.

import { act, get } from "./api.js";
import { attribute, cell, follow, h, table, text, toast } from "./dom.js";
import { absolute, count, relative } from "./format.js";

const REFRESH_MS = 5000; // The server reads many jobs for it.
const ENDED = ["succeeded", "dead", "cancelled"];

export function workflows(model) {
  const state = { found: [], mark: null, busy: false, loadedAt: -Infinity };
  const rows = table("Workflows", [["Workflow", ""], ["Progress", ""], ["Jobs", "number"],
    ["Running", "number"], ["Failed", "number"], ["Enqueued", "number"], ["", ""]]);
  const empty = h("div", { class: "empty" },
    h("p", {}, "Among the newest jobs there is no workflow."),
    h("p", {}, "Make one of tasks: ", h("code", {}, "await chain(a.s(1), b.s()).enqueue()")));
  const element = h("section", {}, h("h1", {}, "Workflows"), rows.element, empty);

  async function load() {
    if (state.busy) return;
    state.busy = true;
    state.loadedAt = performance.now();
    try {
      state.found = (await get("workflows")).workflows;
    } catch (error) {
      toast(error.message, true);
    } finally {
      state.busy = false;
    }
    draw();
  }

  function draw() {
    const items = state.found.map((one) => ({ ...one, now: model.now, reload: load }));
    follow(rows.body, items, (one) => `${one.broker} ${one.id}`, workflowRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0 || state.mark === null;
  }

  /** Loads again, not too often, when the counts changed, or while something is under way. */
  function update() {
    const mark = JSON.stringify(model.brokers.map((broker) => broker.queues));
    const isOld = mark !== state.mark || state.found.some((one) => !isOver(one));
    if (isOld && !state.busy && performance.now() - state.loadedAt >= REFRESH_MS) {
      state.mark = mark;
      load();
    }
    draw();
  }
  return { element, update };
}

function total(counts) {
  return Object.values(counts).reduce((sum, number) => sum + number, 0);
}

function ended(counts) {
  return ENDED.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
}

function isOver(workflow) {
  return ended(workflow.counts) === total(workflow.counts);
}

function workflowRow(item) {
  const link = h("a", { href: `#/jobs?broker=${item.broker}&group=${item.id}` },
    item.tasks.join(", "));
  const bar = h("progress", { "aria-label": "progress" });
  const share = h("span", {});
  const numbers = ["Jobs", "Running", "Failed"].map((label) => cell(label, "number"));
  const age = cell("Enqueued", "number");
  const cancel = h("button", { onclick: () => end(item) }, "Cancel");
  const row = h("tr", {}, cell("Workflow", "name", link, h("small", {}, item.id)),
    cell("Progress", "", bar, " ", share), numbers, age, cell("", "actions", cancel));
  row.update = (now) => {
    const [done, all] = [ended(now.counts), total(now.counts)];
    attribute(bar, "max", all);
    attribute(bar, "value", done);
    text(share, `${done} of ${all}`);
    [all, now.counts.running ?? 0, (now.counts.dead ?? 0) + (now.counts.cancelled ?? 0)].forEach(
      (number, index) => text(numbers[index], count(number)),
    );
    text(age, relative(now.created_at, now.now));
    attribute(age, "title", absolute(now.created_at));
    cancel.hidden = isOver(now);
  };
  return row;
}

async function end(item) {
  try {
    await act(`workflows/${item.broker}/cancel?name=${encodeURIComponent(item.id)}`);
    toast("Cancelled");
  } catch (error) {
    toast(error.message, true);
  }
  item.reload();
}
