// Histories and schedules as drawings. A point is { at, load, ready, desired, forecast }.

// The fullest point of each slice, so that a short peak is not lost.
function thinned(points, most) {
  if (points.length <= most) return points;
  const size = points.length / most;
  const kept = [];
  for (let i = 0; i < most; i++) {
    const slice = points.slice(Math.floor(i * size), Math.floor((i + 1) * size));
    kept.push(slice.reduce((full, p) => ((full.load || 0) < (p.load || 0) ? p : full), slice[0]));
  }
  kept[most - 1] = points[points.length - 1];
  return kept;
}

// Load above, replicas below, in units of the view box.
function scales(points, size) {
  const from = points[0].at;
  const length = Math.max(1, points[points.length - 1].at - from);
  const most = Math.max(1.3, ...points.map((p) => Math.max(p.load || 0, p.forecast || 0)));
  const highest = Math.max(1, ...points.map((p) => Math.max(p.ready, p.desired)));
  return {
    from, length, most, highest,
    x: (at) => (((at - from) / length) * size.width).toFixed(1),
    y: (load) => (size.top - (Math.min(load, most) / most) * (size.top - 2)).toFixed(1),
    step: (count) => (size.height - (count / highest) * (size.height - size.top - 6)).toFixed(1),
  };
}

// The load is one line for each stretch in which it is known.
function loadPaths(points, { x, y }, top) {
  let line = "", area = "", began = null;
  points.forEach((p, i) => {
    if (p.load === null) return;
    const at = x(p.at);
    const here = at + " " + y(p.load);
    line += (began === null ? "M" : "L") + here;
    area += began === null ? "M" + at + " " + top + "L" + here : "L" + here;
    if (began === null) began = at;
    const next = points[i + 1];
    if (next && next.load !== null) return;
    area += "L" + at + " " + top + "Z";
    began = null;
  });
  return { line, area };
}

// What was forecast for each time, one line where it is known.
function forecastPath(points, { x, y }) {
  let line = "", known = false;
  points.forEach((p) => {
    if (p.forecast !== null) line += (known ? "L" : "M") + x(p.at) + " " + y(p.forecast);
    known = p.forecast !== null;
  });
  return line;
}

function stepPaths(points, { x, step }, height) {
  let ready = "", desired = "";
  points.forEach((p, i) => {
    const at = x(p.at);
    ready += (i ? "H" + at + "V" : "M" + at + " " + height + "V") + step(p.ready);
    desired += (i ? "H" + at + "V" : "M" + at + " ") + step(p.desired);
  });
  return { ready: ready + "V" + height + "Z", desired };
}

function describe(points) {
  const last = points[points.length - 1];
  const counts = points.map((p) => p.ready);
  const load = last.load === null ? "load not known" : "load at " + percent(last.load) + " of its target";
  return load + "; replicas between " + Math.min(...counts) + " and " + Math.max(...counts);
}

const percent = (load) => Math.round(load * 100) + " %";

// Ready replicas are steps, the desired number is a line; the target of the load is dashed.
function drawing(points, size, marks, pointed) {
  const { line, area } = loadPaths(points, marks, size.top);
  const { ready, desired } = stepPaths(points, marks, size.height);
  const forecast = forecastPath(points, marks);
  const box = "0 0 " + size.width + " " + size.height;
  const at = { viewBox: box, preserveAspectRatio: "none", role: "img", "aria-label": describe(points) };
  return el("svg", { class: "history", ...at },
    el("path", { class: "under", d: area }),
    el("path", { class: "load", d: line }),
    forecast && el("path", { class: "forecast", d: forecast }),
    line && el("path", { class: "target", d: "M0 " + marks.y(1) + "H" + size.width }),
    el("path", { class: "serving", d: ready }),
    el("path", { class: "desired", d: desired }),
    pointed && el("path", { class: "pointed", d: "M" + marks.x(pointed.at) + " 0V" + size.height }));
}

function sparkline(all) {
  if (all.length < 2) return soft("no history yet");
  const points = thinned(all, 120);
  const size = { width: 120, top: 22, height: 32 };
  return drawing(points, size, scales(points, size), null);
}

function nearest(points, at) {
  return points.reduce((best, p) => (Math.abs(p.at - at) < Math.abs(best.at - at) ? p : best));
}

// With its axes. `fraction` is where the pointer stands, from 0 to 1, or null.
function chart(all, now, fraction) {
  if (all.length < 2) return soft("No history yet.");
  const points = thinned(all, 480);
  const size = { width: 600, top: 120, height: 176 };
  const marks = scales(points, size);
  const pointed = fraction === null ? null : nearest(points, marks.from + fraction * marks.length);
  const shown = pointed || points[points.length - 1];
  const load = shown.load === null ? "load not known" : "load " + percent(shown.load) + " of target";
  const ahead = shown.forecast === null ? "" : ", forecast " + percent(shown.forecast);
  const words = (pointed ? stamp(shown.at, now, true) : "Now") + ": " + load + ahead + ", "
    + shown.ready + " ready of " + shown.desired + " desired";
  const top = (at) => "top: " + ((at / size.height) * 100).toFixed(1) + "%";
  const y = (at, text) => el("span", { class: "soft", style: top(at) }, text);
  const ends = [marks.from, marks.from + marks.length / 2, marks.from + marks.length];
  const day = 86400 < marks.length;
  const label = (at) => (day ? stamp(at, 0, false).slice(5) : stamp(at, now, false));
  return el("figure", { class: "chart" },
    el("div", { class: "plot", "data-chart": "load" }, drawing(points, size, marks, pointed)),
    el("div", { class: "scale", "aria-hidden": "true" },
      y(0, percent(marks.most)), y(marks.y(1), "target"), y(size.top - 14, "0 %"),
      y(size.top + 4, String(marks.highest)), y(size.height - 14, "0")),
    el("div", { class: "span soft" }, ends.map((at) => el("span", null, label(at)))),
    el("figcaption", null, words));
}

// A bar whose mark at two thirds is the target.
function bar(part) {
  const box = { viewBox: "0 0 150 6", preserveAspectRatio: "none", "aria-hidden": "true" };
  const width = Math.min(150, part * 100).toFixed(1);
  return el("svg", { class: "bar", ...box },
    el("rect", { class: "rail", width: 150, height: 6 }),
    el("rect", { class: 1.1 < part ? "part over" : "part", width, height: 6 }),
    el("rect", { class: "goal", x: 99.5, width: 1, height: 6 }));
}

// Wall time of the schedule's own zone, counted as if it were UTC.
const wall = (text) => Date.parse(text.slice(0, 19) + "Z") / 1000;
const DAY = 86400;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

const boundsWords = ({ min, max }) => (min === max ? String(min) : min + "–" + max);

function pieceWords(piece) {
  return boundsWords(piece) + (piece.window ? ", " + piece.window : "") + (piece.scaling ? "" : ", not by load");
}

// One row for each day, a block for each stretch of it.
function weekStrip(pieces) {
  if (!pieces || !pieces.length) return null;
  const first = Math.floor(wall(pieces[0].from) / DAY) * DAY;
  const end = wall(pieces[pieces.length - 1].until);
  const rows = [];
  for (let start = first; start < end && rows.length < 8; start += DAY) {
    const date = new Date(start * 1000);
    const name = DAYS[date.getUTCDay()] + " " + date.toISOString().slice(5, 10);
    const own = pieces.filter((piece) => wall(piece.from) < start + DAY && start < wall(piece.until));
    rows.push(el("li", { "data-key": name }, el("span", { class: "day" }, name),
      el("span", { class: "blocks" }, own.map((piece) => block(piece, start)))));
  }
  const hours = ["00", "06", "12", "18", "24"].map((hour) => el("span", null, hour));
  return [el("ol", { class: "week" }, rows), el("div", { class: "hours soft", "aria-hidden": "true" }, hours)];
}

function block(piece, start) {
  const from = Math.max(0, wall(piece.from) - start);
  const until = Math.min(DAY, wall(piece.until) - start);
  const time = (seconds) => two(Math.floor(seconds / 3600)) + ":" + two(Math.floor((seconds % 3600) / 60));
  const words = time(from) + "–" + time(until) + ": " + pieceWords(piece);
  const tone = !piece.scaling ? "fixed" : piece.window ? "window" : "";
  const part = (until - from) / DAY;
  const place = "left: " + (from / DAY) * 100 + "%; width: " + part * 100 + "%";
  const name = piece.window && 0.25 <= part ? " " + piece.window : "";
  return el("span", { class: "block " + tone, style: place, title: words },
    el("span", { class: "hidden" }, words + ". "),
    0.1 <= part && el("span", { "aria-hidden": "true" }, boundsWords(piece) + name));
}
