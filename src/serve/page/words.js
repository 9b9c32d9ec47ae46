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
  NoHeadroom: ["The host has too little memory or processor for more replicas.", "bad"],
  Preempted: ["It gave a replica up for a service of a higher priority.", "odd"],
  MetricsMissing: ["Too few metrics are available to change anything.", "bad"],
  CrashLoop: ["Replicas keep failing; the next start waits.", "bad"],
  NoneReady: ["No replica is ready: the service does not work.", "bad"],
  Asleep: ["Asleep: no replica runs until a request comes.", ""],
  Forecast: ["More load is forecast than there is now.", ""],
  Woken: ["Requests wait for the first replica.", ""],
  StoppedByCompose: ["Docker Compose stopped it; nothing starts until Compose starts it.", "odd"],
};
const ROLLOUTS = {
  rolling: "Rolling out a change",
  stalled: "The rollout makes no progress",
  rolling_back: "Rolling back",
  rolled_back: "Rolled back",
};
const BAD_EVENT = /(failed|lost|rejected|damaged|not_saved|rolled_back|crash_loop|dropped|died|none_ready)$/;
const ODD_EVENT = new RegExp("(not_ready|timed_out|exited|capped|unhealthy|suspect|not_probed|orphaned|stalled"
  + "|preempted|unavailable|deferred|full|killed|slow|low)$");
// The first parts of the kinds of events.
const EVENT_GROUPS = ["scale", "replica", "health", "rollout", "hold", "scaling", "schedule", "metric",
  "haproxy", "docker", "compose", "container", "image", "swarm", "service", "config", "labels", "state", "daemon",
  "hook", "webhook", "history", "report", "certificate", "route", "sleep"];

const RANKS = { bad: 0, odd: 1, "": 2 };

const isWaking = (service) => Boolean(service.sleep) && service.sleep.state === "waking";
const isDown = (service) => 0 < service.desired && service.ready === 0 && !isWaking(service);

function sentence(service) {
  const reason = isDown(service) && service.reason !== "CrashLoop" ? "NoneReady" : service.reason;
  const [words, tone] = SENTENCES[reason] || ["", "odd"];
  return { reason, words, tone };
}

// Replicas that merely start are no trouble: the row would jump at each change of the number.
function toneOf(service, problems) {
  const own = problems.filter((problem) => problem.service === service.name);
  if (isDown(service) || own.some((problem) => problem.severity === "critical")) return "bad";
  const { tone } = sentence(service);
  if (tone) return tone;
  const failing = service.suspect || 0 < (service.unhealthy || 0);
  const stuck = service.rollout && service.rollout.state !== "rolling";
  return own.length || failing || stuck ? "odd" : "";
}

function eventTone(event) {
  if (event.phase === "resolved") return "";
  return BAD_EVENT.test(event.kind) ? "bad" : ODD_EVENT.test(event.kind) ? "odd" : "";
}

function left(order, end) {
  return order.left_s === null ? end : "for " + rest(order.left_s) + " more";
}

// What an operator or a rollout has to do with the number.
function standing(service) {
  const said = [];
  if (service.hold) {
    const why = service.hold.reason ? ": " + service.hold.reason : "";
    said.push("Held at " + service.hold.replicas + " " + left(service.hold, "until released") + why);
  }
  if (service.sleep && service.sleep.waiting) {
    said.push(service.sleep.waiting + (service.sleep.waiting === 1 ? " request waits" : " requests wait"));
  }
  for (const { victim, beneficiary } of service.preemptions || []) {
    said.push(victim === service.name ? "Gave a replica up for " + beneficiary : "Got a replica of " + victim);
  }
  if (service.pause) said.push("Paused " + left(service.pause, "until resumed"));
  if (service.rollout) {
    const { state, new: fresh, old } = service.rollout;
    said.push((ROLLOUTS[state] || state) + ": " + fresh + " new, " + old + " old");
  }
  if (service.suspect) {
    said.push("All replicas became unhealthy at once: health check results are ignored, and none is replaced.");
  }
  return said.map((words) => el("div", { class: "order" }, words));
}

// The metric that is nearest to its target, or farthest beyond it.
function fullest(service) {
  const known = service.metrics.filter((metric) => ratio(metric) !== null);
  return known.reduce((most, metric) => (most && ratio(metric) <= ratio(most) ? most : metric), null);
}

function ratio(metric) {
  return metric.value === null || !metric.target ? null : metric.value / metric.target;
}
