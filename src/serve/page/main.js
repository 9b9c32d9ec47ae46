// What is shown, when the daemon is asked, and what the user does.

const POLL_MS = 2000;
const EVENTS = 30;
const HISTORY_S = 3600;
// Schedules and long histories change slowly.
const SLOW_MS = 60000;

// What the user has chosen.
const view = { service: null, search: "", trouble: false, kind: "", range: "hour", pointed: null };
// What the daemon has said. `lost` is the error while it says nothing.
const seen = { status: null, events: null, detail: null, course: null, at: null, lost: null };
const histories = new Map();
// The answers of slow routes: { at, value } by path.
const kept = new Map();

const historyOf = (name) => histories.get(name) || [];
const toPoint = ([at, load, ready, desired, forecast = null]) => ({ at, load, ready, desired, forecast });

// The history of the daemon, then one point for each check interval.
function follow(service, now, interval) {
  const history = historyOf(service.name);
  const last = history[history.length - 1];
  if (!last || last.at + interval * 0.9 <= now) {
    const metric = fullest(service);
    const load = metric && ratio(metric);
    history.push({ at: now, load, ready: service.ready, desired: service.desired, forecast: null });
  }
  const fresh = history.findIndex((point) => now - HISTORY_S <= point.at);
  history.splice(0, Math.max(0, fresh));
  histories.set(service.name, history);
}

function followAll(status, now) {
  const names = new Set(status.services.map((service) => service.name));
  for (const name of histories.keys()) if (!names.has(name)) histories.delete(name);
  for (const service of status.services) follow(service, now, status.check_interval_s);
}

async function loadHistory() {
  const all = await ask("/history", orders.token);
  histories.clear();
  kept.clear();
  for (const [name, points] of Object.entries(all)) histories.set(name, points.map(toPoint));
}

// What one route refuses, another may still answer.
async function optional(path) {
  try {
    return await ask(path, orders.token);
  } catch (err) {
    if (err instanceof Refused) return err;
    throw err;
  }
}

const known = (answer) => (answer instanceof Refused ? null : answer);

async function slow(path) {
  const old = kept.get(path);
  if (old && Date.now() < old.at + SLOW_MS) return old.value;
  const fresh = known(await optional(path));
  kept.set(path, { at: Date.now(), value: fresh });
  return fresh;
}

async function askDetail(name) {
  const base = "/services/" + encodeURIComponent(name);
  const { range } = view;
  const path = "/history?service=" + encodeURIComponent(name) + "&range=" + range;
  const [stats, explain, schedule, course] = await Promise.all([
    optional(base + "/stats"), optional(base + "/explain"), slow(base + "/schedule"),
    range === "hour" ? null : slow(path)]);
  const points = course && course[name];
  return { range, detail: { stats: known(stats), explain, schedule: Array.isArray(schedule) ? schedule : null },
    course: points ? points.map(toPoint) : null };
}

function eventsPath() {
  const service = view.service === null ? "" : "&service=" + encodeURIComponent(view.service);
  const kind = view.kind ? "&kind=" + encodeURIComponent(view.kind + ".*") : "";
  return "/events?limit=" + EVENTS + service + kind;
}

async function askAll() {
  // After an outage too: another daemon has another history.
  if (seen.at === null || seen.lost) await loadHistory();
  const wanted = view.service;
  const [status, events, own] = await Promise.all([
    ask("/status", orders.token), optional(eventsPath()), wanted === null ? null : askDetail(wanted)]);
  const now = toSeconds(status.at);
  followAll(status, now);
  Object.assign(seen, { status, events: known(events), at: now, lost: null });
  // The user may have gone on to another page or range meanwhile.
  if (own && wanted === view.service) seen.detail = own.detail;
  if (own && wanted === view.service && own.range === view.range) seen.course = own.course;
}

let asking = Promise.resolve();

// One at a time: an answer that was asked for before an order must not replace a later one.
function refresh() {
  asking = asking.then(askAll).catch((err) => {
    seen.lost = err;
  }).then(render);
  return asking;
}

function content(status, problems) {
  if (!status) return [noticeList(null)];
  const page = view.service === null
    ? [problemPanel(problems, seen.at), servicesPanel(status, problems, seen.at),
      certificatesPanel(status, seen.at), eventsPanel(seen.at)]
    : servicePage(status, problems, seen.at);
  return [noticeList(status), ...page];
}

function draw() {
  const focused = document.activeElement;
  const { status } = seen;
  if (!status && !seen.lost) return;
  const problems = status ? status.problems : [];
  document.body.classList.toggle("lost", Boolean(seen.lost));
  showHeader(status, problems);
  setChildren(document.querySelector("main"), content(status, problems).filter(Boolean));
  // Moved rows lose the focus; a confirmation that has gone gives it back to its button.
  if (focused === document.body || document.activeElement === focused) return;
  const asked = focused.closest(".confirm") && document.querySelector("[data-ask]");
  const heir = focused.isConnected ? focused : asked;
  if (heir) heir.focus({ preventScroll: true });
}

// What this page does not understand is said, and does not end it.
function render() {
  try {
    draw();
  } catch (err) {
    const summary = document.querySelector(".summary");
    summary.className = "summary bad";
    setChildren(summary, [document.createTextNode("This page cannot show what the daemon says: " + err.message)]);
  }
}

let overviewTop = 0;

function nameInAddress() {
  const text = location.hash.slice(1);
  try {
    return text ? decodeURIComponent(text) : null;
  } catch (err) {
    return text;
  }
}

// Each page is its own: it begins at its top, and the overview where it was left.
async function go() {
  const from = view.service;
  view.service = nameInAddress();
  if (from === view.service) return;
  if (from === null) overviewTop = view.top || 0;
  Object.assign(view, { kind: "", range: "hour", pointed: null });
  Object.assign(seen, { detail: null, course: null, events: null });
  Object.assign(orders, { confirming: null });
  orders.answers.clear();
  render();
  for (const control of document.querySelectorAll("[data-view]")) {
    if (control.type === "checkbox") control.checked = view[control.dataset.view];
    else control.value = view[control.dataset.view];
  }
  scrollTo(0, view.service === null ? overviewTop : 0);
  const target = view.service === null
    ? [...document.querySelectorAll("a.name")].find((link) => link.textContent === from)
    : document.querySelector(".title");
  if (target) target.focus({ preventScroll: true });
  await refresh();
}

// One request at a time, and none while the page is hidden.
async function poll() {
  if (!document.hidden) await refresh();
  setTimeout(poll, POLL_MS);
}

function onClick(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const { order, ask: service, cancel, range } = button.dataset;
  if (order) press(button, event);
  else if (service && mayOrder()) orders.confirming = service;
  else if (cancel) orders.confirming = null;
  else if (range) {
    Object.assign(view, { range, pointed: null });
    seen.course = null;
    refresh();
  } else return;
  render();
}

function onInput(event) {
  const { target } = event;
  if (target.name === "token") orders.token = target.value.trim();
  else if (target.dataset.view) {
    view[target.dataset.view] = target.type === "checkbox" ? target.checked : target.value;
    if (target.dataset.view === "kind") refresh();
  } else return;
  render();
}

function onKey(event) {
  const { form } = event.target;
  // Enter in a field of an order is a press of its button.
  if (event.key === "Enter" && form && form.dataset.form && event.target.localName === "input") {
    event.preventDefault();
    if (!event.repeat && !event.isComposing) press(form.querySelector("[data-order]"), event);
    return;
  }
  const search = document.querySelector("[data-view=search]");
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "/" && search && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && orders.confirming) {
    orders.confirming = null;
    render();
  }
}

function onPointer(event) {
  const plot = event.target.closest("[data-chart]");
  const box = plot && plot.getBoundingClientRect();
  const pointed = box ? Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) : null;
  if (pointed === view.pointed) return;
  view.pointed = pointed;
  render();
}

history.scrollRestoration = "manual";
addEventListener("hashchange", go);
addEventListener("scroll", () => {
  if (view.service === null && nameInAddress() === null) view.top = scrollY;
}, { passive: true });
document.addEventListener("click", onClick);
document.addEventListener("input", onInput);
document.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", onKey);
document.addEventListener("pointermove", onPointer);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
view.service = nameInAddress();
poll();
