// Jobs: the newest, filtered, with retry and cancel.

import { act, get } from "./api.js";
import { attribute, cell, follow, h, table, text, toast } from "./dom.js";
import { absolute, duration, relative } from "./format.js";

const STATES = ["waiting", "scheduled", "queued", "running", "succeeded", "dead", "cancelled"];
const FIELDS = ["broker", "state", "queue", "task", "group"];
const PAGE = 50;

export const ENDED = new Set(["succeeded", "dead", "cancelled"]);

/** Which actions a job's state allows. */
export function actionsFor(job) {
  if (job.state === "dead" || job.state === "cancelled") return ["retry", "delete"];
  if (job.state === "succeeded") return ["delete"];
  return job.cancel_requested ? [] : ["cancel"];
}

/** Does it, and says how it went; whether it was done. */
export async function perform(action, broker, id) {
  try {
    await act(`jobs/${broker}/${id}/${action}`);
    toast({ retry: "Queued again", cancel: "Cancelled", delete: "Deleted" }[action]);
    return true;
  } catch (error) {
    toast(error.message, true);
    return false;
  }
}

export function jobs(model) {
  const state = { filters: {}, jobs: [], more: false, loaded: 0, mark: null, busy: false };
  const filters = filterForm(model);
  const rows = table("Jobs", [["State", ""], ["Task", ""], ["Queue", ""], ["Attempt", "number"],
    ["Enqueued", "number"], ["Took", "number"], ["", ""]]);
  const empty = h("p", { class: "empty" });
  const older = h("button", { onclick: () => load(true) }, "Older");
  const element = h("section", {}, h("h1", {}, "Jobs"), filters.element, rows.element, empty,
    h("p", { class: "pager" }, older));

  async function load(further = false) {
    if (state.busy) return;
    state.busy = true;
    const asked = { ...state.filters };
    try {
      const before = further ? state.jobs.at(-1)?.id ?? "" : "";
      const limit = further ? PAGE : Math.max(PAGE, Math.min(state.loaded, 200));
      const found = await get("jobs", { ...asked, limit, before });
      state.jobs = further ? [...state.jobs, ...found.jobs] : found.jobs;
      state.loaded = state.jobs.length;
      state.more = found.more;
      filters.learn(found.jobs);
    } catch (error) {
      toast(error.message, true);
    } finally {
      state.busy = false;
    }
    draw();
    if (JSON.stringify(asked) !== JSON.stringify(state.filters)) load();
  }

  function draw() {
    const items = state.jobs.map((job) => ({
      ...job, broker: Number(state.filters.broker ?? 0), now: model.now, reload: load,
    }));
    follow(rows.body, items, (job) => job.id, jobRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0 || state.mark === null;
    const narrowed = ["state", "queue", "task", "group"].some((field) => state.filters[field]);
    text(empty, narrowed ? "No job matches these filters." : "No jobs yet.");
    older.hidden = !state.more;
  }

  /** Loads again when the counts of the broker changed, or while something shown still runs. */
  function update() {
    filters.update(model);
    const broker = model.brokers[Number(state.filters.broker ?? 0)];
    const mark = JSON.stringify([broker?.queues, broker?.workers.map((one) => one.processed)]);
    const runs = state.jobs.some((job) => job.state === "running");
    // Who has turned pages reads; what is on the screen stays.
    if (state.loaded <= 200 && (mark !== state.mark || runs)) load();
    state.mark = mark;
    draw();
  }

  function query(params) {
    state.filters = Object.fromEntries(
      FIELDS.map((field) => [field, params.get(field) ?? ""]).filter(([, value]) => value),
    );
    state.loaded = 0;
    filters.set(state.filters);
    load();
  }
  return { element, update, query };
}

function filterForm(model) {
  const state = h("select", { name: "state" }, h("option", { value: "" }, "any state"),
    STATES.map((name) => h("option", {}, name)));
  const queue = h("select", { name: "queue" }, h("option", { value: "" }, "any queue"));
  const broker = h("select", { name: "broker" });
  const known = h("datalist", { id: "known-tasks" });
  const task = h("input", { name: "task", type: "search", placeholder: "any task",
    list: "known-tasks", autocomplete: "off", spellcheck: "false" });
  const brokerField = field("Broker", broker);
  const element = h("form", { class: "filters", onchange: go, onsubmit: go },
    brokerField, field("State", state), field("Queue", queue), field("Task", task), known);

  function go(event) {
    event.preventDefault();
    const given = [...new FormData(element)].filter(([, value]) => value && value !== "0");
    const search = new URLSearchParams(given).toString();
    location.hash = `#/jobs${search ? `?${search}` : ""}`;
  }

  function options(select, names) {
    const known = new Set([...select.options].map((option) => option.value));
    for (const [value, label] of names) {
      if (!known.has(value)) select.append(h("option", { value }, label));
    }
  }

  function update() {
    options(broker, model.brokers.map((one, index) => [String(index), one.url]));
    brokerField.hidden = model.brokers.length < 2;
    const shown = model.brokers[Number(broker.value || 0)];
    options(queue, (shown?.queues ?? []).map((one) => [one.name, one.name]));
  }

  function set(filters) {
    update();
    if (filters.queue) options(queue, [[filters.queue, filters.queue]]);
    for (const input of [state, queue, task]) input.value = filters[input.name] ?? "";
    broker.value = filters.broker ?? "0";
  }

  /** Offers the tasks of these jobs for choosing. */
  function learn(jobs) {
    const names = new Set([...known.children].map((option) => option.value));
    for (const job of jobs) {
      if (!names.has(job.task)) known.append(h("option", { value: job.task }));
      names.add(job.task);
    }
  }
  return { element, update, set, learn };
}

function field(label, input) {
  return h("label", {}, h("span", {}, label), input);
}

function jobRow(item) {
  const badge = h("span", { class: "badge" });
  const progress = h("progress", { max: 1, "aria-label": "progress" });
  const message = h("small");
  const [attempt, enqueued, took] = ["Attempt", "Enqueued", "Took"].map(
    (label) => cell(label, "number"),
  );
  const actions = cell("", "actions");
  const row = h("tr", {},
    cell("State", "", badge),
    cell("Task", "name", h("a", { href: `#/job/${item.broker}/${item.id}` }, item.task),
      progress, message),
    cell("Queue", "", item.queue), attempt, enqueued, took, actions);
  let shown = "";
  row.update = (job) => {
    text(badge, job.cancel_requested && job.state === "running" ? "stopping" : job.state);
    attribute(badge, "data-state", job.state);
    const running = job.state === "running";
    progress.hidden = !running || job.progress === null;
    if (job.progress !== null) attribute(progress, "value", job.progress);
    message.hidden = !running || !job.message;
    text(message, job.message ?? "");
    text(attempt, `${job.attempt} of ${job.max_retries + 1}`);
    text(enqueued, relative(job.created_at, job.now));
    attribute(enqueued, "title", absolute(job.created_at));
    text(took, tookFor(job));
    const wanted = actionsFor(job).filter((action) => action !== "delete");
    if (wanted.join() === shown) return;
    shown = wanted.join();
    actions.replaceChildren(...wanted.map((action) => h("button", {
      "aria-label": `${action} ${job.task}`,
      onclick: async () => {
        if (await perform(action, job.broker, job.id)) job.reload();
      },
    }, action[0].toUpperCase() + action.slice(1))));
  };
  return row;
}

/** How long the last attempt took, or takes; when the next one comes. */
export function tookFor(job) {
  if (job.state === "scheduled") return relative(job.run_at, job.now);
  if (job.started_at === null) return "–";
  if (job.finished_at !== null) return duration(job.finished_at - job.started_at);
  return job.state === "running" ? duration(Math.max(0, job.now - job.started_at)) : "–";
}
