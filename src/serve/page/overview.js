// Header, problems, and all services in one row each.

function problemItem(problem, now, index) {
  const severity = problem.severity === "critical" ? "bad" : "odd";
  const where = [
    problem.service && el("a", { href: "#" + encodeURIComponent(problem.service) }, problem.service),
    problem.replica && problem.replica !== problem.service && " " + problem.replica,
  ];
  return el("li", { class: severity, "data-key": [problem.kind, problem.service, problem.replica, index].join(" ") },
    el("div", { class: "problem-head" },
      el("strong", { class: "severity" }, severity === "bad" ? "Critical" : "Warning"),
      problem.service && el("span", { class: "where" }, where), el("span", { class: "kind soft" }, problem.kind || ""),
      el("span", { class: "since" }, problem.since ? ["since ", moment(problem.since, now)] : null)),
    el("div", { class: "message" }, problem.message),
    problem.fix && el("div", { class: "fix" }, el("span", { class: "soft" }, "To do: "), problem.fix));
}

// The same kind may stand several times for one service; a number tells those apart.
function problemItems(problems, now) {
  const counts = new Map();
  return problems.map((problem) => {
    const key = [problem.kind, problem.service, problem.replica].join(" ");
    counts.set(key, (counts.get(key) || 0) + 1);
    return problemItem(problem, now, counts.get(key));
  });
}

// Of many, the services are not to be pushed off the screen.
const PROBLEMS_SHOWN = 6;

function problemPanel(problems, now) {
  if (!problems.length) return null;
  const items = problemItems(problems, now);
  const list = (some) => el("ul", { class: "notices" }, some);
  const more = items.slice(PROBLEMS_SHOWN);
  return panel("problems", "Problems", list(items.slice(0, PROBLEMS_SHOWN)),
    more.length ? el("details", null, el("summary", null, counted(more.length, "more problem")), list(more)) : null);
}

function lostWords() {
  const from = seen.at ? " The data shown is from " + stamp(seen.at, seen.at, true) + "." : "";
  const since = from + " Retrying every 2 s.";
  const { lost } = seen;
  if (lost.status === 401) return "The daemon shows nothing without its token: enter it at the top.";
  if (lost instanceof Refused) return "The daemon cannot answer: " + lost.message + "." + since;
  return "The daemon does not answer." + since;
}

function noticeList(status) {
  const list = [];
  if (seen.lost) list.push(["bad", lostWords()]);
  if (status && status.dry_run) list.push(["odd", "Dry run: decisions are not carried out."]);
  const { processor } = status || {};
  if (processor && processor.busy) {
    list.push(["odd", "The host's processors are busy (" + amount(processor.idle_percent, "%")
      + " idle): load starts no more replicas."]);
  }
  if (!list.length) return null;
  const items = list.map(([tone, words]) => el("li", { class: tone }, words));
  return el("div", { "data-key": "notices", role: "alert" }, el("ul", { class: "notices" }, items));
}

function summaryOf(status, problems) {
  if (seen.lost) return ["bad", "No answer from the daemon."];
  const names = (services) => services.map((service) => service.name).join(", ");
  const { services } = status;
  const down = services.filter(isDown);
  const missing = services.filter((service) => service.ready < service.desired);
  const odd = services.filter((service) => toneOf(service, problems));
  if (status.docker.error) return ["bad", "Docker does not answer."];
  if (!status.haproxy.answers) return ["bad", "HAProxy does not answer."];
  if (down.length) return ["bad", "No replica is ready: " + names(down) + "."];
  if (missing.length) return ["odd", "Not all replicas are ready: " + names(missing) + "."];
  if (odd.length) return ["odd", "Needs attention: " + names(odd) + "."];
  if (problems.length) return ["odd", "All services have the replicas they need, but see the problems."];
  return ["good", "All services have the replicas they need."];
}

function showHeader(status, problems) {
  const [tone, words] = summaryOf(status, problems);
  const summary = document.querySelector(".summary");
  setAttributes(summary, el("p", { class: "summary " + tone, role: "status" }));
  setChildren(summary, [document.createTextNode(words)]);
  const title = (problems.length ? "(" + problems.length + ") " : "") + (tone === "good" ? "" : "! ")
    + (view.service === null ? "" : view.service + " – ") + "Plimsoll";
  if (document.title !== title) document.title = title;
  if (!status) return;
  const sum = (key) => status.services.reduce((total, service) => total + service[key], 0);
  const counts = [
    el("span", null, counted(status.services.length, "service")),
    el("span", null, sum("ready") + " of " + counted(sum("desired"), "replica") + " ready"),
    el("span", { class: problems.length ? "some" : "" }, counted(problems.length, "problem")),
  ];
  setChildren(document.querySelector(".counts"), counts);
  const every = "checks every " + span(status.check_interval_s);
  const facts = ["plimsoll " + status.version, "up " + span(status.uptime_s), every];
  setChildren(document.querySelector(".facts"), [document.createTextNode(facts.join(" · "))]);
}

function loadCell(service) {
  const metric = fullest(service);
  if (!metric) {
    const failed = service.metrics.find((one) => one.error || one.text);
    return soft(failed ? failed.name + ": " + (failed.error || failed.text) : "not evaluated now");
  }
  const more = service.metrics.length - 1;
  const of = amount(metric.value, metric.unit) + " of " + amount(metric.target, metric.unit);
  const name = metric.name + (more ? " +" + more : "");
  return [el("div", { class: "metric" }, el("span", null, name), el("span", { class: "soft" }, of)),
    bar(ratio(metric))];
}

function proxyCell(figures) {
  if (!figures) return soft("–");
  const errors = figures.errors_5xx_per_s;
  return [el("div", null, amount(figures.requests_per_s) + " req/s"),
    el("div", { class: errors ? "bad" : "soft" }, amount(errors) + " 5xx/s · " + amount(figures.response_ms) + " ms"
      + (figures.queue ? " · queue " + figures.queue : ""))];
}

function replicaCell(service) {
  const tone = isDown(service) ? " bad" : service.ready < service.desired ? " odd" : "";
  const words = [];
  if (service.unready) words.push(service.unready + " starting");
  if (service.unhealthy) words.push(service.unhealthy + " unhealthy");
  if (service.leaving) words.push(service.leaving + " leaving");
  return [el("span", { class: "count" + tone }, service.ready + " / " + service.desired),
    " ", el("span", { class: "soft" }, "of " + service.min + "–" + service.max),
    words.length ? soft(words.join(", ")) : null];
}

function serviceRow(service, status, problems, hasFigures) {
  const { reason, words, tone } = sentence(service);
  const shown = toneOf(service, problems);
  const stands = standing(service);
  const { listen, window: schedule } = service;
  const [route, ...others] = service.routes || [];
  const place = [listen && "at " + listen, route && route + (others.length ? " +" + others.length : ""),
    schedule && "schedule " + schedule].filter(Boolean);
  const first = problems.find((problem) => problem.service === service.name);
  return el("tr", { class: shown, "data-key": "service " + service.name },
    el("th", { scope: "row" },
      el("a", { class: "name", href: "#" + encodeURIComponent(service.name) }, service.name),
      place.length ? soft(place.join(" · ")) : null),
    cell("Ready / desired", replicaCell(service)),
    cell("Load", loadCell(service)),
    cell("History", sparkline(historyOf(service.name))),
    hasFigures && cell("HAProxy", proxyCell(service.haproxy)),
    el("td", { class: "why", "data-label": "State" },
      el("span", { class: "reason " + tone }, reason), " ",
      el("span", { class: "sentence" }, first ? first.message : words), stands),
    orders.token && cell("Orders", rowOrders(service)));
}

function servicesPanel(status, problems, now) {
  const needle = view.search.toLowerCase();
  const ranked = status.services.map((service) => [RANKS[toneOf(service, problems)], service]);
  const shown = ranked
    .filter(([rank, service]) => service.name.toLowerCase().includes(needle) && (!view.trouble || rank < RANKS[""]))
    .sort(([a], [b]) => a - b)
    .map(([, service]) => service);
  const hasFigures = status.services.some((service) => service.haproxy);
  const heads = ["Service", "Ready / desired", "Load", "History", hasFigures && "HAProxy", "State",
    orders.token && "Orders"];
  const rows = shown.map((service) => serviceRow(service, status, problems, hasFigures));
  const words = !status.services.length ? "The config has no services."
    : view.trouble ? "No service with trouble" + (needle ? " has " + view.search + " in its name." : ".")
      : "No service has " + view.search + " in its name.";
  const tools = el("div", { class: "tools", "data-key": "tools" },
    el("label", { "data-key": "search" }, el("span", null, "Search"),
      input("search", { type: "search", "data-view": "search", placeholder: "name; press /", size: 16 })),
    el("label", { "data-key": "trouble" },
      el("input", { type: "checkbox", "data-view": "trouble" }), el("span", null, "Only trouble")),
    orders.token ? allOrders(status) : null);
  return panel("services", "Services", tools,
    rows.length ? table("services", heads.filter(Boolean), rows) : none(words));
}

function certificateEnd(certificate, now) {
  if (!certificate.not_after) return el("span", { class: "bad" }, "not served");
  const days = certificate.days_left;
  const words = days < 0 ? "expired" : days + (days === 1 ? " day left" : " days left");
  return [words, soft(stamp(toSeconds(certificate.not_after), now))];
}

// Of the frontends that services share.
function certificatesPanel(status, now) {
  const certificates = status.certificates || [];
  if (!certificates.length) return null;
  const rows = certificates.map((certificate) => el("tr", { "data-key": "certificate " + certificate.file },
    el("th", { scope: "row" }, certificate.file),
    cell("Names", (certificate.names || []).join(", ") || "–"),
    cell("Ends", certificateEnd(certificate, now))));
  return panel("certificates", "Certificates", table("certificates", ["File", "Names", "Ends"], rows));
}

function eventRows(events, now) {
  const counts = new Map();
  return events.map((event) => {
    const name = [event.at, event.kind, event.service, event.replica].join(" ");
    counts.set(name, (counts.get(name) || 0) + 1);
    const change = event.from === null || event.to === null ? "" : event.from + " → " + event.to + "  ";
    return el("tr", { "data-key": name + " " + counts.get(name) },
      cell("When", moment(event.at, now)),
      el("td", { class: "kind " + eventTone(event), "data-label": "Event" }, breakable(event.kind)),
      cell("Subject", event.replica || event.service || ""),
      cell("Message", change + (event.message || "")));
  });
}

function eventsPanel(now) {
  const options = ["", ...EVENT_GROUPS].map((group) => el("option", { value: group }, group ? group + ".*" : "all"));
  const tools = el("div", { class: "tools", "data-key": "tools" },
    el("label", null, el("span", null, "Kind"), el("select", { "data-view": "kind" }, options)));
  const events = seen.events || [];
  return panel("events", "Events", tools,
    events.length ? table("events", ["When", "Event", "Subject", "Message"], eventRows(events, now))
      : none(view.kind ? "No event of this kind." : "Nothing has happened yet."));
}
