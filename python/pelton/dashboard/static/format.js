// Numbers and times as people read them.

const SI = [[1e9, "G"], [1e6, "M"], [1e4, "k"]];

/** A count: 9 999, then 12.3k. */
export function count(value) {
  for (const [size, unit] of SI) {
    if (value >= size) {
      const scale = unit === "k" ? 1e3 : size;
      return `${(value / scale).toFixed(1)}${unit}`;
    }
  }
  return Math.round(value).toLocaleString("en").replace(",", "\u2009");
}

/** A rate: two digits below ten. */
export function rate(value) {
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : count(value);
}

/** Seconds as 850 µs, 12 ms, 3.4 s, 5 min, 2 h, 3 d. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0000005) return "0";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)}\u2009µs`;
  if (seconds < 0.01) return `${(seconds * 1e3).toFixed(1)}\u2009ms`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)}\u2009ms`;
  if (seconds < 10) return `${seconds.toFixed(1)}\u2009s`;
  if (seconds < 120) return `${Math.round(seconds)}\u2009s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}\u2009min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)}\u2009h`;
  return `${Math.round(seconds / 86400)}\u2009d`;
}

/** A time beside now: `3 s ago`, `in 5 min`. */
export function relative(at, now) {
  if (at === null || at === undefined) return "–";
  const seconds = now - at;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

/** A time as the reader's clock shows it, with the date. */
export function absolute(at) {
  if (at === null || at === undefined) return "";
  return new Date(at * 1000).toLocaleString(undefined, {
    dateStyle: "medium",
    timeStyle: "medium",
  });
}

/** Bytes as 12 MB. */
export function bytes(value) {
  if (value < 1e6) return `${Math.round(value / 1e3)}\u2009kB`;
  if (value < 1e9) return `${Math.round(value / 1e6)}\u2009MB`;
  return `${(value / 1e9).toFixed(1)}\u2009GB`;
}
