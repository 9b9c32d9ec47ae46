"use strict";
// What every part of the page uses. What comes from the daemon is put in as text, never as markup.

const ANSWER_MS = 5000;
const SVG_TAGS = new Set(["svg", "rect", "path"]);

// A tree of new nodes: attributes that are null or false are left out, and so are such children.
function el(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    // The policy forbids the attribute, but not this.
    if (name === "style") node.style.cssText = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false && child !== "") node.append(child);
  }
  return node;
}

const soft = (...children) => el("div", { class: "soft" }, ...children);
// A line may end after each dot and underscore.
const breakable = (word) => word.split(/(?<=[._])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part]));
const keyOf = (node) => (node.dataset && node.dataset.key) || null;

// Only the characters that differ are replaced, so that a selection in the rest stays.
function setText(node, text) {
  const old = node.data;
  if (old === text) return;
  const most = Math.min(old.length, text.length);
  let start = 0;
  while (start < most && old[start] === text[start]) start++;
  let end = 0;
  while (end < most - start && old[old.length - 1 - end] === text[text.length - 1 - end]) end++;
  node.replaceData(start, old.length - start - end, text.slice(start, text.length - end));
}

function setAttributes(node, fresh) {
  for (const { name } of [...node.attributes]) {
    // What the user opened stays open.
    if (!fresh.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (node.getAttribute(name) === value || name === "open") continue;
    if (name === "style") node.style.cssText = value;
    else node.setAttribute(name, value);
  }
}

function setNode(node, fresh) {
  if (node.nodeType === Node.TEXT_NODE) {
    setText(node, fresh.data);
    return;
  }
  setAttributes(node, fresh);
  setChildren(node, [...fresh.childNodes]);
}

// Changes the children to the wanted ones, and touches only what differs: a node that stays keeps
// its focus, its selection and what was typed. Nodes with `data-key` are found by it.
function setChildren(parent, wanted) {
  const keys = new Set(wanted.map(keyOf));
  const known = new Map();
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (key && !keys.has(key)) child.remove();
    else if (key) known.set(key, child);
  }
  let next = parent.firstChild;
  for (const fresh of wanted) {
    const key = keyOf(fresh);
    const old = key ? known.get(key) : next;
    if (!old || old.nodeName !== fresh.nodeName || keyOf(old) !== key) {
      parent.insertBefore(fresh, next);
      continue;
    }
    if (old === next) next = next.nextSibling;
    else parent.insertBefore(old, next);
    setNode(old, fresh);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
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

const two = (number) => String(number).padStart(2, "0");
const toSeconds = (text) => Date.parse(text) / 1000;

function day(date) {
  return date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate());
}

function clock(date, withSeconds) {
  const minutes = two(date.getHours()) + ":" + two(date.getMinutes());
  return withSeconds ? minutes + ":" + two(date.getSeconds()) : minutes;
}

// In the browser's zone; the day only where it is not today.
function stamp(seconds, now, withSeconds) {
  const date = new Date(seconds * 1000);
  const time = clock(date, withSeconds);
  return day(date) === day(new Date(now * 1000)) ? time : day(date) + " " + time;
}

// An absolute time with the relative one beside it, and the daemon's own text as title.
function moment(text, now) {
  const at = toSeconds(text);
  if (Number.isNaN(at)) return "";
  const ago = span(Math.max(0, now - at)) + " ago";
  return el("time", { datetime: text, title: text },
    el("span", { class: "at" }, stamp(at, now, true) + ","), " ", el("span", { class: "soft" }, ago));
}

function amount(value, unit) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0;
  return String(Number(value.toFixed(digits))) + (unit === "%" ? " %" : unit || "");
}

const counted = (number, one, many) => number + " " + (number === 1 ? one : many || one + "s");

// The labels are shown on a narrow screen, where the heads of columns are not.
function cell(label, ...children) {
  return el("td", { "data-label": label }, ...children);
}

function table(name, heads, rows) {
  return el("table", { class: name },
    el("thead", null, el("tr", null, heads.map((head) => el("th", { scope: "col", "data-label": head }, head)))),
    el("tbody", null, rows));
}

const none = (words) => el("p", { class: "none" }, words);

function panel(key, title, ...children) {
  return el("section", { "data-key": key, class: "panel " + key, "aria-label": title },
    el("h2", null, title), ...children);
}

// What the daemon answered with an error, as distinct from no answer at all.
class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function ask(path, token, body) {
  const options = { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS), headers: {} };
  if (token) options.headers.Authorization = "Bearer " + token;
  if (body) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  const text = await answer.text();
  let said = {};
  try {
    said = JSON.parse(text);
  } catch (err) {
    // A proxy in between answers with a page of its own.
    if (answer.ok) throw new Refused(answer.status, "an answer that is not the daemon's");
  }
  if (answer.ok) return said;
  const detail = said && said.detail ? ": " + [said.detail].flat().map(String).join("; ") : "";
  throw new Refused(answer.status, ((said && said.error) || "HTTP " + answer.status) + detail);
}
