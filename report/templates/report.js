"use strict";
// Verdicts, filters and rates follow the threshold; everything is read from the page itself.
const byId = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("button[data-filter]")];
const entries = [...document.querySelectorAll(".entry")].map((node, place) => ({
  node,
  bad: node.dataset.defective === "yes",
  type: node.dataset.type,
  place,
  text: node.querySelector("h3").textContent.toLowerCase(),
  panels: [...node.querySelectorAll("figure[data-score]")].map((figure) => ({
    figure,
    run: figure.dataset.run,
    score: Number(figure.dataset.score),
    word: figure.querySelector(".verdict"),
  })),
}));
const hiddenRuns = new Set();
let chosen = buttons[0];

function keeps(entry, threshold) {
  const { filter, type } = chosen.dataset;
  const shown = entry.panels.filter((panel) => !hiddenRuns.has(panel.run));
  const missed = entry.bad && shown.some((panel) => panel.score < threshold);
  const alarm = !entry.bad && shown.some((panel) => panel.score >= threshold);
  const wanted = { all: true, wrong: missed || alarm, missed, alarm, type: entry.type === type };
  return wanted[filter] && entry.text.includes(byId("search").value.trim().toLowerCase());
}

function update() {
  const threshold = Number(byId("threshold").value);
  byId("threshold-value").textContent = threshold.toFixed(3);
  let shown = 0;
  for (const entry of entries) {
    entry.node.hidden = !keeps(entry, threshold);
    shown += entry.node.hidden ? 0 : 1;
    for (const panel of entry.panels) {
      const called = panel.score >= threshold;
      panel.word.textContent = called ? "defective" : "good";
      panel.figure.classList.toggle("wrong", called !== entry.bad);
      panel.figure.hidden = hiddenRuns.has(panel.run);
    }
  }
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
  byId("count").textContent = `${shown} shown`;
  for (const row of document.querySelectorAll("tr[data-run]")) {
    const mine = entries.flatMap((e) => e.panels.filter((p) => p.run === row.dataset.run).map((p) => [e.bad, p.score]));
    const rate = (part, hit) => {
      const hits = part.filter(hit).length;
      return part.length ? `${hits} of ${part.length} (${((100 * hits) / part.length).toFixed(1)} %)` : "none to judge";
    };
    row.querySelector(".escape").textContent = rate(mine.filter((m) => m[0]), (m) => m[1] < threshold);
    row.querySelector(".overkill").textContent = rate(mine.filter((m) => !m[0]), (m) => m[1] >= threshold);
  }
}

const viewer = byId("viewer");
const look = { entry: null, link: null, zoom: 1, hw: [1, 1], blink: false };

function paint() {
  const layers = byId("layers");
  const wide = Math.max(1, look.hw[1] * look.zoom);
  layers.style.width = `${wide}px`;
  layers.style.height = `${(wide * look.hw[0]) / look.hw[1]}px`;
  for (const image of layers.querySelectorAll("img[data-layer]")) {
    const kind = image.dataset.layer;
    const wanted = document.querySelector(`input[data-layer="${kind}"]`).checked;
    image.hidden = look.blink ? kind !== "truth" : !wanted;
    if (kind === "heat" || kind === "masks") image.style.opacity = byId("opacity").value;
  }
}

function fit() {
  const stage = byId("stage");
  look.zoom = Math.min((stage.clientWidth - 4) / look.hw[1], (stage.clientHeight - 4) / look.hw[0]);
  paint();
}

function zoom(by) {
  const stage = byId("stage");
  const before = look.zoom;
  look.zoom = Math.min(16, Math.max(0.05, look.zoom * by));
  const grown = look.zoom / before;
  const middle = [stage.scrollLeft + stage.clientWidth / 2, stage.scrollTop + stage.clientHeight / 2];
  paint();
  stage.scrollTo(middle[0] * grown - stage.clientWidth / 2, middle[1] * grown - stage.clientHeight / 2);
}

function open(entry, link) {
  const layers = byId("layers");
  const panel = entry.panels.find((p) => p.figure.contains(link));
  Object.assign(look, { entry, link, blink: false });
  layers.replaceChildren();
  const add = (file, kind, alt) => {
    const image = new Image();
    if (kind) image.dataset.layer = kind;
    image.alt = alt;
    image.draggable = false;
    image.src = file;
    layers.append(image);
    return image;
  };
  const base = add(entry.node.dataset.plain, "", entry.node.querySelector("h3").textContent);
  for (const kind of ["heat", "masks", "boxes"]) {
    if (link.dataset[kind]) add(link.dataset[kind], kind, kind);
    document.querySelector(`input[data-layer="${kind}"]`).disabled = !link.dataset[kind];
  }
  add(entry.node.dataset.truth, "truth", "truth");
  byId("viewer-title").textContent = entry.node.querySelector("h3").textContent;
  byId("viewer-verdict").textContent = panel ? `${panel.run}: ${panel.word.textContent} ${panel.score.toFixed(3)}` : "truth";
  if (!viewer.open) {
    viewer.showModal();
    // On the first box, where the browser puts it, the space bar would tick it.
    byId("stage").focus();
  }
  base.decode().then(() => { look.hw = [base.naturalHeight, base.naturalWidth]; fit(); }, () => {});
  history.replaceState(null, "", `#${encodeURIComponent(entry.node.id)}`);
}

function sort() {
  const how = byId("order").value;
  const top = (entry) => Math.max(...entry.panels.map((panel) => panel.score), -1);
  const by = {
    worst: (a, b) => a.place - b.place,
    name: (a, b) => a.text.localeCompare(b.text),
    type: (a, b) => a.type.localeCompare(b.type) || a.place - b.place,
    score: (a, b) => top(b) - top(a),
  };
  const parent = entries[0] && entries[0].node.parentNode;
  entries.sort(by[how]);
  for (const entry of entries) parent.append(entry.node);
}

function step(by) {
  const visible = entries.filter((entry) => !entry.node.hidden).map((entry) => entry.node);
  const now = visible.indexOf(document.activeElement.closest(".entry"));
  const next = visible[Math.min(visible.length - 1, Math.max(0, now + by))];
  if (!next) return;
  history.replaceState(null, "", `#${encodeURIComponent(next.id)}`);
  next.focus();
  next.scrollIntoView({ block: "start" });
}

function openHash() {
  const wanted = entries.find((entry) => entry.node.id === decodeURIComponent(location.hash.slice(1)));
  if (!wanted) return;
  if (wanted.node.hidden) {
    chosen = buttons[0];
    byId("search").value = "";
    update();
  }
  wanted.node.focus();
  wanted.node.scrollIntoView({ block: "start" });
}

for (const button of buttons) button.addEventListener("click", () => { chosen = button; update(); });
byId("threshold").addEventListener("input", update);
byId("search").addEventListener("input", update);
byId("reset").addEventListener("click", () => { byId("threshold").value = "0.5"; update(); });
byId("order").addEventListener("change", sort);
for (const entry of entries) {
  for (const link of entry.node.querySelectorAll("figure a")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(entry, link);
    });
  }
}
for (const box of document.querySelectorAll("input[data-layer]")) box.addEventListener("change", paint);
byId("opacity").addEventListener("input", paint);
byId("zoom-in").addEventListener("click", () => zoom(1.4));
byId("zoom-out").addEventListener("click", () => zoom(1 / 1.4));
byId("zoom-fit").addEventListener("click", fit);
byId("viewer-close").addEventListener("click", () => viewer.close());
byId("stage").addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}, { passive: false });
byId("stage").addEventListener("pointermove", (event) => {
  if (event.buttons & 1) byId("stage").scrollBy(-event.movementX, -event.movementY);
});
viewer.addEventListener("close", () => { if (look.entry) look.entry.node.focus(); });

function viewerKey(event) {
  const along = (by) => {
    const shown = entries.filter((entry) => !entry.node.hidden);
    const next = shown[shown.indexOf(look.entry) + by];
    const links = next ? [...next.node.querySelectorAll("figure a")] : [];
    const place = [...look.entry.node.querySelectorAll("figure a")].indexOf(look.link);
    if (links.length) open(next, links[Math.min(place, links.length - 1)]);
  };
  const keys = {
    " ": () => { look.blink = !look.blink; paint(); },
    "+": () => zoom(1.4),
    "-": () => zoom(1 / 1.4),
    0: fit,
    ArrowRight: () => along(1),
    ArrowLeft: () => along(-1),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

addEventListener("hashchange", openHash);
addEventListener("keydown", (event) => {
  if (viewer.open) {
    if (!event.target.closest("input, button")) viewerKey(event);
    return;
  }
  if (event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const runs = [...document.querySelectorAll("tr[data-run]")].map((row) => row.dataset.run);
  if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === " " && document.activeElement.closest(".entry")) {
    const entry = entries.find((e) => e.node === document.activeElement.closest(".entry"));
    open(entry, [...entry.node.querySelectorAll("figure a")].at(-1));
  } else if (event.key === "?") byId("help").hidden = !byId("help").hidden;
  else if (event.key >= "1" && event.key <= "9" && runs[event.key - 1] !== undefined) {
    const run = runs[event.key - 1];
    if (!hiddenRuns.delete(run)) hiddenRuns.add(run);
    update();
  } else return;
  event.preventDefault();
});
update();
openHash();
