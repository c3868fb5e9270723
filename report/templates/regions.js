// Regions in the viewer: one can be chosen with a click or the key r, and is then what a tag goes to.
const regionTags = new Map();

function regionTagKey() { return `defectune-region-tags:${data.key.split_digest || ""}`; }
function regionName({ kind, run, index }) { return kind === "truth" ? `truth ${index}` : `prediction ${index} ${run}`; }

// True regions first, then those of the model that is shown, as the picture shows them.
function regionsInSight() {
  const vectors = vectorsInSight();
  if (!vectors) return [];
  const truth = vectors.truth.map(([label, box], index) => ({ kind: "truth", index, label, box_xyxy: box }));
  if (hidesRegions(look.i, look.r, state.t) || !data.runs.length) return truth;
  const found = vectors.runs[look.r]?.found || [];
  return [...truth, ...found.map(([label, box], index) => ({ kind: "prediction", run: data.runs[look.r].name, index, label, box_xyxy: box }))];
}

function sameRegion(one, other) { return Boolean(one && other) && regionName(one) === regionName(other); }

function chooseRegion(region) {
  look.region = region;
  showTags();
  paint();
}

function nextRegion() {
  const all = regionsInSight();
  chooseRegion(all[all.findIndex((one) => sameRegion(one, look.region)) + 1] || null);
}

// The smallest region under the pointer; a second click goes to the next larger one.
function regionAt(x, y) {
  const area = ({ box_xyxy: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  const under = regionsInSight().filter(({ box_xyxy: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2).sort((a, b) => area(a) - area(b));
  return under[under.findIndex((one) => sameRegion(one, look.region)) + 1] || null;
}

function drawChosen(layers) {
  layers.querySelector(".chosen-region")?.remove();
  if (!look.region) return;
  layers.querySelector("svg")?.append(svgNode("path", { d: boxPath(look.region.box_xyxy), class: "chosen-region" }));
}

function tagsOfRegion(i, region) { return (regionTags.get(data.ids[i]) || []).filter((one) => sameRegion(one.region, region)).map((one) => one.tag); }

function toggleRegionTag(i, tag) {
  const id = data.ids[i];
  const own = regionTags.get(id) || [];
  const { kind, run, index, box_xyxy } = look.region;
  const region = { kind, ...(run === undefined ? {} : { run }), index, box_xyxy };
  const there = own.some((one) => sameRegion(one.region, region) && one.tag === tag);
  const next = there ? own.filter((one) => !(sameRegion(one.region, region) && one.tag === tag)) : [...own, { region, tag }];
  if (next.length) regionTags.set(id, next);
  else regionTags.delete(id);
  try { localStorage.setItem(regionTagKey(), JSON.stringify(Object.fromEntries(regionTags))); } catch { tagsKept = false; }
}

function isRegion(region) {
  return ["truth", "prediction"].includes(region?.kind) && Number.isInteger(region.index) && Array.isArray(region.box_xyxy)
    && region.box_xyxy.length === 4 && region.box_xyxy.every(Number.isFinite);
}

function readRegionTags() {
  regionTags.clear();
  const given = JSON.parse(localStorage.getItem(regionTagKey()) || "{}");
  for (const id of data.ids) {
    const kept = Array.isArray(given[id]) ? given[id].filter((one) => TAGS.includes(one?.tag) && isRegion(one.region)) : [];
    if (kept.length) regionTags.set(id, kept);
  }
}

function regionTagsJson() { return data.ids.flatMap((id) => (regionTags.get(id) || []).map(({ region, tag }) => ({ image_id: id, region, tag }))); }

function tellRegion() {
  const { region } = look;
  const name = region ? `${region.kind === "truth" ? "true" : "predicted"} region ${region.index + 1}, ${data.classes[region.label] || "?"}` : "";
  byId("region-said").textContent = region ? `Tags go to the ${name}.` : "Tags go to the image.";
  byId("tag-buttons").setAttribute("aria-label", region ? `Tags of the ${name}` : "Tags of this image");
}

function startRegions() {
  let down = null;
  const stage = byId("stage");
  stage.addEventListener("pointerdown", (event) => { down = event.button ? null : [event.clientX, event.clientY]; });
  stage.addEventListener("pointerup", (event) => {
    const vectors = vectorsInSight();
    // A drag moves the picture and chooses nothing.
    if (!down || !vectors || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return;
    const box = byId("layers").getBoundingClientRect();
    chooseRegion(regionAt(((event.clientX - box.left) / box.width) * vectors.size[0], ((event.clientY - box.top) / box.height) * vectors.size[1]));
  });
}
