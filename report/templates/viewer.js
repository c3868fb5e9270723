// The viewer: one image with layers, zoom at the pointer, and truth and prediction in turn.
const look = { i: -1, r: 0, zoom: 1, blink: "both", focus: null, pair: false };
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
  Object.assign(look, { i, r: state.run });
  if (changed) look.blink = "both";
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
  if (changed) fit();
  else paint();
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
  if (vectors.runs[r]?.heat) add(vectors.runs[r].heat, "heat", "heat map");
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
  const range = data.runs[look.r].range;
  byId("heat-scale").textContent = range ? `heat map: ${Number(range[0].toPrecision(3))} (dark) to ${Number(range[1].toPrecision(3))} (bright), the same for all images of the run.` : "";
}

function label(labels, vectors, box, text, cls) {
  const size = 13 / look.zoom;
  const wide = text.length * size * 0.58;
  const x = Math.max(0, Math.min(box[0], vectors.size[0] - wide));
  // Above the box, or below it where there is no room: never over the defect.
  const y = box[1] > size * 1.3 ? box[1] - size * 0.35 : box[3] + size;
  const node = svgNode("text", { x, y: Math.min(y, vectors.size[1] - size * 0.2), "font-size": size, "stroke-width": size / 4, class: cls });
  node.textContent = text;
  labels.append(node);
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
    const labels = layers.querySelector(".layer-labels");
    labels?.replaceChildren();
    const said = vectors.runs[r];
    if (labels && visible.boxes) {
      for (const [kind, box, , score, alarm] of said?.found || []) {
        label(labels, vectors, box, `${alarm ? "false alarm" : "hit"}: ${(data.classes[kind] || "?").slice(0, 40)} ${score.toFixed(2)}`, alarm ? "alarm" : "hit");
      }
    }
    if (labels && visible.truth && said?.hit) {
      vectors.truth.forEach(([, box], n) => { if (!said.hit[n]) label(labels, vectors, box, "missed", "missed"); });
    }
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

const VIEWER_KEYS = {
  " ": blink,
  p: pair,
  "+": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: fit,
  ArrowRight: () => along(1),
  ArrowLeft: () => along(-1),
  ArrowDown: () => otherModel(1),
  ArrowUp: () => otherModel(-1),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // Text fields keep all keys; other controls keep those that work them.
  const control = event.target.closest?.("input, select, button, summary");
  const kind = control?.matches("input[type=search], select") ? "text" : control?.matches("input[type=range]") ? "range" : control ? "press" : "";
  if (kind === "text" || (kind === "range" && event.key.startsWith("Arrow"))) return;
  if (kind === "press" && (event.key === " " || event.key === "Enter")) return;
  if (state.img) {
    if (!VIEWER_KEYS[event.key]) return;
    VIEWER_KEYS[event.key]();
  } else if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "?") byId("help").hidden = !byId("help").hidden;
  else if (event.key >= "1" && event.key <= "9" && Number(event.key) <= data.runs.length) {
    const r = Number(event.key) - 1;
    state.model = state.model === r ? -1 : r;
    showControls();
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
  stage.addEventListener("scroll", follow, { passive: true });
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

const first = document.createElement("script");
first.src = "data/index.js";
first.addEventListener("error", () => { byId("count").textContent = "The folder data/ beside this page is missing: copy the whole report folder."; });
document.head.append(first);
