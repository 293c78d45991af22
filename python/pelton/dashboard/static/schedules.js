// Schedules: what fires when.

import { attribute, cell, follow, h, table, text } from "./dom.js";
import { absolute, duration, relative } from "./format.js";

export function schedules(model) {
  const rows = table("Schedules", [["Schedule", ""], ["When", ""], ["Queue", ""],
    ["Next", "number"], ["Last", "number"]]);
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
  const row = h("tr", {}, cell("Schedule", "name", item.name, task), when,
    cell("Queue", "", item.queue), next, cell("Last", "number", last, never));
  row.update = (now) => {
    when.replaceChildren(...describe(now));
    text(next, relative(now.next_at, now.now));
    attribute(next, "title", absolute(now.next_at));
    last.hidden = now.last_job === null;
    never.hidden = now.last_at !== null;
    text(last, relative(now.last_at, now.now));
    attribute(last, "title", absolute(now.last_at));
    attribute(last, "href", `#/job/${now.broker}/${now.last_job}`);
  };
  return row;
}

function describe(schedule) {
  if (schedule.cron === null) return [`every ${duration(schedule.every)}`];
  return [h("code", {}, schedule.cron), ` ${schedule.tz}`];
}
