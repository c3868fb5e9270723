// The threshold as a picture: scores of one model, good above the axis and each type below it.
const BINS = 50;
const CHART = { wide: 620, top: 12, axis: 96, bottom: 172 };
let marksSaid = "";
const costs = { escape: null, overkill: null, share: null };

// Options as code, which no line breaks after the dashes; see options_kept in report/html.py.
function optionsKept(text) { return text.split(/(?<!\S)(--[a-z]+(?:-[a-z]+)*)/).map((part, n) => (n % 2 ? make("code", part) : part)); }

function headRun() { return state.model >= 0 ? state.model : Math.max(0, data.runs.findIndex((run) => run.name === data.key.best)); }

function rates(r, t) {
  const count = { bad: 0, good: 0, escape: 0, overkill: 0, correct: 0 };
  for (let i = 0; i < data.ids.length; i += 1) {
    if (state.fold >= 0 && data.fold[i] !== state.fold) continue;
    const said = verdict(i, r, t);
    if (!said) continue;
    count[data.bad[i] ? "bad" : "good"] += 1;
    count[said] += 1;
  }
  return count;
}

function shareText(hits, of) { return of ? `${hits} of ${of} (${((100 * hits) / of).toFixed(1)} %)` : "none to evaluate"; }

function intervalText(hits, of) {
  const found = data.bounds[of]?.[hits];
  if (!found) return "";
  return hits ? `95 %: ${found[0].toFixed(1)} to ${found[1].toFixed(1)} %` : `at most ${found[1].toFixed(1)} %`;
}

// Marks: name, threshold, its price, and what it was chosen on.
function marksOf(r) {
  const bad = [];
  const good = [];
  data.scores[r].forEach((score, i) => { if (score !== null && (state.fold < 0 || data.fold[i] === state.fold)) (data.bad[i] ? bad : good).push(score); });
  const marks = [{ id: "half", t: DEFAULTS.t, words: data.runs[r].given ? "given with the predictions" : "chosen without test images" }];
  const chosen = [...new Set(Object.values(data.points[r]))];
  chosen.forEach((t) => marks.push({ id: "chosen", t, words: chosen.length > 1 ? "operating point of a fold" : "operating point" }));
  if (bad.length) marks.push({ id: "no-escape", t: bad.reduce((a, b) => Math.min(a, b)), words: "no escape" });
  if (good.length) {
    const top = good.reduce((a, b) => Math.max(a, b));
    const above = [...bad, 1].filter((score) => score > top).reduce((a, b) => Math.min(a, b), Infinity);
    marks.push(above === Infinity
      ? { id: "no-overkill", t: null, words: "no overkill: at no threshold, since a good part scores 1" }
      : { id: "no-overkill", t: (top + above) / 2, words: "no overkill" });
  }
  const cheap = cheapest(r);
  if (cheap) marks.push({ id: "cheapest", t: cheap.t, words: `lowest cost, ${cheap.cost.toPrecision(3)} a part` });
  return marks;
}

function costAt(r, t) {
  if (!(costs.escape > 0) || !(costs.overkill > 0) || !(costs.share > 0 && costs.share < 1)) return null;
  const n = rates(r, t);
  if (!n.bad || !n.good) return null;
  return (n.escape / n.bad) * costs.share * costs.escape + (n.overkill / n.good) * (1 - costs.share) * costs.overkill;
}

function costCurve(r) {
  const points = [];
  for (let n = 0; n <= 100; n += 1) {
    const cost = costAt(r, n / 100);
    if (cost === null) return [];
    points.push({ t: n / 100, cost });
  }
  return points;
}

function cheapest(r) { return costCurve(r).reduce((best, one) => (best && best.cost <= one.cost ? best : one), null); }

function drawChart() {
  if (!data.runs.length) return;
  const r = headRun();
  const svg = byId("chart");
  svg.replaceChildren();
  // In pixels of the screen, so that the knob is round and lines are sharp.
  CHART.wide = svg.clientWidth || CHART.wide;
  svg.setAttribute("viewBox", `0 0 ${CHART.wide} 176`);
  const bars = [];
  for (let n = 0; n < BINS; n += 1) bars.push({ good: 0, types: data.types.map(() => 0) });
  data.scores[r].forEach((score, i) => {
    if (score === null || (state.fold >= 0 && data.fold[i] !== state.fold)) return;
    const bar = bars[Math.min(BINS - 1, Math.floor(score * BINS))];
    if (data.bad[i]) bar.types[data.type[i]] += 1;
    else bar.good += 1;
  });
  const most = (list) => Math.max(1, ...list);
  const up = (CHART.axis - CHART.top) / most(bars.map((bar) => bar.good));
  const down = (CHART.bottom - CHART.axis) / most(bars.map((bar) => bar.types.reduce((a, b) => a + b, 0)));
  const step = CHART.wide / BINS;
  const rect = (n, y, high, attributes) => svg.append(svgNode("rect", { x: n * step + 1, y, width: step - 2, height: high, ...attributes }));
  bars.forEach((bar, n) => {
    if (bar.good) rect(n, CHART.axis - Math.max(1.5, bar.good * up), Math.max(1.5, bar.good * up), { class: "bar-good" });
    let y = CHART.axis + 1;
    bar.types.forEach((count, type) => {
      if (!count) return;
      rect(n, y, Math.max(1, count * down), { fill: typeColor(type) });
      y += count * down;
    });
  });
  svg.append(svgNode("line", { x1: 0, x2: CHART.wide, y1: CHART.axis, y2: CHART.axis, class: "axis" }));
  const curve = costCurve(r);
  const dear = Math.max(...curve.map((point) => point.cost), 1e-12);
  if (curve.length) {
    const at = curve.map((point) => `${point.t * CHART.wide},${CHART.bottom - (point.cost / dear) * (CHART.bottom - CHART.top)}`);
    svg.append(svgNode("polyline", { points: at.join(" "), class: "cost" }));
  }
  for (const mark of marksOf(r)) if (mark.t !== null) svg.append(svgNode("line", { x1: mark.t * CHART.wide, x2: mark.t * CHART.wide, y1: CHART.top, y2: CHART.bottom, class: "mark" }));
  svg.append(svgNode("line", { id: "line", y1: 4, y2: CHART.bottom, class: "handle" }), svgNode("circle", { id: "knob", cy: 8, r: 7, class: "knob" }));
  const legend = byId("legend");
  legend.replaceChildren();
  const key = (text, color) => { const dot = svgNode("svg", { class: "dot", viewBox: "0 0 9 9", "aria-hidden": "true" }); dot.append(svgNode("rect", { width: 9, height: 9, rx: 2, ...color })); const node = make("span"); node.append(dot, text); legend.append(node); };
  key("good (up)", { class: "bar-good" });
  data.types.forEach((type, n) => { if (type !== "good") key(type, { fill: typeColor(n) }); });
  if (curve.length) legend.append(make("span", `dotted: expected cost a part, at most ${dear.toPrecision(3)}`));
  byId("chart-title").textContent = `Scores of ${data.runs[r].name}`;
  drawSizes();
}

function typeColor(type) {
  const place = data.classes.indexOf(data.types[type]);
  return data.colors[place] || "#8a8f94";
}

// What follows the threshold: line, numbers, marks, and what may be claimed.
function tellThreshold() {
  if (!data.runs.length) return;
  const r = headRun();
  const t = state.t;
  const n = rates(r, t);
  for (const [id, hits, of] of [["escape", n.escape, n.bad], ["overkill", n.overkill, n.good]]) {
    byId(`${id}-value`).textContent = of ? `${hits} of ${of}` : "—";
    byId(`${id}-interval`).textContent = of ? `${((100 * hits) / of).toFixed(1)} %${intervalText(hits, of) ? `, ${intervalText(hits, of)}` : ""}` : "none to evaluate";
  }
  tellRegions(r);
  tellSizes();
  for (const name of ["x1", "x2"]) byId("line").setAttribute(name, t * CHART.wide);
  byId("knob").setAttribute("cx", t * CHART.wide);
  const chart = byId("slider");
  chart.setAttribute("aria-valuenow", t.toFixed(3));
  chart.setAttribute("aria-valuetext", `${t.toFixed(3)}: ${shareText(n.escape, n.bad)} escapes, ${shareText(n.overkill, n.good)} overkill`);
  if (document.activeElement !== byId("threshold")) byId("threshold").value = Number(t.toFixed(4));
  const moved = t !== DEFAULTS.t;
  const validated = Object.values(data.points[r]).every((point) => point === t) && Object.keys(data.points[r]).length > 0;
  byId("claim").textContent = validated ? "The operating point was chosen on validation images: the intervals may be claimed."
    : moved ? "Moved by hand: nothing may be claimed here, since this threshold was chosen on test images."
      : data.runs[r].given ? "Given with the predictions: what it was chosen on is not known."
        : "Chosen without test images: the intervals may be claimed.";
  byId("claim").classList.toggle("moved", moved && !validated);
  const decision = data.decisions[r];
  byId("decision").hidden = !decision;
  if (decision) {
    byId("decision-title").textContent = decision.title;
    byId("decision-text").replaceChildren(...optionsKept(decision.text));
    byId("decision").dataset.state = decision.state;
    byId("decision-of").textContent = `${data.runs[r].name}, ${decision.at || `at ${Object.keys(data.points[r]).length ? "the operating point" : "0.5"}`}; counted by parts.`;
    byId("decision-link").hidden = !decision.link;
    if (decision.link) byId("decision-link").href = decision.link;
  }
  tellMarks(r);
}

// Made anew only when they say something else: a button that is pressed stays under the pointer and
// keeps the focus.
function tellMarks(r) {
  const list = byId("marks");
  const marks = marksOf(r).map((mark) => ({ ...mark, price: mark.t === null ? null : rates(r, mark.t) }));
  const said = JSON.stringify(marks);
  if (said !== marksSaid) {
    marksSaid = said;
    list.replaceChildren(...marks.map(markNode));
  }
  for (const button of list.querySelectorAll("button")) button.setAttribute("aria-pressed", Number(button.dataset.t) === state.t);
}

function markNode({ id, t, words, price }) {
  if (t === null) return make("span", words, "hint");
  const button = make("button", "", "mark");
  button.type = "button";
  Object.assign(button.dataset, { mark: id, t });
  button.append(make("b", t.toFixed(3)), ` ${words}: ${price.escape} of ${price.bad} escape, ${price.overkill} of ${price.good} overkill`);
  button.addEventListener("click", () => setThreshold(t, true));
  return button;
}

// Regions found by the model whose scores are shown; the interval is known of the best run alone.
function tellRegions(r) {
  const value = byId("region-value");
  if (!value) return;
  const detail = byId("region-interval");
  value.dataset.best ??= value.textContent;
  detail.dataset.best ??= detail.textContent;
  const ofBest = data.runs[r].name === data.key.best;
  let [hits, of] = [0, 0];
  for (const counts of data.regions[r]) { hits += counts ? counts[2] : 0; of += counts ? counts[2] + counts[0] : 0; }
  value.textContent = ofBest ? value.dataset.best : of ? `${hits} of ${of}` : "—";
  detail.textContent = ofBest ? detail.dataset.best : of ? `${((100 * hits) / of).toFixed(1)} %` : "the model gives no regions";
}

function setThreshold(t, done) {
  if (!Number.isFinite(t)) return;
  state.t = Math.min(1, Math.max(0, t));
  update();
  if (done) writeHash(true);
}

function startThreshold() {
  startSizes();
  const slider = byId("slider");
  let wanted = null;
  const at = (event) => {
    const box = slider.getBoundingClientRect();
    const t = Math.round((1000 * (event.clientX - box.left)) / box.width) / 1000;
    if (wanted === null) requestAnimationFrame(() => { const now = wanted; wanted = null; setThreshold(now, false); });
    wanted = t;
  };
  slider.addEventListener("pointerdown", (event) => { if (event.button) return; slider.setPointerCapture(event.pointerId); slider.focus({ preventScroll: true }); at(event); });
  slider.addEventListener("pointermove", (event) => { if (slider.hasPointerCapture(event.pointerId)) at(event); });
  slider.addEventListener("pointerup", () => requestAnimationFrame(() => writeHash(true)));
  slider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.005, ArrowDown: -0.005, ArrowRight: 0.005, ArrowUp: 0.005, PageDown: -0.05, PageUp: 0.05, Home: -2, End: 2 }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    setThreshold(Math.round((state.t + by) * 1000) / 1000, true);
  });
  byId("threshold").addEventListener("input", () => { if (byId("threshold").value !== "") setThreshold(Number(byId("threshold").value), false); });
  byId("threshold").addEventListener("change", () => writeHash(true));
  byId("reset").addEventListener("click", () => setThreshold(DEFAULTS.t, true));
  for (const name of Object.keys(costs)) {
    byId(`cost-${name}`).addEventListener("input", () => { costs[name] = Number(byId(`cost-${name}`).value) / (name === "share" ? 100 : 1); drawChart(); tellThreshold(); });
  }
}
