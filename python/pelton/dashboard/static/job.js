// One job in a dialog: what it was given, what became of it, and what can be done about it.

import { get } from "./api.js";
import { h, toast } from "./dom.js";
import { absolute, duration, relative } from "./format.js";
import { actionsFor, ENDED, perform, tookFor } from "./jobs.js";

const dialog = document.getElementById("detail");
let shown = null; // {broker, id, job}
let returnTo = "#/jobs";

dialog.addEventListener("close", () => {
  if (shown === null) return;
  shown = null;
  location.hash = returnTo;
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

/** Opens the dialog for a job; closing it leads back to where the reader was. */
export async function openJob(broker, id, model) {
  if (!dialog.open) returnTo = openJob.last ?? "#/jobs";
  shown = { broker, id, job: null };
  dialog.replaceChildren(h("p", { class: "quiet" }, "Loading…"));
  if (!dialog.open) dialog.showModal();
  await refresh(model);
}

/** Closes it without leading anywhere: the address has changed already. */
export function closeJob() {
  openJob.last = location.hash || "#/";
  shown = null;
  if (dialog.open) dialog.close();
}

/** Once a second: a job that has not ended is read again. */
export function tickJob(model) {
  if (shown !== null && shown.job !== null && !ENDED.has(shown.job.state)) refresh(model);
}

async function refresh(model) {
  const asked = shown;
  try {
    const job = await get(`jobs/${asked.broker}/${asked.id}`);
    if (shown !== asked) return;
    const before = JSON.stringify(asked.job);
    asked.job = job;
    if (JSON.stringify(job) !== before || job.state === "running") draw(job, model);
  } catch (error) {
    if (shown !== asked) return;
    dialog.replaceChildren(head(h("span", {}, asked.id)), h("p", { class: "problem" }, error.message));
  }
}

function draw(job, model) {
  const focused = dialog.contains(document.activeElement)
    ? document.activeElement.dataset?.action : null;
  const open = [...dialog.querySelectorAll("details")].filter((one) => one.open)
    .map((one) => one.dataset.name);
  job.now = model.now;
  dialog.replaceChildren(...parts(job, model));
  for (const one of dialog.querySelectorAll("details")) {
    if (open.includes(one.dataset.name)) one.open = true;
  }
  if (focused) dialog.querySelector(`[data-action="${focused}"]`)?.focus();
}

function parts(job, model) {
  const running = job.state === "running" && job.progress !== null;
  return [
    head(h("span", { class: "badge", "data-state": job.state }, job.state), " ", job.task),
    running ? h("p", {}, h("progress", { max: 1, value: job.progress }), ` ${job.message ?? ""}`)
      : null,
    facts(job),
    job.error === null ? null : failure(job.error),
    block("Arguments", job.payload?.args ?? job.payload),
    job.result === null ? null : block("Result", job.result),
    h("section", {}, h("h3", {}, "History"), h("ol", { class: "history" }, job.history.map(
      (step) => h("li", {}, h("time", { title: absolute(step.at) },
        step.at === null ? "" : clock(step.at)), " ", step.what),
    ))),
    buttons(job, model),
  ].filter((part) => part !== null);
}

function head(...title) {
  return h("header", {},
    h("h2", { id: "detail-title" }, ...title),
    h("button", { class: "close", "aria-label": "Close", "data-action": "close",
      onclick: () => dialog.close() }, "×"));
}

function facts(job) {
  const rows = [
    ["Id", h("code", {}, job.id)],
    ["Queue", job.queue],
    ["Attempt", `${job.attempt} of ${job.max_retries + 1}`],
    ["Took", tookFor(job)],
    ["Enqueued", `${absolute(job.created_at)} (${relative(job.created_at, job.now)})`],
    ["Priority", job.priority === 0 ? null : String(job.priority)],
    ["Timeout", job.timeout === null ? null : duration(job.timeout)],
    ["Key", job.key],
    ["Workflow", job.group],
    ["Waits for signal", job.signal],
    ["Limited by", job.limit_key],
    ["Worker", job.worker],
    ["Reason", job.reason],
  ].filter(([, value]) => value);
  return h("dl", { class: "facts" }, rows.flatMap(
    ([label, value]) => [h("dt", {}, label), h("dd", {}, value)],
  ));
}

function failure(error) {
  const traceback = typeof error === "object" ? error.traceback : "";
  const line = typeof error === "object" ? `${error.type}: ${error.message}` : String(error);
  return h("section", {}, h("h3", {}, "Error of the last failed attempt"),
    h("p", { class: "failure" }, line),
    traceback ? h("details", { "data-name": "traceback" }, h("summary", {}, "Traceback"),
      h("pre", { tabindex: 0 }, traceback)) : null);
}

function block(title, value) {
  const written = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return h("section", {}, h("h3", {}, title), h("pre", { tabindex: 0 }, written));
}

function buttons(job, model) {
  const actions = actionsFor(job);
  return h("p", { class: "buttons" },
    actions.map((action) => h("button", {
      class: action === "retry" ? "primary" : "",
      "data-action": action,
      onclick: async () => {
        const { broker } = shown;
        if (!await perform(action, broker, job.id)) return;
        if (action === "delete") dialog.close();
        else await refresh(model);
      },
    }, action[0].toUpperCase() + action.slice(1))),
    h("button", {
      "data-action": "copy",
      onclick: () => navigator.clipboard.writeText(job.id).then(
        () => toast("Id copied"), () => toast("The browser does not let this page copy", true),
      ),
    }, "Copy id"));
}

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString(undefined, { hour12: false });
}
