// Schedules: what fires when.

import { act } from "./api.js";
import { attribute, cell, follow, h, table, text, toast } from "./dom.js";
import { absolute, duration, relative } from "./format.js";

export function schedules(model) {
  const rows = table("Schedules", [["Schedule", ""], ["When", ""], ["Queue", ""],
    ["Next", "number"], ["Last", "number"], ["", ""]]);
  const empty = h("div", { class: "empty" },
    h("p", {}, "Nothing is on a schedule."),
    h("p", {}, "Put ", h("code", {}, '@jobs.cron("0 3 * * *")'), " or ",
      h("code", {}, "@jobs.every(30)"), " above a function."));
  const element = h("section", {}, h("h1", {}, "Schedules"), rows.element, empty);

  function update() {
    const items = model.brokers.flatMap((broker, index) => broker.schedules.map(
      (schedule) => ({ ...schedule, broker: index, now: model.now }),
    ));
    follow(rows.body, items, (one) => `${one.broker} ${one.name}`, scheduleRow);
    rows.element.hidden = items.length === 0;
    empty.hidden = items.length > 0;
  }
  return { element, update };
}

function scheduleRow(item) {
  const when = cell("When", "");
  const next = cell("Next", "number");
  const last = h("a", {});
  const never = h("span", {}, "never");
  const task = item.task === item.name ? null : h("small", {}, item.task);
  const pause = button("Pause", () => perform(item, pause.dataset.action));
  const row = h("tr", {}, cell("Schedule", "name", item.name, task), when,
    cell("Queue", "", item.queue), next, cell("Last", "number", last, never),
    cell("", "actions", pause, " ", button("Run now", () => perform(item, "run"))));
  row.update = (now) => {
    when.replaceChildren(...describe(now));
    pause.dataset.action = now.paused ? "resume" : "pause";
    text(pause, now.paused ? "Resume" : "Pause");
    text(next, now.paused ? "paused" : relative(now.next_at, now.now));
    attribute(next, "title", absolute(now.next_at));
    last.hidden = now.last_job === null;
    never.hidden = now.last_at !== null;
    text(last, relative(now.last_at, now.now));
    attribute(last, "title", absolute(now.last_at));
    attribute(last, "href", `#/job/${now.broker}/${now.last_job}`);
  };
  return row;
}

function button(label, onclick) {
  return h("button", { onclick }, label);
}

async function perform(item, action) {
  try {
    await act(`schedules/${item.broker}/${action}?name=${encodeURIComponent(item.name)}`);
    toast({ run: "Enqueued", pause: "Paused", resume: "Resumed" }[action]);
  } catch (error) {
    toast(error.message, true);
  }
}

function describe(schedule) {
  if (schedule.cron === null) return [`every ${duration(schedule.every)}`];
  if (schedule.cron.startsWith("@at ")) {
    return [`once, ${absolute(Number(schedule.cron.slice(4)) / 1e6)}`];
  }
  if (schedule.cron.startsWith("@")) return [h("code", {}, schedule.cron.slice(1))];
  return [h("code", {}, schedule.cron), ` ${schedule.tz}`];
}
