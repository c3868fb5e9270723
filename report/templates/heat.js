// Heat maps, loaded when an image is looked at, and the score under the pointer.
const HEAT_LEVELS = 64;
const heats = new Map();

// The opacity that each level is painted with, see report/heat.py.
function levelOf(alpha) { return alpha ? Math.round(((alpha - 90) / 165) ** 2 * (HEAT_LEVELS - 1)) : 0; }

function heatPicture(name) {
  const image = new Image();
  image.className = "heat";
  image.alt = "heat map";
  image.draggable = false;
  const kept = heats.get(name) || { picture: null, waiting: [], pixels: null };
  image.heat = kept;
  if (kept.picture) image.src = kept.picture;
  else kept.waiting.push(image);
  if (!heats.has(name)) {
    // Few are kept: 5,000 maps would fill the memory.
    if (heats.size >= 24) heats.delete(heats.keys().next().value);
    heats.set(name, kept);
    const script = document.createElement("script");
    script.src = `heat/${name}.js`;
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  }
  return image;
}

// Called by the maps' scripts.
globalThis.defectuneHeat = (name, picture) => {
  const kept = heats.get(name);
  if (!kept) return;
  kept.picture = picture;
  for (const image of kept.waiting.splice(0)) image.src = picture;
};

function heatPixels(image) {
  const { heat, naturalWidth: wide, naturalHeight: high } = image;
  if (!heat.pixels && wide) {
    const canvas = make("canvas");
    Object.assign(canvas, { width: wide, height: high });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    heat.pixels = { wide, high, at: context.getImageData(0, 0, wide, high).data };
  }
  return heat.pixels;
}

// The bounds between which the map's score lies, at shares from 0 to 1 of width and height.
function scoreAt(image, r, x, y) {
  const pixels = heatPixels(image);
  if (!pixels) return null;
  const place = Math.min(pixels.high - 1, Math.floor(y * pixels.high)) * pixels.wide + Math.min(pixels.wide - 1, Math.floor(x * pixels.wide));
  const level = levelOf(pixels.at[4 * place + 3]);
  const [low, high] = data.runs[r].range;
  const score = (n) => low + ((high - low) * n) / (HEAT_LEVELS - 1);
  return level ? [score(level - 1), score(level)] : [null, low];
}

function tellPointed(event, layers, r) {
  const said = byId("pointed");
  said.textContent = "";
  const image = layers.querySelector("img.heat");
  const vectors = vectorsInSight();
  if (!image || !vectors) return;
  const box = layers.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) return;
  const found = scoreAt(image, r, x, y);
  if (!found) return;
  const [low, high] = found;
  const score = low === null ? `at most ${high.toFixed(4)}` : `${low.toFixed(4)} to ${high.toFixed(4)}`;
  said.textContent = `Score ${score} at ${Math.floor(x * vectors.size[0])}, ${Math.floor(y * vectors.size[1])}${look.pair ? ` (${data.runs[r].name})` : ""}.`;
}

function startHeat() {
  byId("stage").addEventListener("pointermove", (event) => tellPointed(event, byId("layers"), look.r));
  byId("stage-b").addEventListener("pointermove", (event) => tellPointed(event, byId("layers-b"), secondRun()));
  for (const id of ["stage", "stage-b"]) byId(id).addEventListener("pointerleave", () => { byId("pointed").textContent = ""; });
}
