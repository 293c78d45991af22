// The page's frame: which view is shown, and what the server tells once a second.

import { get, listen } from "./api.js";
import { attribute, text } from "./dom.js";
import { closeJob, openJob, tickJob } from "./job.js";
import { jobs } from "./jobs.js";
import { overview } from "./overview.js";
import { schedules } from "./schedules.js";
import { workers } from "./workers.js";
import { workflows } from "./workflows.js";

const POINTS = 302;
const VIEWS = { "": overview, jobs, workflows, workers, schedules };

/** What all views read: the server's last word, and the history of both charts' sources. */
const model = { now: Date.now() / 1000, brokers: [], processes: [], history: [], work: [] };
let view = null;
let name = null;

function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [head, ...rest] = path.split("/");
  if (head === "job" && rest.length === 2) {
    openJob(Number(rest[0]), decodeURIComponent(rest[1]), model);
    if (view === null) show("jobs", new URLSearchParams());
    return;
  }
  closeJob();
  show(head in VIEWS ? head : "", new URLSearchParams(search));
}

function show(wanted, query) {
  if (name !== wanted) {
    name = wanted;
    view = VIEWS[wanted](model);
    document.getElementById("view").replaceChildren(view.element);
    for (const link of document.querySelectorAll("nav a")) {
      const own = link.getAttribute("href") === `#/${wanted}`;
      attribute(link, "aria-current", own ? "page" : null);
    }
  }
  view.query?.(query);
  view.update();
}

function receive(state) {
  const problem = document.getElementById("problem");
  problem.hidden = !state.problem;
  text(problem, state.problem ? `The broker does not answer: ${state.problem}` : "");
  if (state.problem) return;
  remember(state);
  Object.assign(model, { now: state.now, brokers: state.brokers, processes: state.processes });
  view?.update();
  tickJob(model);
}

/** Adds the newest points to the charts' histories. */
function remember(state) {
  if (state.point && state.point.at !== model.history.at(-1)?.at) model.history.push(state.point);
  const done = new Map();
  for (const [index, broker] of state.brokers.entries()) {
    for (const one of broker.workers) done.set(`${index} ${one.name}`, one);
  }
  const last = model.work.at(-1);
  const point = { at: state.now, done, processed: null, failed: null };
  if (last !== undefined && state.now > last.at) {
    const seconds = state.now - last.at;
    point.processed = growth(last.done, done, "processed") / seconds;
    point.failed = growth(last.done, done, "failed") / seconds;
    last.done = null;
  }
  model.work.push(point);
  for (const list of [model.history, model.work]) list.splice(0, list.length - POINTS);
}

/** How much a counter grew, over the workers that were there before and still are. */
function growth(before, after, counter) {
  let sum = 0;
  for (const [key, one] of after) {
    const old = before.get(key);
    if (old !== undefined) sum += Math.max(0, one[counter] - old[counter]);
  }
  return sum;
}

function link(word) {
  const element = document.getElementById("link");
  element.dataset.state = word;
  text(element, word);
}

window.addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => {
  // The hash names the view; it cannot name the content too.
  event.preventDefault();
  document.getElementById("content").focus();
});
route();
get("overview").then((state) => {
  model.history.push(...state.history);
  receive(state);
}, () => link("reconnecting")).finally(() => listen(receive, link));
