// The gallery: only the entries in sight stand in the page, so that 5,000 are as quick as 50.
const SVG = "http://www.w3.org/2000/svg";
const GAP = 12;
const HEAD = 30;
const CAPTION = 88;
const PAD = 18;
const cards = new Map();
const grid = { panel: 180, entry: 200, columns: 1, perLine: 1, high: 300, all: false };
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
  for (const [, box, path, , place] of said?.found || []) {
    const kind = STATES[place];
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
  const least = Math.min(wide < 600 ? 150 : 190, (wide - GAP - PAD) / 2);
  grid.perLine = Math.max(1, Math.min(n, Math.floor((wide - PAD + GAP) / (least + GAP))));
  const entry = grid.perLine * (least + GAP) - GAP + PAD;
  grid.columns = Math.max(1, Math.floor((wide + GAP) / (entry + GAP)));
  // The cards take the whole width: what is left over makes the pictures larger.
  grid.entry = Math.floor((wide + GAP) / grid.columns) - GAP;
  grid.panel = Math.floor((grid.entry - PAD + GAP) / grid.perLine) - GAP;
  const lines = Math.ceil(n / grid.perLine);
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
  if (data.dates[i]) head.append(" ", make("span", data.dates[i], "type"));
  if (data.notes[i]) { head.append(" ", make("span", "not readable", "note")); head.title = data.notes[i]; }
  const panels = make("div", "", "panels");
  for (const r of runsShown().length ? runsShown() : [-1]) {
    const panel = make("button", "", "panel");
    panel.type = "button";
    panel.dataset.r = r;
    panel.append(frame(i, r));
    const caption = make("span", "", "caption");
    if (r >= 0) caption.append(make("b", data.runs[r].name), make("span", "", "said"), make("span", "", "why"), make("small"));
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
    panel.classList.toggle("quiet", hidesRegions(i, r, state.t));
    const cause = causeOf(i, r, state.t).words;
    panel.querySelector(".why").textContent = cause;
    const words = `${data.ids[i]}, ${data.runs[r].name}: ${verdictWords(i, r, state.t)}${cause ? `; ${cause}` : ""}${regions ? `; ${regions}` : ""}`;
    if (image) image.alt = words;
    panel.dataset.cause = causeOf(i, r, state.t).kind;
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
  const last = grid.all ? 0 : (Math.max(0, Math.ceil((top + innerHeight) / grid.high)) + 2) * grid.columns;
  const wanted = new Set(shown.slice(first, Math.max(first, last)));
  for (const [i, node] of cards) {
    if (!wanted.has(i)) { node.remove(); cards.delete(i); }
  }
  const wide = grid.entry;
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
  // New cards are dressed as they are made, and those that leave need not be.
  const stayed = new Set(cards.keys());
  place();
  for (const [i, node] of cards) if (stayed.has(i)) dress(node, i);
  tellThreshold();
  tellChips();
  drawMap();
  byId("count").textContent = shown.length ? `${shown.length} of ${data.ids.length}` : "no image passes these filters";
  for (const row of document.querySelectorAll("tr[data-run]")) {
    const r = Number(row.dataset.run);
    const n = rates(r, state.t);
    row.classList.toggle("chosen", r === headRun());
    row.querySelector(".escape-rate").textContent = shareText(n.escape, n.bad);
    row.querySelector(".overkill-rate").textContent = shareText(n.overkill, n.good);
  }
  for (const row of document.querySelectorAll("tr[data-kind]")) tellKind(row);
}

// Escapes of one type, a cell a model, at the threshold of the page.
function tellKind(row) {
  const type = data.types.indexOf(row.dataset.kind);
  row.querySelectorAll("td").forEach((cell, r) => {
    let [escaped, of] = [0, 0];
    data.type.forEach((kind, i) => {
      if (kind !== type || (state.fold >= 0 && data.fold[i] !== state.fold)) return;
      const said = verdict(i, r, state.t);
      of += said ? 1 : 0;
      escaped += said === "escape" ? 1 : 0;
    });
    cell.textContent = of ? `${escaped} of ${of}` : "—";
    cell.className = `heat-${escaped ? 1 + Math.min(3, Math.floor((4 * escaped) / of)) : 0}`;
  });
}

// How many images each verdict keeps, at this threshold, of the models shown.
function tellChips() {
  const count = { wrong: 0, escape: 0, overkill: 0, disagree: 0, near: 0 };
  // No list is made of each image: this runs for all of them at every step of the threshold.
  const looked = runsShown();
  for (let i = 0; i < data.ids.length; i += 1) {
    let [escape, overkill, near] = [false, false, false];
    for (const r of looked) {
      const said = verdict(i, r, state.t);
      if (!said) continue;
      if (said === "escape") escape = true;
      else if (said === "overkill") overkill = true;
      if (Math.abs(data.scores[r][i] - state.t) < NEAR) near = true;
    }
    count.escape += escape;
    count.overkill += overkill;
    count.wrong += escape || overkill;
    count.disagree += disagree(i, state.t);
    count.near += near;
  }
  for (const chip of document.querySelectorAll(".pick")) {
    chip.querySelector("b").textContent = count[chip.dataset.part];
    chip.setAttribute("aria-pressed", state.part === chip.dataset.part);
  }
}

const CONTROLS = { type: "type", part: "part", region: "region", why: "why", size: "size", source: "source", group: "group", since: "since", until: "until", tag: "tag", model: "model", fold: "fold", order: "order", q: "search" };

function showControls() {
  const part = byId("group");
  part.hidden = state.group === "";
  if (part.options.length < 2 || part.options[1].value !== state.group) {
    part.replaceChildren();
    option(part, "", "all parts");
    if (state.group !== "") option(part, state.group, "one part");
  }
  for (const [name, id] of Object.entries(CONTROLS)) byId(id).value = String(state[name]);
  byId("under").checked = Boolean(state.all);
}

function applyHash() {
  const before = `${state.model}`;
  readHash();
  showControls();
  // Whoever comes by a link sees what filters.
  if (state.box) byId("map-fold").open = true;
  drawChart();
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
  scrollTo(0, top + Math.floor(at / grid.columns) * grid.high - byId("controls").offsetHeight - 12);
  place();
  cards.get(shown[at])?.querySelector(".panel").focus({ preventScroll: true });
}

function startDates() {
  byId("dates").hidden = !data.dates.length;
  if (!data.dates.length) return;
  option(byId("order"), "oldest", "oldest first");
  option(byId("order"), "newest", "newest first");
  const days = data.dates.filter(Boolean).map((date) => date.slice(0, 10)).sort();
  for (const id of ["since", "until"]) Object.assign(byId(id), { min: days[0], max: days.at(-1) });
  const unknown = data.dates.length - days.length;
  byId("no-date").textContent = unknown ? `${plural(unknown, "image")} without a date of the form year-month-day` : "";
}

function start() {
  data.gonePlaces = new Set(data.gone);
  for (const type of data.types) option(byId("type"), type, type);
  data.runs.forEach((run, r) => option(byId("model"), r, run.name));
  const folds = [...new Set(data.fold)].filter((fold) => fold >= 0).sort((a, b) => a - b);
  for (const fold of folds) option(byId("fold"), fold, `fold ${fold}`);
  byId("fold").hidden = folds.length < 2;
  for (const [kind, words] of Object.entries(CAUSES)) if (kind) option(byId("why"), kind, words);
  if (data.baseline >= 0) for (const word of CHANGES) option(byId("part"), word, `${word} against ${data.runs[data.baseline].name}`);
  for (const source of data.sources) option(byId("source"), source, source);
  byId("source").hidden = data.sources.length < 2;
  startDates();
  for (const tag of TAGS) option(byId("tag"), tag, tag);
  for (const chip of document.querySelectorAll(".pick")) {
    chip.hidden = chip.dataset.part === "disagree" && data.runs.length < 2;
    chip.addEventListener("click", () => {
      state.part = state.part === chip.dataset.part ? "" : chip.dataset.part;
      showControls();
      update();
      writeHash(true);
    });
  }
  const members = new Map();
  data.parts.forEach((part) => members.set(part, (members.get(part) || 0) + 1));
  data.severalOf = members;
  byId("group").hidden = true;
  byId("under").addEventListener("change", () => { state.all = byId("under").checked ? 1 : 0; update(); writeHash(true); });
  for (const [name, id] of Object.entries(CONTROLS)) {
    byId(id).addEventListener(name === "q" ? "input" : "change", () => {
      state[name] = name === "model" || name === "fold" ? Number(byId(id).value) : byId(id).value;
      if (name === "model" || name === "fold") drawChart();
      update({ rebuild: name === "model" });
      writeHash(name !== "q");
    });
  }
  byId("clear").addEventListener("click", () => {
    const many = state.model >= 0;
    Object.assign(state, DEFAULTS, { t: state.t });
    showControls();
    drawChart();
    update({ rebuild: many });
    writeHash(true);
  });
  let asked = false;
  addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; place(); });
  }, { passive: true });
  addEventListener("resize", () => { drawChart(); update({ rebuild: true }); });
  addEventListener("popstate", applyHash);
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", place);
  startPrint();
  startViewer();
  startTags();
  startMap();
  if (data.runs.length) startThreshold();
  applyHash();
  document.documentElement.dataset.ready = "yes";
}
