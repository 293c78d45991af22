// The JSON below `api/`, and the stream of what happens.

/** GET; throws an Error with the server's words. */
export async function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
  const search = new URLSearchParams(given).toString();
  return answer(await fetch(`api/${path}${search ? `?${search}` : ""}`));
}

/** POST of an action; throws an Error with the server's words. */
export async function act(path) {
  return answer(await fetch(`api/${path}`, {
    method: "POST",
    headers: { "x-pelton-dashboard": "1" },
  }));
}

/** Calls `receive(state)` once a second, and `link(word)` when the connection comes or goes. */
export function listen(receive, link) {
  const source = new EventSource("api/events");
  source.onopen = () => link("live");
  source.onerror = () => {
    link("reconnecting");
    // The browser tries again by itself, but not after an answer that was no stream.
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => listen(receive, link), 3000);
    }
  };
  source.onmessage = (event) => receive(JSON.parse(event.data));
}

async function answer(response) {
  if (response.ok) return response.json();
  if (response.status === 401) location.assign("login");
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // Not ours: a proxy's page, say. The status is all there is.
  }
  throw new Error(detail);
}
