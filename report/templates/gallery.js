// The gallery: only the entries in sight stand in the page, so that 5,000 are as quick as 50.
const SVG = "http://www.w3.org/2000/svg";
const GAP = 12;
const HEAD = 30;
const CAPTION = 66;
const cards = new Map();
const grid = { panel: 180, columns: 1, perLine: 1, high: 300, all: false };
let at = 0;

function make(name, text, cls) {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  if (cls) node.className = cls;
  return node;
}

function svgNode(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function boxPath([x1, y1, x2, y2]) { return `M${x1} ${y1}H${x2}V${y2}H${x1}Z`; }

// Truth is dashed, predictions are solid: they differ by line and not by color alone.
function drawRegions(svg, vectors, r) {
  svg.setAttribute("viewBox", `0 0 ${vectors.size[0]} ${vectors.size[1]}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const said = r >= 0 ? vectors.runs[r] : null;
  const group = (kind) => { const node = svgNode("g", { class: `layer-${kind}` }); svg.append(node); return node; };
  const [masks, boxes, truth] = [group("masks"), group("boxes"), group("truth")];
  for (const [, box, path, , alarm] of said?.found || []) {
    const kind = alarm ? "alarm" : "hit";
    if (path) masks.append(svgNode("path", { d: path, class: `mask ${kind}`, "fill-rule": "evenodd" }));
    boxes.append(svgNode("path", { d: boxPath(box), class: `box ${kind}` }));
  }
  vectors.truth.forEach(([, , path], n) => {
    const missed = said?.hit && !said.hit[n];
    truth.append(svgNode("path", { d: path, class: "truth-under" }));
    truth.append(svgNode("path", { d: path, class: missed ? "truth-over missed" : "truth-over" }));
  });
}

function measure() {
  const wide = byId("list").clientWidth;
  const n = runsShown().length || 1;
  const least = Math.min(150, (wide - GAP) / 2);
  grid.perLine = Math.max(1, Math.min(n, Math.floor((wide + GAP) / (least + GAP))));
  grid.panel = Math.min(200, Math.floor((wide + GAP) / grid.perLine) - GAP);
  const lines = Math.ceil(n / grid.perLine);
  const entry = grid.perLine * (grid.panel + GAP);
  grid.columns = Math.max(1, Math.floor((wide + GAP) / (entry + GAP)));
  grid.high = HEAD + lines * (grid.panel + CAPTION) + GAP;
}

function frame(i, r) {
  const box = make("span", "", "frame");
  if (data.gonePlaces.has(i)) {
    box.append(make("span", "image cannot be read", "gone"));
  } else {
    const image = new Image();
    image.src = `thumbs/${i}.jpg`;
    image.alt = "";
    image.addEventListener("load", () => { box.classList.toggle("tiny", image.naturalWidth < grid.panel); });
    box.append(image);
  }
  const svg = svgNode("svg", { "aria-hidden": "true" });
  box.append(svg);
  return box;
}

function card(i) {
  const node = make("div", "", "entry");
  node.setAttribute("role", "listitem");
  node.dataset.i = i;
  const head = make("p", "", "name");
  head.append(make("b", data.ids[i]), " ", make("span", data.types[data.type[i]], "type"));
  if (data.notes[i]) { head.append(" ", make("span", "not readable", "note")); head.title = data.notes[i]; }
  const panels = make("div", "", "panels");
  for (const r of runsShown().length ? runsShown() : [-1]) {
    const panel = make("button", "", "panel");
    panel.type = "button";
    panel.dataset.r = r;
    panel.append(frame(i, r));
    const caption = make("span", "", "caption");
    if (r >= 0) caption.append(make("b", data.runs[r].name), make("span", "", "said"), make("small"));
    panel.append(caption);
    panel.addEventListener("click", () => openViewer(i, Math.max(0, r)));
    panels.append(panel);
  }
  node.append(head, panels);
  dress(node, i);
  drawCard(node, i);
  return node;
}

// Everything that follows the threshold, in one place.
function dress(node, i) {
  for (const panel of node.querySelectorAll(".panel")) {
    const r = Number(panel.dataset.r);
    const image = panel.querySelector("img");
    if (r < 0) { if (image) image.alt = `${data.ids[i]}: truth`; continue; }
    const said = verdict(i, r, state.t);
    panel.dataset.verdict = said;
    const chip = panel.querySelector(".said");
    const score = data.scores[r][i];
    chip.replaceChildren();
    if (said) chip.append(make("span", said, `chip ${said}`), ` ${score.toFixed(3)}`);
    else chip.textContent = "not evaluated";
    const regions = said ? regionWords(i, r, state.t) : "";
    panel.querySelector("small").textContent = regions;
    const words = `${data.ids[i]}, ${data.runs[r].name}: ${verdictWords(i, r, state.t)}${regions ? `; ${regions}` : ""}`;
    if (image) image.alt = words;
    panel.setAttribute("aria-label", words);
    panel.title = words;
  }
}

function drawCard(node, i) {
  const vectors = vectorsOf(i);
  if (!vectors) return;
  const [w, h] = vectors.size;
  for (const panel of node.querySelectorAll(".panel")) {
    const box = panel.querySelector(".frame");
    const scale = grid.panel / Math.max(w, h);
    box.style.width = `${w * scale}px`;
    box.style.height = `${h * scale}px`;
    const svg = panel.querySelector("svg");
    if (!svg.childNodes.length) drawRegions(svg, vectors, Number(panel.dataset.r));
  }
}

function paintVectors(number) {
  for (const [i, node] of cards) if (Math.floor(i / data.chunk) === number) drawCard(node, i);
}

function place() {
  const list = byId("list");
  const total = Math.ceil(shown.length / grid.columns);
  list.style.height = grid.all ? "" : `${total * grid.high}px`;
  list.classList.toggle("printing", grid.all);
  const top = -list.getBoundingClientRect().top;
  const first = grid.all ? 0 : Math.max(0, Math.floor(top / grid.high) - 2) * grid.columns;
  const last = grid.all ? Math.min(shown.length, 400) : (Math.ceil((top + innerHeight) / grid.high) + 2) * grid.columns;
  const wanted = new Set(shown.slice(first, Math.max(first, last)));
  for (const [i, node] of cards) {
    if (!wanted.has(i)) { node.remove(); cards.delete(i); }
  }
  const wide = grid.perLine * (grid.panel + GAP);
  let before = null;
  shown.slice(first, Math.max(first, last)).forEach((i, n) => {
    if (!cards.has(i)) cards.set(i, card(i));
    const node = cards.get(i);
    const where = first + n;
    node.style.width = `${wide}px`;
    node.style.setProperty("--panel", `${grid.panel}px`);
    node.style.transform = grid.all ? "" : `translate(${(where % grid.columns) * (wide + GAP)}px, ${Math.floor(where / grid.columns) * grid.high}px)`;
    node.style.height = grid.all ? "" : `${grid.high - GAP}px`;
    node.setAttribute("aria-posinset", where + 1);
    node.setAttribute("aria-setsize", shown.length);
    // In the order of the list, so that the tab key goes through it as it is seen.
    const after = before ? before.nextSibling : list.firstChild;
    if (after !== node) list.insertBefore(node, after);
    before = node;
  });
}

function update({ rebuild = false } = {}) {
  const everything = data.ids.map((_, i) => i);
  shown = ordered(everything.filter((i) => keeps(i, state.t)), state.t);
  if (rebuild) { for (const node of cards.values()) node.remove(); cards.clear(); }
  measure();
  for (const [i, node] of cards) dress(node, i);
  place();
  byId("threshold-value").textContent = state.t.toFixed(3);
  byId("count").textContent = shown.length ? `${shown.length} of ${data.ids.length}` : "no image passes these filters";
  for (const row of document.querySelectorAll("tr[data-run]")) {
    const r = Number(row.dataset.run);
    const n = rates(r, state.t);
    const text = (hits, of) => (of ? `${hits} of ${of} (${((100 * hits) / of).toFixed(1)} %)` : "none to evaluate");
    row.querySelector(".escape-rate").textContent = text(n.escape, n.bad);
    row.querySelector(".overkill-rate").textContent = text(n.overkill, n.good);
  }
}

const CONTROLS = { type: "type", part: "part", region: "region", model: "model", fold: "fold", order: "order", q: "search" };

function showControls() {
  for (const [name, id] of Object.entries(CONTROLS)) byId(id).value = String(state[name]);
  byId("threshold").value = state.t;
}

function applyHash() {
  const before = `${state.model}`;
  readHash();
  showControls();
  update({ rebuild: before !== `${state.model}` });
  showImage();
}

function option(select, value, text) {
  const node = make("option", text);
  node.value = value;
  select.append(node);
}

function step(by) {
  const focused = document.activeElement?.closest?.(".entry");
  const from = focused ? shown.indexOf(Number(focused.dataset.i)) : at - by;
  at = Math.min(shown.length - 1, Math.max(0, from + by));
  if (!shown.length) return;
  const top = byId("list").getBoundingClientRect().top + scrollY;
  scrollTo(0, top + Math.floor(at / grid.columns) * grid.high - byId("controls").offsetHeight - 8);
  place();
  cards.get(shown[at])?.querySelector(".panel").focus({ preventScroll: true });
}

function start() {
  data.gonePlaces = new Set(data.gone);
  for (const type of data.types) option(byId("type"), type, type);
  data.runs.forEach((run, r) => option(byId("model"), r, run.name));
  const folds = [...new Set(data.fold)].filter((fold) => fold >= 0).sort((a, b) => a - b);
  for (const fold of folds) option(byId("fold"), fold, `fold ${fold}`);
  byId("fold").hidden = folds.length < 2;
  for (const [name, id] of Object.entries(CONTROLS)) {
    byId(id).addEventListener(name === "q" ? "input" : "change", () => {
      state[name] = name === "model" || name === "fold" ? Number(byId(id).value) : byId(id).value;
      update({ rebuild: name === "model" });
      writeHash(name !== "q");
    });
  }
  byId("threshold").addEventListener("input", () => { state.t = Number(byId("threshold").value); update(); });
  byId("threshold").addEventListener("change", () => writeHash(true));
  byId("reset").addEventListener("click", () => { state.t = DEFAULTS.t; showControls(); update(); writeHash(true); });
  byId("clear").addEventListener("click", () => {
    const many = state.model >= 0;
    Object.assign(state, DEFAULTS, { t: state.t });
    showControls();
    update({ rebuild: many });
    writeHash(true);
  });
  let asked = false;
  addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; place(); });
  }, { passive: true });
  addEventListener("resize", () => update({ rebuild: true }));
  addEventListener("popstate", applyHash);
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", place);
  addEventListener("beforeprint", () => { grid.all = true; place(); });
  addEventListener("afterprint", () => { grid.all = false; update({ rebuild: true }); });
  startViewer();
  applyHash();
  document.documentElement.dataset.ready = "yes";
}
