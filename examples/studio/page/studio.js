// The studio's page: an account, uploads, and photos that become ready while one watches.

const $ = (id) => document.getElementById(id);
const cards = new Map(); // photo id -> {element, show}
const UPLOADS = 3; // at a time

let session = JSON.parse(localStorage.getItem("studio") ?? "null"); // {name, token}
let socket = null;

// --- the server

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (session) headers.authorization = `Bearer ${session.token}`;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401 && session) leave();
  if (!response.ok) throw new Error(await reason(response));
  return response.status === 204 ? null : response.json();
}

async function reason(response) {
  try {
    const { detail } = await response.json();
    return typeof detail === "string" ? detail : detail.map((one) => one.msg).join("; ");
  } catch {
    return `The server answered ${response.status}.`;
  }
}

// --- the account

$("account").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const [name, password] = [form.get("name"), form.get("password")];
  const registers = event.submitter?.value === "register";
  $("refusal").hidden = true;
  try {
    const token = registers
      ? await call("register", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name, password }),
      })
      : await call("token", {
        method: "POST", body: new URLSearchParams({ username: name, password }),
      });
    session = { name, token: token.access_token };
    localStorage.setItem("studio", JSON.stringify(session));
    event.target.reset();
    await enter();
  } catch (error) {
    $("refusal").textContent = error.message;
    $("refusal").hidden = false;
  }
});

$("leave").addEventListener("click", () => leave());

function leave() {
  session = null;
  localStorage.removeItem("studio");
  socket?.close();
  socket = null;
  cards.clear();
  $("photos").replaceChildren();
  $("viewer").close();
  show();
}

function show() {
  $("door").hidden = session !== null;
  $("studio").hidden = session === null;
  $("who").hidden = session === null;
  $("name").textContent = session?.name ?? "";
}

async function enter() {
  show();
  if (session === null) return;
  const photos = await call("photos");
  for (const photo of photos.toReversed()) card(photo.id).show({ photo });
  connect();
  empty();
}

function empty() {
  $("none").hidden = cards.size > 0;
}

// --- progress

function connect() {
  const address = new URL("progress", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  const own = socket;
  own.addEventListener("open", () => {
    own.send(JSON.stringify({ token: session.token }));
    for (const [id, one] of cards) if (one.unfinished()) follow(id);
  });
  own.addEventListener("message", (event) => {
    const news = JSON.parse(event.data);
    cards.get(news.photo.id)?.show(news);
  });
  own.addEventListener("close", (event) => {
    if (own !== socket || session === null) return;
    if (event.code === 1008) leave();
    else setTimeout(() => session && own === socket && enter(), 1500);
  });
}

function follow(id) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ follow: id }));
}

// --- photos

function card(id) {
  if (cards.has(id)) return cards.get(id);
  const element = $("card").content.firstElementChild.cloneNode(true);
  const [frame, image, working] = ["button", "img", ".working"].map(
    (name) => element.querySelector(name),
  );
  const [title, bar, note] = ["strong", "progress", "small"].map(
    (name) => element.querySelector(name),
  );
  let last = null;

  function show({ photo, made = null, of = 3, notice = null }) {
    last = photo;
    element.dataset.state = photo.state;
    title.textContent = photo.title;
    const ready = photo.state === "ready";
    if (ready && image.hidden) {
      image.src = photo.sizes[Math.min(...Object.keys(photo.sizes).map(Number))];
      image.alt = photo.title;
      image.hidden = false;
    }
    frame.disabled = !ready;
    frame.setAttribute("aria-label", ready ? `Open ${photo.title}` : photo.title);
    working.hidden = photo.state !== "processing";
    bar.hidden = photo.state !== "processing";
    bar.value = (made ?? 0) / of;
    [note.textContent, note.dataset.tone] = words(photo, made, of, notice);
  }
  frame.addEventListener("click", () => view(last));
  const entry = {
    element,
    show,
    uploading(name, share) {
      title.textContent = name;
      bar.value = share;
      note.textContent = share < 1 ? `uploading, ${Math.round(share * 100)} %` : "checking";
    },
    unfinished: () => last?.state === "processing" || (last?.state === "ready" && !last.notified),
  };
  cards.set(id, entry);
  $("photos").prepend(element);
  empty();
  return entry;
}

function words(photo, made, of, notice) {
  if (photo.state === "failed") return [photo.problem ?? "This did not work.", "bad"];
  if (photo.state === "processing") {
    return [made === null ? "waiting" : `${made} of ${of} sizes made`, ""];
  }
  if (photo.notified) return ["ready, and you were told", "good"];
  if (notice?.state === "scheduled") return [`ready; telling you, try ${notice.attempt + 1}`, ""];
  if (notice?.state === "dead") return ["ready; we could not tell you", "bad"];
  return ["ready", "good"];
}

// --- uploads

const queue = [];
let uploading = 0;

function add(files) {
  $("refused").replaceChildren();
  queue.push(...files);
  while (uploading < UPLOADS && queue.length > 0) next();
}

async function next() {
  const file = queue.shift();
  if (file === undefined) return;
  uploading += 1;
  const temporary = `upload ${crypto.randomUUID?.() ?? Math.random()}`;
  const entry = card(temporary);
  entry.uploading(file.name, 0);
  try {
    const photo = await send(file, (share) => entry.uploading(file.name, share));
    cards.delete(temporary);
    cards.set(photo.id, entry);
    entry.show({ photo });
    follow(photo.id);
  } catch (error) {
    cards.delete(temporary);
    entry.element.remove();
    const item = document.createElement("li");
    item.textContent = `${file.name}: ${error.message}`;
    $("refused").append(item);
    empty();
  } finally {
    uploading -= 1;
    next();
  }
}

/** Uploads with XMLHttpRequest: fetch does not tell how far an upload is. */
function send(file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "photos");
    request.setRequestHeader("authorization", `Bearer ${session.token}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new Error("the connection broke"));
    request.onload = () => {
      if (request.status === 201) resolve(request.response);
      else if (request.status === 401) leave();
      else reject(new Error(request.response?.detail ?? `the server answered ${request.status}`));
    };
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}

$("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  $("drop").addEventListener(name, () => $("drop").classList.remove("over"));
}
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  add([...event.dataTransfer.files]);
});

// --- one photo, large

let viewed = null;

function view(photo) {
  viewed = photo;
  const widths = Object.keys(photo.sizes).map(Number).sort((a, b) => a - b);
  $("viewer-picture").src = photo.sizes[widths.at(-1)];
  $("viewer-picture").alt = photo.title;
  $("viewer-title").textContent = photo.title;
  $("viewer-sizes").replaceChildren(...widths.map((width) => {
    const link = document.createElement("a");
    link.href = photo.sizes[width];
    link.target = "_blank";
    link.textContent = `${width} px`;
    return link;
  }));
  $("viewer").showModal();
}

$("close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("click", (event) => {
  if (event.target === $("viewer")) $("viewer").close();
});
$("delete").addEventListener("click", async () => {
  try {
    await call(`photos/${viewed.id}`, { method: "DELETE" });
    cards.get(viewed.id)?.element.remove();
    cards.delete(viewed.id);
    empty();
  } catch (error) {
    $("viewer-title").textContent = error.message;
    return;
  }
  $("viewer").close();
});

enter().catch(() => show());
