// Orders to the daemon. One is under way at a time, and its answer stands beside its button.

const DOUBLE_CLICK_MS = 400;
const LOST_ORDER = "No answer from the daemon: whether it has the order is not known. "
  + "This page shows what became of it once the daemon answers.";

const orders = {
  token: "",
  // The place of the order that is under way.
  busy: null,
  pressedAt: -Infinity,
  // By place: { words, tone }.
  answers: new Map(),
  // The service whose restart is to be confirmed.
  confirming: null,
};

const value = (form, name) => (form ? form.elements[name].value.trim() : "");

// Path and body of each, after the path of the service.
const ORDERS = {
  fewer: () => ["/scale/down", {}],
  more: () => ["/scale/up", {}],
  auto: () => ["/scale", { auto: true }],
  resume: () => ["/resume", {}],
  restart: () => ["/restart", {}],
  pause: (form) => ["/pause", value(form, "for") ? { for: value(form, "for") } : {}],
  scale: (form) => {
    const body = { replicas: Number(value(form, "replicas")) };
    for (const name of ["for", "reason"]) if (value(form, name)) body[name] = value(form, name);
    return ["/scale", body];
  },
};

const mayOrder = () => orders.token !== "" && orders.busy === null && !seen.lost;

// A disabled button would lose the focus, so it is only marked as such, and does nothing.
function orderButton(label, what, service, place, possible, hint) {
  const name = service === null ? label : label + ", " + service;
  // Pause and Resume of a service are one button, which keeps the focus.
  const key = what === "resume" && service !== null ? "pause" : what;
  return el("button", {
    type: "button", "data-key": "button " + key, "data-order": what, "data-service": service,
    "data-place": place, title: hint, "aria-label": name,
    "aria-disabled": String(!(possible && mayOrder())),
  }, label);
}

function answerAt(place) {
  const { words, tone } = orders.answers.get(place) || { words: "", tone: "" };
  return el("span", { class: "answer " + tone, role: "status", "data-key": "answer", "data-answer": place }, words);
}

const COOLDOWN = "until the cooldown ends, or as long as an existing order lasts";

function steps(service, place) {
  const { name } = service;
  return [
    orderButton("−1", "fewer", name, place, service.min < service.desired, "One fewer, " + COOLDOWN),
    orderButton("+1", "more", name, place, service.desired < service.max, "One more, " + COOLDOWN),
    orderButton("By load", "auto", name, place, service.hold, "Release the order: the load decides again"),
  ];
}

function rowOrders(service) {
  const { name } = service;
  const place = name + " row";
  const [what, label] = service.pause ? ["resume", "Resume"] : ["pause", "Pause"];
  return el("div", { class: "buttons" },
    steps(service, place),
    orderButton(label, what, name, place, true, service.pause ? null : "Stop scaling until resumed"),
    answerAt(place));
}

function allOrders(status) {
  const paused = status.services.filter((service) => service.pause).length;
  const some = paused < status.services.length;
  return orderForm("all", "all",
    spanField("until resumed"),
    orderButton("Pause all", "pause", null, "all", some, "Stop scaling of every service, for this time"),
    orderButton("Resume all", "resume", null, "all", 0 < paused, "Scale every service again"),
    answerAt("all"));
}

function field(label, input) {
  return el("label", { class: "field", "data-key": "field " + label }, el("span", null, label), input);
}

function input(name, attributes) {
  return el("input", { name, autocomplete: "off", spellcheck: "false", "data-key": name, ...attributes });
}

function spanField(placeholder) {
  return field("For", input("for", { placeholder, list: "order:spans", size: 14 }));
}

function orderForm(kind, name, ...children) {
  return el("form", { "data-form": kind, "data-key": kind + " " + name, class: "order-form" }, ...children);
}

function scaleForm(service) {
  const { name } = service;
  const place = name + " scale";
  const number = { type: "number", min: 0, step: 1, required: true, value: service.desired, inputmode: "numeric" };
  return orderForm("scale", name,
    field("Replicas", input("replicas", number)),
    spanField("until released"),
    field("Because", input("reason", { placeholder: "reason, for the event", maxlength: 200, size: 26 })),
    orderButton("Scale", "scale", name, place, true, "Hold this number, for this time"),
    answerAt(place));
}

function stepRow(service) {
  const place = service.name + " step";
  return el("div", { class: "buttons", "data-key": "step" },
    steps(service, place),
    el("span", { class: "soft", "data-key": "hint" }, "−1 and +1 hold " + COOLDOWN + "."),
    answerAt(place));
}

function pauseRow(service) {
  const { name } = service;
  const place = name + " pause";
  const paused = service.pause
    ? orderButton("Resume", "resume", name, place, true, "The load decides again")
    : [spanField("until resumed"),
      orderButton("Pause", "pause", name, place, true, "Stop scaling, for this time")];
  return orderForm("pause", name, paused, answerAt(place));
}

function restartRow(service) {
  const { name } = service;
  const place = name + " restart";
  const asking = orders.confirming === name;
  const start = el("button", {
    type: "button", "data-key": "ask", "data-ask": name, "aria-expanded": String(asking),
    "aria-label": "Restart, " + name, "aria-disabled": String(!mayOrder()),
  }, "Restart …");
  const confirm = el("span", { class: "confirm", "data-key": "confirm" },
    el("span", null, "Replace every replica of " + name + " by a new one, without loss of requests?"),
    orderButton("Yes, restart", "restart", name, place, true, null),
    el("button", { type: "button", "data-key": "cancel", "data-cancel": name }, "Cancel"));
  return el("div", { class: "buttons", "data-key": "restart" }, start, asking && confirm, answerAt(place));
}

// All that an operator can do with one service.
function actions(service) {
  if (!orders.token) return soft("To give orders, enter the token (api.token of the config) at the top.");
  return [scaleForm(service), stepRow(service), pauseRow(service), restartRow(service)];
}

function pressable(button, event) {
  if (button.getAttribute("aria-disabled") === "true" || !mayOrder()) return false;
  // The second click of a double click is no order of its own, whatever the first one has made of
  // the button meanwhile.
  if (1 < event.detail || event.timeStamp - orders.pressedAt < DOUBLE_CLICK_MS) return false;
  const form = button.form;
  return !form || form.reportValidity();
}

async function press(button, event) {
  if (!pressable(button, event)) return;
  const { order, service, place } = button.dataset;
  const [path, body] = ORDERS[order](button.form);
  const base = service === undefined ? "" : "/services/" + encodeURIComponent(service);
  orders.pressedAt = event.timeStamp;
  orders.busy = place;
  orders.confirming = null;
  orders.answers.clear();
  orders.answers.set(place, { words: "Sending …", tone: "soft" });
  render();
  let said;
  try {
    const answer = await ask(base + path, orders.token, body);
    said = { words: answer.done || "Done.", tone: "good" };
  } catch (err) {
    said = { words: err instanceof Refused ? err.message : LOST_ORDER, tone: "bad" };
  }
  orders.answers.set(place, said);
  await refresh();
  orders.busy = null;
  render();
}
