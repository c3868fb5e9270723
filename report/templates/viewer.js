// The viewer: one image with layers, zoom at the pointer, and truth and prediction in turn.
const look = { i: -1, r: 0, zoom: 1, blink: "both", focus: null, pair: false, fitted: false, region: null };
const MOST_LABELS = 5;
const pointers = new Map();

function openViewer(i, r) {
  Object.assign(state, { img: data.ids[i], run: r });
  look.focus = document.activeElement;
  writeHash(true);
  showImage();
}

function closeViewer() {
  if (!state.img) return;
  state.img = "";
  state.run = 0;
  writeHash(false);
  showImage();
}

function vectorsInSight() { return look.i >= 0 ? vectorsOf(look.i) : null; }

function showImage() {
  const viewer = byId("viewer");
  const i = state.img ? data.ids.indexOf(state.img) : -1;
  if (i < 0) {
    look.i = -1;
    if (viewer.open) viewer.close();
    return;
  }
  const changed = i !== look.i;
  if (changed || (state.run !== look.r && look.region?.kind === "prediction")) look.region = null;
  Object.assign(look, { i, r: state.run });
  if (changed) { look.blink = "both"; look.fitted = false; }
  showSimilar();
  byId("viewer-title").textContent = data.ids[i];
  if (!viewer.open) { viewer.showModal(); byId("stage").focus(); }
  tellVerdict();
  const vectors = vectorsInSight();
  byId("viewer-note").textContent = "";
  byId("stages").classList.toggle("pair", look.pair);
  byId("stage-b").hidden = !look.pair;
  for (const [layers, r] of sides()) {
    layers.replaceChildren();
    if (vectors) stack(layers, vectors, i, r);
    else layers.textContent = "loading";
  }
  if (!vectors) return;
  const all = sides().map(([, r]) => vectors.runs[r]);
  for (const kind of ["masks", "boxes", "heat"]) {
    const there = all.some((said) => (kind === "heat" ? said?.heat : said?.found?.some((f) => kind === "boxes" || f[2])));
    document.querySelector(`input[data-layer="${kind}"]`).disabled = !there;
  }
  showTags();
  if (look.fitted) paint();
  else { fit(); look.fitted = true; }
}

// The picture, or both of two models; the second is the next model.
function secondRun() { return (look.r + 1) % data.runs.length; }
function sides() { return [[byId("layers"), look.r], ...(look.pair ? [[byId("layers-b"), secondRun()]] : [])]; }

function stack(layers, vectors, i, r) {
  const add = (file, kind, alt) => {
    const image = new Image();
    image.className = kind;
    image.alt = alt;
    image.draggable = false;
    image.src = file;
    layers.append(image);
    return image;
  };
  if (data.gonePlaces.has(i)) {
    layers.append(make("span", data.notes[i] || "The image cannot be read.", "gone"));
  } else {
    const base = add(vectors.full, "base", data.ids[i]);
    base.addEventListener("error", () => {
      if (base.src.endsWith(`thumbs/${i}.jpg`)) return;
      base.src = `thumbs/${i}.jpg`;
      byId("viewer-note").textContent = "The dataset's own image is not at its place; this is the small picture.";
    });
  }
  if (vectors.runs[r]?.heat) layers.append(heatPicture(vectors.runs[r].heat));
  const svg = svgNode("svg", { "aria-hidden": "true" });
  drawRegions(svg, vectors, r);
  svg.append(svgNode("g", { class: "layer-labels" }));
  layers.append(svg);
}

function follow() {
  byId("stage-b").scrollTo(byId("stage").scrollLeft, byId("stage").scrollTop);
}

function pair() {
  if (data.runs.length < 2) return;
  look.pair = !look.pair;
  byId("pair-button").setAttribute("aria-pressed", look.pair);
  showImage();
  fit();
}

function tellVerdict() {
  const line = byId("viewer-verdict");
  line.replaceChildren();
  if (!data.runs.length) { line.textContent = "truth; no model is shown"; return; }
  const said = verdict(look.i, look.r, state.t);
  line.append(make("b", data.runs[look.r].name), " ");
  if (said) line.append(make("span", said, `chip ${said}`), " ");
  line.append(`${verdictWords(look.i, look.r, state.t).replace(/^\w+: /, "")} at threshold ${state.t.toFixed(3)}; truth: ${data.types[data.type[look.i]]}. `);
  if (said) line.append(`Regions: ${regionWords(look.i, look.r, state.t)}.`);
  if (look.pair) {
    const r = secondRun();
    const other = verdict(look.i, r, state.t);
    line.append(" At the right: ", make("b", data.runs[r].name), " ");
    if (other) line.append(make("span", other, `chip ${other}`), ` ${data.scores[r][look.i].toFixed(3)}.`);
    else line.append("not evaluated.");
  }
  const cause = causeOf(look.i, look.r, state.t).words;
  if (cause) line.append(` Why: ${cause}.`);
  const size = data.size[look.i];
  if (size !== null && data.bad[look.i]) line.append(` The largest defect takes ${Number((100 * size).toPrecision(2))} % of the image (${sizeOf(look.i)}).`);
  const part = data.parts[look.i];
  const others = data.severalOf.get(part) - 1;
  byId("same-part").hidden = others < 1;
  byId("same-part").textContent = `${plural(others, "more image")} of this part`;
  const range = data.runs[look.r].range;
  byId("heat-scale").textContent = range ? `Heat map: clear up to ${Number(range[0].toPrecision(3))} (99 % of the pixels of good images), bright at ${Number(range[1].toPrecision(3))}; the same for all images of the run.` : "";
  byId("heat-ramp").hidden = !range;
}

// Above, below, right or left of its box, where neither truth nor another label lies; a label
// without a free place, and all but the first five, show when the pointer is on the box.
function label(labels, vectors, box, text, cls, taken, asked) {
  const size = 13 / look.zoom;
  const wide = text.length * size * 0.58;
  const high = size * 1.25;
  const [w, h] = vectors.size;
  const x = Math.max(0, Math.min(box[0], w - wide));
  const places = [0, 1, 2].flatMap((n) => [[x, box[1] - (n + 1) * high], [x, box[3] + n * high]]);
  places.splice(2, 0, [box[2] + size / 3, box[1]], [box[0] - wide - size / 3, box[1]]);
  const free = ([left, top]) => left >= 0 && top >= 0 && left + wide <= w && top + high <= h
    && taken.every(([x1, y1, x2, y2]) => left >= x2 || x1 >= left + wide || top >= y2 || y1 >= top + high);
  const found = asked ? places.find(free) : null;
  const group = svgNode("g", { class: `label ${found ? "" : "on-hover"}` });
  const [left, top] = found || [x, box[1] - high > 0 ? box[1] - high : Math.min(box[3], h - high)];
  if (found) taken.push([left, top, left + wide, top + high]);
  else group.append(svgNode("path", { d: boxPath(box), class: "target" }));
  const node = svgNode("text", { x: left, y: top + size, "font-size": size, "stroke-width": size / 4, class: cls });
  node.textContent = text;
  group.append(node);
  labels.append(group);
}

function paint() {
  const vectors = vectorsInSight();
  if (!vectors) return;
  const stage = byId("stage");
  const on = (kind) => document.querySelector(`input[data-layer="${kind}"]`).checked;
  const visible = {
    truth: look.blink === "truth" || (look.blink === "both" && on("truth")),
    masks: look.blink !== "truth" && on("masks"),
    boxes: look.blink !== "truth" && on("boxes"),
    heat: look.blink !== "truth" && on("heat"),
  };
  byId("blink").textContent = { both: "truth and prediction", truth: "truth alone", prediction: "prediction alone" }[look.blink];
  for (const [layers, r] of sides()) {
    layers.parentElement.style.padding = `${stage.clientHeight / 2}px ${stage.clientWidth / 2}px`;
    layers.style.width = `${Math.max(1, vectors.size[0] * look.zoom)}px`;
    layers.style.height = `${Math.max(1, vectors.size[1] * look.zoom)}px`;
    layers.classList.toggle("tiny", look.zoom > 2);
    for (const [kind, yes] of Object.entries(visible)) {
      for (const node of layers.querySelectorAll(kind === "heat" ? ".heat" : `.layer-${kind}`)) node.style.display = yes ? "" : "none";
    }
    for (const node of layers.querySelectorAll(".heat, .layer-masks")) node.style.opacity = byId("opacity").value;
    if (r === look.r) drawChosen(layers);
    const labels = layers.querySelector(".layer-labels");
    labels?.replaceChildren();
    const said = vectors.runs[r];
    const quiet = hidesRegions(look.i, r, state.t);
    layers.classList.toggle("quiet", quiet);
    if (!labels) continue;
    const wanted = [];
    if (visible.truth && said?.hit) vectors.truth.forEach(([, box], n) => { if (!said.hit[n]) wanted.push([box, "missed", "missed", true]); });
    if (visible.boxes && !quiet) {
      for (const [kind, box, , score, place] of [...(said?.found || [])].sort((a, b) => b[3] - a[3])) {
        wanted.push([box, `${STATE_WORDS[STATES[place]]}: ${(data.classes[kind] || "?").slice(0, 40)} ${score.toFixed(2)}`, STATES[place], false]);
      }
    }
    const taken = vectors.truth.map(([, box]) => box);
    wanted.forEach(([box, text, cls], n) => label(labels, vectors, box, text, cls, taken, n < MOST_LABELS));
  }
  follow();
}

function fit() {
  const stage = byId("stage");
  const vectors = vectorsInSight();
  if (!vectors) return;
  look.zoom = Math.min((stage.clientWidth - 4) / vectors.size[0], (stage.clientHeight - 4) / vectors.size[1]);
  paint();
  const frame = stage.getBoundingClientRect();
  const box = byId("layers").getBoundingClientRect();
  stage.scrollBy(box.left + box.width / 2 - frame.left - stage.clientWidth / 2, box.top + box.height / 2 - frame.top - stage.clientHeight / 2);
}

// The image's point under (x, y) of the window stays there.
function zoom(by, x, y) {
  const stage = byId("stage");
  const layers = byId("layers");
  const before = layers.getBoundingClientRect();
  const frameBox = stage.getBoundingClientRect();
  const px = x ?? frameBox.left + frameBox.width / 2;
  const py = y ?? frameBox.top + frameBox.height / 2;
  const part = [(px - before.left) / before.width, (py - before.top) / before.height];
  look.zoom = Math.min(64, Math.max(0.02, look.zoom * by));
  paint();
  const after = layers.getBoundingClientRect();
  stage.scrollBy(after.left + part[0] * after.width - px, after.top + part[1] * after.height - py);
}

function along(by) {
  const next = shown[shown.indexOf(look.i) + by];
  if (next === undefined) return;
  state.img = data.ids[next];
  writeHash(false);
  showImage();
}

function otherModel(by) {
  const n = data.runs.length;
  if (n < 2) return;
  state.run = (look.r + by + n) % n;
  writeHash(false);
  showImage();
}

function blink() {
  look.blink = look.blink === "truth" ? "prediction" : "truth";
  paint();
}

function toggleLayer(kind) {
  const box = document.querySelector(`input[data-layer="${kind}"]`);
  if (box.disabled) return;
  box.checked = !box.checked;
  look.blink = "both";
  paint();
}

const VIEWER_KEYS = {
  " ": blink,
  p: pair,
  r: nextRegion,
  "+": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: fit,
  t: () => toggleLayer("truth"),
  b: () => { toggleLayer("boxes"); toggleLayer("masks"); },
  h: () => toggleLayer("heat"),
  ArrowRight: () => along(1),
  ArrowLeft: () => along(-1),
  ArrowDown: () => otherModel(1),
  ArrowUp: () => otherModel(-1),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // Text fields keep all keys; other controls keep those that work them.
  const control = event.target.closest?.("input, select, button, summary");
  const kind = control?.matches("input[type=search], input[type=number], select") ? "text" : control?.matches("input[type=range]") ? "range" : control ? "press" : "";
  if (kind === "text" || (kind === "range" && event.key.startsWith("Arrow"))) return;
  if (kind === "press" && (event.key === " " || event.key === "Enter")) return;
  if (state.img && TAG_KEYS[event.key]) toggleTag(look.i, TAG_KEYS[event.key]);
  else if (state.img) {
    if (!VIEWER_KEYS[event.key]) return;
    VIEWER_KEYS[event.key]();
  } else if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "?") byId("help").hidden = !byId("help").hidden;
  else if (event.key >= "1" && event.key <= "9" && Number(event.key) <= data.runs.length) {
    const r = Number(event.key) - 1;
    state.model = state.model === r ? -1 : r;
    showControls();
    drawChart();
    update({ rebuild: true });
    writeHash(true);
  } else return;
  event.preventDefault();
}

function startViewer() {
  const stage = byId("stage");
  for (const box of document.querySelectorAll("input[data-layer]")) {
    box.addEventListener("change", () => { look.blink = "both"; paint(); });
  }
  byId("opacity").addEventListener("input", paint);
  byId("zoom-in").addEventListener("click", () => zoom(1.4));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.4));
  byId("zoom-fit").addEventListener("click", fit);
  byId("blink-button").addEventListener("click", blink);
  byId("pair-button").addEventListener("click", pair);
  byId("pair-button").hidden = data.runs.length < 2;
  startHeat();
  startRegions();
  stage.addEventListener("scroll", follow, { passive: true });
  byId("same-part").addEventListener("click", () => {
    const { t, model } = state;
    const part = String(data.parts[look.i]);
    closeViewer();
    Object.assign(state, DEFAULTS, { t, model, group: part });
    showControls();
    update();
    writeHash(true);
  });
  byId("viewer-close").addEventListener("click", closeViewer);
  // After a click the keys belong to the image again.
  byId("viewer").addEventListener("pointerup", (event) => { if (event.target.closest("button, input[type=checkbox]")) setTimeout(() => stage.focus()); });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX, event.clientY);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => pointers.set(event.pointerId, event));
  for (const kind of ["pointerup", "pointercancel", "pointerleave"]) stage.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const far = (one) => Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
      zoom(far(event) / far(before), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else stage.scrollBy(before.clientX - event.clientX, before.clientY - event.clientY);
    pointers.set(event.pointerId, event);
  });
  byId("viewer").addEventListener("close", () => {
    closeViewer();
    if (look.focus?.isConnected) look.focus.focus();
  });
  addEventListener("keydown", onKey);
}

