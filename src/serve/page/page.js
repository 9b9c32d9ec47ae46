
"use strict";
// What comes from the daemon is put in as text, never as markup.

const POLL_MS = 2000;
const ANSWER_MS = 5000;
const EVENTS = 30;
const POINTS = 120;
const DOTS = 40;

// Each reason in a sentence, and whether it needs attention.
const SENTENCES = {
  DesiredWithinRange: ["The number follows the load.", ""],
  TooFewReplicas: ["At the minimum.", ""],
  TooManyReplicas: ["The load needs more than the maximum.", "odd"],
  ScaleUpStabilized: ["Less was needed a short while ago; scaling up waits.", ""],
  ScaleDownStabilized: ["More was needed a short while ago; scaling down waits.", ""],
  ScaleUpLimit: ["The scale-up rate is limited.", ""],
  ScaleDownLimit: ["The scale-down rate is limited.", ""],
  CoolingDown: ["The cooldown after the last change is not over.", ""],
  OutsideHours: ["Outside business hours; the load changes nothing.", ""],
  Draining: ["The number is right; leaving replicas still finish their requests.", ""],
  Held: ["An operator set the number.", "odd"],
  Paused: ["An operator stopped scaling, or another manager leads the Swarm.", "odd"],
  NoHeadroom: ["The host has too little memory for more replicas.", "bad"],
  MetricsMissing: ["Too few metrics are available to change anything.", "bad"],
  CrashLoop: ["Replicas keep failing; the next start waits.", "bad"],
  StoppedByCompose: ["Docker Compose stopped it; nothing starts until Compose starts it.", "odd"],
};
const ROLLOUTS = {
  rolling: "Rolling out a change",
  stalled: "The rollout makes no progress",
  rolling_back: "Rolling back",
  rolled_back: "Rolled back",
};
const BAD_EVENT = /(failed|lost|rejected|damaged|not_saved|rolled_back|crash_loop|dropped)$/;
const ODD_EVENT = /(not_ready|cut|exited|capped|unhealthy|suspect|not_asked|orphaned)$/;

const byId = (id) => document.getElementById(id);

function el(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

// The largest unit is enough for times in the past.
function span(seconds) {
  const [size, unit] = UNITS.find(([size]) => size <= seconds) || [1, "s"];
  return Math.floor(seconds / size) + " " + unit;
}

// Times to come have the next unit, too.
function rest(seconds) {
  const at = UNITS.findIndex(([size]) => size <= seconds);
  const [size] = UNITS[at] || [1];
  const more = Math.floor(seconds % size);
  return span(seconds) + (UNITS[at + 1] && UNITS[at + 1][0] <= more ? " " + span(more) : "");
}

function amount(value, unit) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0;
  return String(Number(value.toFixed(digits))) + (unit === "%" ? " %" : unit || "");
}

function ratio(metric) {
  return metric.value === null || !metric.target ? null : metric.value / metric.target;
}

// The metric that is nearest to its target, or farthest beyond it.
function fullest(service) {
  const ratios = service.metrics.map(ratio).filter((value) => value !== null);
  return ratios.length ? Math.max(...ratios) : null;
}

const rows = new Map();
const histories = new Map();
let token = "";
let lastAnswer = null;

function makeRow(name) {
  const row = el("tr");
  const head = el("th");
  head.scope = "row";
  const cells = ["replicas", "load", "history", "why"].map(() => el("td"));
  row.append(head, ...cells);
  const parts = { row, head, replicas: cells[0], load: cells[1], history: cells[2], why: cells[3] };
  parts.facts = el("div");
  head.append(el("div", "name", name), parts.facts);
  parts.said = el("div");
  parts.buttons = el("div", "buttons");
  parts.buttons.hidden = true;
  parts.order = {};
  for (const [key, label] of [["fewer", "− 1"], ["more", "+ 1"], ["auto", "By load"], ["pause", "Pause"]]) {
    const button = el("button", "", label);
    button.type = "button";
    button.dataset.order = key;
    button.setAttribute("aria-label", label + ", " + name);
    button.addEventListener("click", () => order(name, button.dataset.order));
    parts.order[key] = button;
    parts.buttons.append(button);
  }
  cells[3].className = "why";
  cells[3].append(parts.said, parts.buttons);
  return parts;
}

function showFacts(service) {
  const facts = [];
  if (service.listen) facts.push(el("div", "soft", "at " + service.listen));
  if (service.window) facts.push(el("div", "soft", "schedule " + service.window));
  if (!service.scaling) facts.push(el("div", "soft", "not scaled by load now"));
  return facts;
}

function showReplicas(service) {
  const missing = service.ready < service.desired;
  const count = el("div", missing ? "count odd" : "count", service.ready + " / " + service.desired);
  const dots = el("div", "dots");
  dots.setAttribute("aria-hidden", "true");
  const all = Math.max(service.max, service.ready + service.unready);
  for (let i = 0; all <= DOTS && i < all; i++) {
    const coming = service.ready <= i && i < service.ready + service.unready;
    dots.append(el("i", i < service.ready ? "ready" : coming ? "coming" : ""));
  }
  const words = ["ready / desired, of\u00a0" + service.min + "–" + service.max];
  if (service.unready) words.push(service.unready + " starting");
  if (service.leaving) words.push(service.leaving + " leaving");
  return [count, dots, el("div", "soft", words.join(", "))];
}

function showMetric(metric) {
  const block = el("div", "metric");
  const of = amount(metric.value, metric.unit) + " of " + amount(metric.target, metric.unit);
  block.append(el("span", "", metric.name), el("span", "soft", of));
  const part = ratio(metric);
  if (part === null) {
    block.append(el("span", "soft", metric.error || metric.text || "not known"));
    return block;
  }
  // The mark at two thirds is the target.
  const bar = svg("svg", { class: "bar", viewBox: "0 0 150 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  const width = Math.min(150, part * 100);
  bar.append(svg("rect", { class: "rail", width: 150, height: 6 }));
  bar.append(svg("rect", { class: 1.1 < part ? "part over" : "part", width, height: 6 }));
  bar.append(svg("rect", { class: "at", x: 99.5, width: 1, height: 6 }));
  block.append(bar);
  return block;
}

// Load above, with its target as a dashed line; replicas below, ready as steps and desired as a line.
function showHistory(points, now) {
  if (points.length < 2) return [el("div", "soft", "no history yet")];
  const [W, TOP, H] = [240, 44, 67];
  const from = points[0].at;
  const x = (at) => ((at - from) / Math.max(1, points[points.length - 1].at - from)) * W;
  const most = Math.max(1.3, ...points.map((p) => p.load || 0));
  const y = (load) => TOP - (Math.min(load, most) / most) * (TOP - 2);
  const highest = Math.max(1, ...points.map((p) => Math.max(p.ready, p.desired)));
  const step = (count) => H - (count / highest) * (H - TOP - 5);
  let load = "", under = "", began = null, steps = "", line = "";
  points.forEach((p, i) => {
    const at = x(p.at).toFixed(1);
    if (p.load === null) {
      if (began !== null) under += "L" + began + " " + TOP + "Z";
      began = null;
    } else {
      const here = at + " " + y(p.load).toFixed(1);
      load += (began === null ? "M" : "L") + here;
      under += began === null ? "M" + at + " " + TOP + "L" + here : "L" + here;
      if (began === null) began = at;
      const next = points[i + 1];
      if (!next || next.load === null) {
        under += "L" + at + " " + TOP + "Z";
        began = null;
      }
    }
    steps += (i ? "H" + at + "V" : "M" + at + " " + H + "V") + step(p.ready).toFixed(1);
    line += (i ? "H" + at + "V" : "M" + at + " ") + step(p.desired).toFixed(1);
  });
  const chart = svg("svg", { class: "history", viewBox: "0 0 " + W + " " + H, preserveAspectRatio: "none", role: "img" });
  const counts = points.map((p) => p.ready);
  const last = points[points.length - 1];
  const words = last.load === null ? "load not known" : "load at " + Math.round(last.load * 100) + " % of its target";
  chart.setAttribute("aria-label", words + "; replicas between " + Math.min(...counts) + " and " + Math.max(...counts));
  chart.append(svg("path", { class: "under", d: under }), svg("path", { class: "load", d: load }));
  if (load) chart.append(svg("path", { class: "target", d: "M0 " + y(1).toFixed(1) + "H" + W }));
  chart.append(svg("path", { class: "serving", d: steps + "V" + H + "Z" }), svg("path", { class: "desired", d: line }));
  const ends = el("div", "span soft");
  ends.append(el("span", "", span(Math.max(0, now - from)) + " ago"));
  ends.append(el("span", "", last.load === null ? "now" : Math.round(last.load * 100) + " % of target"));
  return [chart, ends];
}

function left(order, end) {
  return order.left_s === null ? end : "for " + rest(order.left_s) + " more";
}

function showWhy(service, now) {
  const [sentence, tone] = SENTENCES[service.reason] || ["", ""];
  const said = [];
  if (service.hold) {
    const why = service.hold.reason ? ": " + service.hold.reason : "";
    said.push(el("div", "order", "Held at " + service.hold.replicas + " " + left(service.hold, "until released") + why));
  }
  if (service.rollout) {
    const { state, new: fresh, old } = service.rollout;
    const words = ROLLOUTS[state] || state;
    said.push(el("div", "order", words + ": " + fresh + " new, " + old + " old"));
  }
  if (service.suspect) said.push(el("div", "order", "All replicas became unhealthy at once: health check results are ignored, and none is replaced."));
  if (service.pause) said.push(el("div", "order", "Paused " + left(service.pause, "until resumed")));
  said.push(el("div", "", sentence));
  const rules = service.because.map((rule) => rule.text).join("; ");
  if (rules && !service.hold && !service.pause) said.push(el("div", "soft", rules));
  said.push(el("span", "reason " + tone, service.reason));
  if (service.last_change) {
    const change = service.last_change;
    const ago = span(Math.max(0, now - Date.parse(change.at) / 1000)) + " ago";
    said.push(el("div", "soft", "Last change " + change.from + " → " + change.to + ", " + ago + ": " + change.text));
  }
  return said;
}

function showServices(status, now) {
  const body = byId("services").tBodies[0];
  const names = new Set(status.services.map((service) => service.name));
  for (const [name, parts] of rows) {
    if (!names.has(name)) {
      parts.row.remove();
      rows.delete(name);
      histories.delete(name);
    }
  }
  for (const service of status.services) {
    if (!rows.has(service.name)) rows.set(service.name, makeRow(service.name));
    const parts = rows.get(service.name);
    if (!parts.row.parentNode) body.append(parts.row);
    const history = follow(service, now, status.check_interval_s);
    parts.facts.replaceChildren(...showFacts(service));
    parts.replicas.replaceChildren(...showReplicas(service));
    const metrics = service.metrics.map(showMetric);
    parts.load.replaceChildren(...(metrics.length ? metrics : [el("div", "soft", "not evaluated now")]));
    parts.history.replaceChildren(...showHistory(history, now));
    parts.said.replaceChildren(...showWhy(service, now));
    const pause = parts.order.pause;
    pause.dataset.order = service.pause ? "resume" : "pause";
    setText(pause, service.pause ? "Resume" : "Pause");
    pause.setAttribute("aria-label", pause.textContent + ", " + service.name);
    parts.order.auto.disabled = !service.hold;
    parts.buttons.hidden = !token;
  }
  byId("services").hidden = !status.services.length;
  byId("none").hidden = status.services.length !== 0;
}

// The history of the daemon, then one point for each check interval.
function follow(service, now, interval) {
  if (!histories.has(service.name)) histories.set(service.name, []);
  const history = histories.get(service.name);
  const last = history[history.length - 1];
  if (!last || last.at + interval * 0.9 <= now) {
    history.push({ at: now, load: fullest(service), ready: service.ready, desired: service.desired });
  }
  history.splice(0, Math.max(0, history.length - POINTS));
  return history;
}

function showSummary(status) {
  const summary = byId("summary");
  const missing = status.services.filter((service) => service.ready < service.desired);
  const odd = status.services.filter((service) => (SENTENCES[service.reason] || ["", "odd"])[1]);
  const names = (services) => services.map((service) => service.name).join(", ");
  let [tone, words] = ["good", "All services have the replicas they need."];
  if (status.docker.error) [tone, words] = ["bad", "Docker does not answer."];
  else if (missing.length) [tone, words] = ["odd", "Not all replicas are ready: " + names(missing) + "."];
  else if (odd.length) [tone, words] = ["odd", "Needs attention: " + names(odd) + "."];
  summary.className = tone;
  setText(summary, words);
  const facts = ["plimsoll " + status.version, "up " + span(status.uptime_s), "checks every " + span(status.check_interval_s)];
  setText(byId("daemon"), facts.join(" · "));
  document.title = (tone === "good" ? "" : "! ") + "Plimsoll";
}

function showNotices(list) {
  const text = list.map(([, words]) => words).join("\n");
  const notices = byId("notices");
  if (notices.dataset.text === text) return;
  notices.dataset.text = text;
  notices.replaceChildren(...list.map(([tone, words]) => el("li", tone, words)));
}

function notices(status) {
  const list = [];
  if (status.docker.error) list.push(["bad", "Docker does not answer: " + status.docker.error + ". Nothing is changed until it does."]);
  if (!status.haproxy.answers) list.push(["bad", "HAProxy does not answer."]);
  if (status.dry_run) list.push(["odd", "Dry run: decisions are not carried out."]);
  if (status.orphans.length) list.push(["odd", "Not in the config, but still running: " + status.orphans.join(", ") + "."]);
  return list;
}

function showEvents(events, now) {
  const body = byId("events").tBodies[0];
  body.replaceChildren(...events.map((event) => {
    const row = el("tr");
    const at = Date.parse(event.at) / 1000;
    const when = el("td", "", span(Math.max(0, now - at)) + " ago");
    when.title = event.at;
    const tone = event.phase === "resolved" ? ""
      : BAD_EVENT.test(event.kind) ? "bad" : ODD_EVENT.test(event.kind) ? "odd" : "";
    const change = event.from === null || event.to === null ? "" : event.from + " → " + event.to + "  ";
    row.append(when, el("td", tone, event.kind), el("td", "", event.replica || event.service || ""));
    row.append(el("td", "", change + (event.message || "")));
    return row;
  }));
  byId("events").hidden = !events.length;
  byId("no-events").hidden = events.length !== 0;
}

async function ask(path, options) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS), headers, ...options });
  const body = await answer.json();
  if (answer.ok) return body;
  const detail = typeof body.detail === "string" ? ": " + body.detail : "";
  throw new Error((body.error || "refused with " + answer.status) + detail);
}

async function order(service, what) {
  const base = "/services/" + encodeURIComponent(service);
  const [path, body] = {
    fewer: ["/scale/down", {}],
    more: ["/scale/up", {}],
    auto: ["/scale", { auto: true }],
    pause: ["/pause", {}],
    resume: ["/resume", {}],
  }[what];
  const answer = byId("answer");
  try {
    const headers = { Authorization: "Bearer " + token, "Content-Type": "application/json" };
    const done = await ask(base + path, { method: "POST", headers, body: JSON.stringify(body) });
    answer.textContent = done.done;
  } catch (err) {
    answer.textContent = err.message;
  }
  answer.scrollIntoView({ block: "nearest" });
  await refresh();
}

async function loadHistory() {
  const kept = await ask("/history");
  for (const [name, points] of Object.entries(kept)) {
    histories.set(name, points.map(([at, load, ready, desired]) => ({ at, load, ready, desired })));
  }
}

async function refresh() {
  try {
    // After an outage too: another daemon has another history.
    if (lastAnswer === null) await loadHistory();
    const [status, events] = await Promise.all([ask("/status"), ask("/events?limit=" + EVENTS)]);
    const now = Date.parse(status.at) / 1000;
    document.body.classList.remove("lost");
    showNotices(notices(status));
    showSummary(status);
    showServices(status, now);
    showEvents(events, now);
    lastAnswer = new Date();
  } catch (err) {
    document.body.classList.add("lost");
    const since = lastAnswer ? " The data shown is from " + lastAnswer.toLocaleTimeString() + "." : "";
    const why = err instanceof TypeError || err.name === "TimeoutError" ? "" : " (" + err.message + ")";
    showNotices([["bad", "The daemon does not answer" + why + "." + since + " Retrying every 2 s."]]);
    byId("summary").className = "bad";
    setText(byId("summary"), "No answer from the daemon.");
    document.title = "! Plimsoll";
  }
}

// One request at a time, and none while the page is hidden.
async function poll() {
  if (!document.hidden) await refresh();
  setTimeout(poll, POLL_MS);
}

byId("token").addEventListener("input", (event) => {
  token = event.target.value.trim();
  for (const parts of rows.values()) parts.buttons.hidden = !token;
});
byId("orders").addEventListener("submit", (event) => event.preventDefault());
poll();
