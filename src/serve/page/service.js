// The page of one service.

// HAProxy's own check of a replica.
function serverCell(server, now) {
  if (!server || server.up === null) return "–";
  const word = el("span", { class: server.up ? "" : "bad" }, server.up ? "up" : "down");
  return [word, " since ", moment(server.since, now), server.check ? soft(server.check) : null];
}

function replicaRows(replica, now) {
  const bad = replica.error || replica.check === "failing";
  const error = replica.error || "";
  const age = replica.started ? moment(replica.started, now) : "–";
  const check = replica.check ? el("span", { class: replica.check === "failing" ? "bad" : "" }, replica.check) : "–";
  const restarts = replica.restarts ? soft(counted(replica.restarts, "restart")) : null;
  const log = replica.log && replica.log.length;
  const row = el("tr", { class: bad ? "bad" : "", "data-key": replica.name },
    el("th", { scope: "row" }, replica.name, replica.node ? soft("on " + replica.node) : null, restarts),
    cell("State", el("span", { class: "state " + replica.state }, replica.state)),
    cell("Started", age),
    cell("Address", replica.address || "–"),
    cell("CPU", amount(replica.cpu_percent, "%")),
    cell("Memory", amount(replica.memory_percent, "%")),
    cell("Sessions", amount(replica.sessions)),
    cell("Check", check),
    cell("HAProxy", serverCell(replica.haproxy, now)),
    cell("Last error", error || "–"));
  if (!log) return [row];
  const label = "Last " + (log === 1 ? "log line" : log + " log lines") + " of " + replica.name;
  const lines = el("pre", null, replica.log.join("\n"));
  const details = el("details", { open: Boolean(bad) }, el("summary", null, label), lines);
  return [row, el("tr", { class: "log", "data-key": replica.name + " log" }, el("td", { colspan: 10 }, details))];
}

function replicasPanel(stats, now) {
  if (!stats) return null;
  const heads = ["Replica", "State", "Started", "Address", "CPU", "Memory", "Sessions", "Check", "HAProxy",
    "Last error"];
  const rows = stats.replicas.flatMap((replica) => replicaRows(replica, now));
  return panel("replicas", "Replicas", rows.length ? table("replicas", heads, rows) : none("There are no replicas."));
}

function drainsPanel(stats) {
  const leaving = stats ? stats.replicas.filter((replica) => replica.drain) : [];
  if (!leaving.length) return null;
  const rows = leaving.map((replica) => {
    const { sessions, left_s: seconds } = replica.drain;
    const end = seconds === null || seconds === undefined ? "–" : "in " + rest(seconds) + " at the latest";
    return el("tr", { "data-key": replica.name }, el("th", { scope: "row" }, replica.name),
      cell("Sessions left", amount(sessions)), cell("Stopped", end));
  });
  return panel("drains", "Leaving", table("drains", ["Replica", "Sessions left", "Stopped"], rows));
}

const FIGURES = [
  ["requests_per_s", "Requests", "/s"], ["errors_4xx_per_s", "4xx", "/s"], ["errors_5xx_per_s", "5xx", "/s"],
  ["response_ms", "Response time", " ms"], ["queue", "Queue", ""], ["retries_per_s", "Retries", "/s"],
  ["sessions", "Sessions", ""], ["bytes_in_per_s", "In", " kB/s", 1000], ["bytes_out_per_s", "Out", " kB/s", 1000],
];

function figuresPanel(figures) {
  if (!figures) return null;
  const pairs = FIGURES.map(([key, label, unit, per]) => {
    const bad = ["errors_5xx_per_s", "queue"].includes(key) && 0 < figures[key];
    const value = per && typeof figures[key] === "number" ? figures[key] / per : figures[key];
    return el("div", null, el("dt", null, label), el("dd", { class: bad ? "bad" : "" }, amount(value, unit)));
  });
  return panel("figures", "HAProxy", el("dl", null, pairs));
}

function metricRow(metric) {
  return el("tr", { "data-key": metric.name },
    el("th", { scope: "row" }, metric.name),
    cell("Value", amount(metric.value, metric.unit)),
    cell("Target", amount(metric.target, metric.unit)),
    cell("Of target", ratio(metric) === null ? "–" : [percent(ratio(metric)), bar(ratio(metric))]),
    cell("Proposes", amount(metric.proposal)),
    el("td", { class: metric.error ? "bad" : "", "data-label": "Because" }, metric.error || metric.text || ""));
}

// The last evaluation: what each metric proposed, and what each rule made of it.
function explainPanel(explain, now) {
  if (!explain) return null;
  if (explain instanceof Refused) return panel("explain", "Why this number", none(explain.message));
  const same = explain.from === explain.desired;
  const words = same ? "It stays at " + explain.desired : "It goes from " + explain.from + " to " + explain.desired;
  const rules = explain.rules.map((rule, i) => el("tr", { "data-key": i + " " + rule.reason },
    el("th", { scope: "row" }, rule.reason), cell("Replicas", rule.replicas), cell("Rule", rule.text)));
  const metrics = explain.metrics.map(metricRow);
  const heads = ["Metric", "Value", "Target", "Of target", "Proposes", "Because"];
  return panel("explain", "Why this number",
    el("p", { class: "lead" }, words + ": " + explain.reason + ", by the evaluation at ", moment(explain.at, now)),
    metrics.length ? table("metrics", heads, metrics) : null,
    rules.length ? table("rules", ["Rule, in order", "Replicas", "Because"], rules) : null);
}

function schedulePanel(pieces) {
  const strip = weekStrip(pieces);
  const legend = soft("Least and most replicas, in the time zone of the schedule.");
  return strip && panel("schedule", "Coming week", legend, strip);
}

// What is forecast of each metric, or why nothing is.
function forecastPanel(forecast) {
  if (!forecast) return null;
  const minutes = Math.round(forecast.horizon_s / 60);
  const lines = forecast.metrics.map((metric) => {
    const words = metric.why_none
      ? "no forecast: " + metric.why_none
      : "up to " + amount(metric.upper, metric.unit) + " in all within " + minutes + " min, for "
        + metric.replicas + (metric.replicas === 1 ? " replica" : " replicas") + "; from "
        + metric.weeks + (metric.weeks === 1 ? " week" : " weeks")
        + (metric.error_ratio === null ? "" : "; off by " + percent(metric.error_ratio) + " in the last day");
    return el("p", { "data-key": metric.name }, metric.name + ": " + words + ".");
  });
  const words = forecast.mode === "on" ? "It raises the number ahead of the load."
    : "It is shown only: no replica is started by it.";
  return panel("forecast", "Forecast", soft(words), lines);
}

const RANGES = [["hour", "Hour"], ["day", "Day"], ["week", "Week"]];

function historyPanel(name, now) {
  const buttons = RANGES.map(([range, label]) => el("button", {
    type: "button", "data-range": range, "data-key": range, "aria-pressed": String(view.range === range),
  }, label));
  return panel("course", "Load and replicas",
    el("div", { class: "buttons ranges", "data-key": "ranges", role: "group", "aria-label": "Range" }, buttons),
    chart(view.range === "hour" ? historyOf(name) : seen.course || [], now, view.pointed));
}

function factsOf(service) {
  const facts = ["at least " + service.min + ", at most " + service.max];
  if (service.listen) facts.unshift("served at " + service.listen);
  if (service.routes && service.routes.length) facts.unshift("routes " + service.routes.join(", "));
  if (service.window) facts.push("schedule " + service.window);
  if (service.priority !== undefined && service.priority !== 50) facts.push("priority " + service.priority);
  if (!service.scaling) facts.push("not scaled by load now");
  return facts.join(" · ");
}

function lastChange(service, now) {
  const change = service.last_change;
  if (!change) return null;
  return soft("Last change " + change.from + " → " + change.to + ", ", moment(change.at, now), ": " + change.text);
}

function headPanel(service, problems, now) {
  const { reason, words, tone } = sentence(service);
  const rules = service.because.map((rule) => rule.text).join("; ");
  return el("section", { class: "panel head", "data-key": "head", "aria-label": "State of " + service.name },
    el("p", { class: "state-line" },
      el("span", { class: "big " + toneOf(service, problems) }, service.ready + " / " + service.desired),
      " ready / desired ", el("span", { class: "reason " + tone }, reason), " ", words),
    standing(service), rules && !service.hold && !service.pause ? soft(rules) : null,
    soft(factsOf(service)), lastChange(service, now));
}

function servicePage(status, problems, now) {
  const { service: name } = view;
  const title = [el("a", { href: "#", class: "back", "data-key": "back" }, "All services"),
    el("h2", { class: "title", tabindex: "-1", "data-key": "title " + name }, name)];
  const service = status.services.find((one) => one.name === name);
  if (!service) {
    const words = "The config has no service " + name + ".";
    return [...title, el("p", { class: "none unknown", "data-key": "unknown" }, words)];
  }
  const own = problems.filter((problem) => problem.service === name);
  const { stats, explain, schedule } = seen.detail || {};
  return [...title, headPanel(service, problems, now), problemPanel(own, now),
    panel("actions", "Actions", actions(service)),
    replicasPanel(stats, now), drainsPanel(stats), historyPanel(name, now),
    forecastPanel(service.forecast), figuresPanel(service.haproxy),
    explainPanel(explain, now), schedulePanel(schedule), eventsPanel(now)];
}
