"use strict";
// What is shown: read from the data, the controls and the address, and written to the address.
// The verdict of a part follows the threshold; that of a region stands at the run's own threshold.
const byId = (id) => document.getElementById(id);
const DEFAULTS = { t: 0.5, order: "worst", type: "", part: "", region: "", why: "", size: "", source: "", group: "", since: "", until: "", tag: "", model: -1, fold: -1, q: "", img: "", run: 0, all: 0, box: "" };
const PARTS = ["", "wrong", "escape", "overkill", "correct", "disagree", "near"];
const CHANGES = ["lost", "won"];
const REGIONS = ["", "missed", "partial", "alarm", "hit"];
const ORDERS = ["worst", "cause", "name", "type", "score", "small", "large"];
const DATE_ORDERS = ["oldest", "newest"];
const SIZES = ["", "small", "medium", "large"];
const NEAR = 0.05;
const STATES = ["hit", "alarm", "partial", "unjudged"];
const STATE_WORDS = { hit: "hit", alarm: "false alarm", partial: "partly covered", unjudged: "not judged" };
const state = { ...DEFAULTS };
const chunks = new Map();
let data = null;
let shown = [];

function verdict(i, r, t) {
  const score = data.scores[r][i];
  if (score === null) return "";
  if (score >= t === Boolean(data.bad[i])) return "correct";
  return data.bad[i] ? "escape" : "overkill";
}

// Against the baseline that evaluate was given: right before and wrong now, or the other way round.
function change(i, r, t) {
  const [before, now] = [verdict(i, data.baseline, t), verdict(i, r, t)];
  if (r === data.baseline || !before || !now || (before === "correct") === (now === "correct")) return "";
  return now === "correct" ? "won" : "lost";
}

function runsShown() {
  return state.model >= 0 ? [state.model] : data.runs.map((_, r) => r);
}

// The regions of a good part that is called good count for nothing: they show on request alone.
function hidesRegions(i, r, t) {
  return !state.all && !data.bad[i] && data.scores[r][i] !== null && data.scores[r][i] < t;
}

function regionKinds(i, r, t) {
  const counts = data.regions[r][i];
  if (!counts || hidesRegions(i, r, t)) return {};
  return { missed: counts[0], alarm: counts[1], hit: counts[2], partial: counts[4] };
}

function plural(n, what) { return `${n} ${what}${n === 1 ? "" : "s"}`; }

function regionWords(i, r, t) {
  const counts = data.regions[r][i];
  if (!counts) return "the model gives no regions";
  const limit = data.runs[r].limits[data.fold[i]];
  const own = limit === undefined ? "the region threshold" : `the region threshold ${Number(limit.toPrecision(3))}`;
  if (hidesRegions(i, r, t)) return counts[3] ? `${plural(counts[3], "region")} above ${own} not shown` : "no regions";
  const said = [];
  if (counts[0]) said.push(`${counts[0]} missed`);
  if (counts[2]) said.push(plural(counts[2], "hit"));
  if (counts[4]) said.push(`${plural(counts[4], "region")} covering under 30 % of a defect`);
  if (counts[1]) said.push(plural(counts[1], "false alarm"));
  if (counts[5]) said.push(`${plural(counts[5], "region")} not judged`);
  if (data.scores[r][i] >= t && !counts[3]) said.push(`no region reaches ${own}`);
  return said.join(", ") || "no regions";
}

function verdictWords(i, r, t) {
  const score = data.scores[r][i];
  if (score === null) return "not evaluated by this model";
  return `${verdict(i, r, t)}: called ${score >= t ? "defective" : "good"}, score ${score.toFixed(3)}`;
}

// Both days belong to the span; an image whose date is not known belongs to none.
function inDates(i) {
  const day = data.dates[i].slice(0, 10);
  return day !== "" && (!state.since || day >= state.since) && (!state.until || day <= state.until);
}

function keeps(i, t) {
  if (state.type && data.types[data.type[i]] !== state.type) return false;
  if (state.fold >= 0 && data.fold[i] !== state.fold) return false;
  if (state.q && !data.ids[i].toLowerCase().includes(state.q.trim().toLowerCase())) return false;
  if (state.source && data.sources[data.source[i]] !== state.source) return false;
  if ((state.since || state.until) && !inDates(i)) return false;
  if (state.group !== "" && data.parts[i] !== Number(state.group)) return false;
  if (state.size && sizeOf(i) !== state.size) return false;
  if (state.tag && !tagged(i, state.tag)) return false;
  if (state.box && !inMapBox(i)) return false;
  if (state.part === "disagree" && !disagree(i, t)) return false;
  if (!state.part && !state.region && !state.why) return true;
  // One and the same model meets both filters.
  return runsShown().some((r) => {
    const said = verdict(i, r, t);
    const part = !state.part || said === state.part || (state.part === "wrong" && (said === "escape" || said === "overkill"))
      || state.part === "disagree" || (state.part === "near" && said && Math.abs(data.scores[r][i] - t) < NEAR)
      || (CHANGES.includes(state.part) && change(i, r, t) === state.part);
    return part && (!state.why || causeOf(i, r, t).kind === state.why) && (!state.region || regionKinds(i, r, t)[state.region] > 0);
  });
}

// Wrong before right, then the largest error first; among right images the smallest margin first.
function badness(i, t) {
  let wrong = 0;
  let most = -Infinity;
  for (const r of runsShown()) {
    const score = data.scores[r][i];
    if (score === null) continue;
    if (verdict(i, r, t) !== "correct") wrong = 1;
    most = Math.max(most, data.bad[i] ? t - score : score - t);
  }
  return [wrong, most];
}

function ordered(indices, t) {
  const name = (a, b) => (data.ids[a] < data.ids[b] ? -1 : data.ids[a] > data.ids[b] ? 1 : 0);
  if (state.order === "name") return indices.sort(name);
  const key = new Map(indices.map((i) => [i, badness(i, t)]));
  const worst = (a, b) => key.get(b)[0] - key.get(a)[0] || key.get(b)[1] - key.get(a)[1] || name(a, b);
  if (state.order === "type") return indices.sort((a, b) => data.type[a] - data.type[b] || worst(a, b));
  if (state.order === "score") {
    const top = (i) => Math.max(-1, ...runsShown().map((r) => data.scores[r][i] ?? -1));
    return indices.sort((a, b) => top(b) - top(a) || name(a, b));
  }
  if (state.order === "small" || state.order === "large") {
    const sign = state.order === "small" ? 1 : -1;
    // Images without a known region come last.
    const size = (i) => data.size[i] ?? Infinity;
    return indices.sort((a, b) => (size(a) === size(b) ? name(a, b) : size(a) === Infinity ? 1 : size(b) === Infinity ? -1 : sign * (size(a) - size(b))));
  }
  if (DATE_ORDERS.includes(state.order)) {
    const sign = state.order === "oldest" ? 1 : -1;
    // Images without a known date come last.
    const date = (i) => data.dates[i];
    return indices.sort((a, b) => (date(a) === date(b) ? name(a, b) : !date(a) ? 1 : !date(b) ? -1 : date(a) < date(b) ? -sign : sign));
  }
  if (state.order === "cause") {
    const cause = new Map(indices.map((i) => [i, Math.min(...runsShown().map((r) => CAUSE_ORDER.indexOf(causeOf(i, r, t).kind)))]));
    return indices.sort((a, b) => cause.get(a) - cause.get(b) || worst(a, b));
  }
  return indices.sort(worst);
}

function rates(r, t) {
  const count = { bad: 0, good: 0, escape: 0, overkill: 0, correct: 0 };
  for (let i = 0; i < data.ids.length; i += 1) {
    const said = verdict(i, r, t);
    if (!said) continue;
    count[data.bad[i] ? "bad" : "good"] += 1;
    count[said] += 1;
  }
  return count;
}

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const whole = (name, n) => {
    const value = Number(given.get(name));
    return given.has(name) && given.get(name) !== "" && Number.isInteger(value) && value >= 0 && value < n ? value : DEFAULTS[name];
  };
  const one = (name, allowed) => (allowed.includes(given.get(name)) ? given.get(name) : DEFAULTS[name]);
  const day = (name) => (data.dates.length && /^\d{4}-\d{2}-\d{2}$/.test(given.get(name)) ? given.get(name) : "");
  const t = Number(given.get("t"));
  // What is malformed counts as not given.
  Object.assign(state, {
    t: given.get("t") && t >= 0 && t <= 1 ? t : DEFAULTS.t,
    order: one("order", data.dates.length ? [...ORDERS, ...DATE_ORDERS] : ORDERS),
    part: one("part", data.baseline < 0 ? PARTS : [...PARTS, ...CHANGES]),
    region: one("region", REGIONS),
    type: one("type", data.types),
    why: one("why", CAUSE_ORDER),
    size: one("size", SIZES),
    source: one("source", data.sources),
    group: data.parts.includes(Number(given.get("group"))) && given.get("group") ? given.get("group") : "",
    since: day("since"),
    until: day("until"),
    tag: one("tag", [...TAGS, "any"]),
    all: given.get("all") === "1" ? 1 : 0,
    box: readMapBox(given.get("box")),
    model: whole("model", data.runs.length),
    fold: whole("fold", Math.max(-1, ...data.fold) + 1),
    q: (given.get("q") || "").slice(0, 200),
    img: one("img", data.ids),
    run: whole("run", data.runs.length),
  });
}

function writeHash(newEntry) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (state[name] !== value && (name !== "run" || state.img)) given.set(name, state[name]);
  }
  const address = `#${given}`;
  if (address === (location.hash || "#")) return;
  if (newEntry) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

function loadChunk(number) {
  if (chunks.has(number)) return;
  chunks.set(number, null);
  const script = document.createElement("script");
  script.src = `data/chunk-${number}.js`;
  document.head.append(script);
}

function vectorsOf(i) {
  const number = Math.floor(i / data.chunk);
  loadChunk(number);
  const chunk = chunks.get(number);
  return chunk ? chunk[i % data.chunk] : null;
}

// Called by the data's scripts.
globalThis.defectuneChunk = (number, list) => {
  chunks.set(number, list);
  paintVectors(number);
  if (state.img && Math.floor(data.ids.indexOf(state.img) / data.chunk) === number) showImage();
};
globalThis.defectuneIndex = (value) => {
  data = value;
  start();
};
