// All images on a plane, near each other where they look alike; a dragged rectangle is a filter.
const MAP = { high: 320, edge: 14, near: 14, drag: 5 };
const MAP_KINDS = { escape: "escape", overkill: "overkill", hit: "defective, called so", good: "good, called so", none: "not evaluated" };
const MAP_COLORS = { escape: "--bad", overkill: "--warn", hit: "--accent", good: "--good", none: "--soft" };
let mapDrag = null;

function mapKind(i) {
  const said = data.runs.length ? verdict(i, headRun(), state.t) : "";
  return said === "correct" ? (data.bad[i] ? "hit" : "good") : said || "none";
}

function mapBox() { return state.box ? state.box.split(",").map(Number) : null; }

function inMapBox(i) {
  const [box, place] = [mapBox(), data.place[i]];
  if (!box) return true;
  return Boolean(place) && place[0] >= box[0] && place[0] <= box[2] && place[1] >= box[1] && place[1] <= box[3];
}

// Four numbers from 0 to 1, left and top first; anything else counts as not given.
function readMapBox(text) {
  const box = (text || "").split(",").map((part) => (part === "" ? NaN : Number(part)));
  return box.length === 4 && box.every((n) => n >= 0 && n <= 1) && box[0] <= box[2] && box[1] <= box[3] ? box.join(",") : "";
}

function mapWide() { return byId("map").clientWidth; }
function mapX(share) { return MAP.edge + share * (mapWide() - 2 * MAP.edge); }
function mapY(share) { return MAP.edge + share * (MAP.high - 2 * MAP.edge); }
function mapShares({ x, y }) {
  const share = (at, long) => Math.round(1000 * Math.min(1, Math.max(0, (at - MAP.edge) / (long - 2 * MAP.edge)))) / 1000;
  return [share(x, mapWide()), share(y, MAP.high)];
}

// A shape for each kind, so that color is not all that tells them apart.
function mapMark(pen, kind, x, y) {
  pen.beginPath();
  if (kind === "escape") { pen.moveTo(x, y - 6); pen.lineTo(x + 6, y + 5); pen.lineTo(x - 6, y + 5); pen.closePath(); }
  else if (kind === "overkill") { pen.moveTo(x, y - 6); pen.lineTo(x + 6, y); pen.lineTo(x, y + 6); pen.lineTo(x - 6, y); pen.closePath(); }
  else pen.arc(x, y, kind === "hit" ? 4 : 3, 0, 7);
  pen.fill();
}

function drawMap() {
  byId("map-fold").hidden = !data.place.some(Boolean);
  if (byId("map-fold").hidden || !byId("map-fold").open) return;
  const [canvas, style] = [byId("map"), getComputedStyle(document.documentElement)];
  const [wide, dense] = [mapWide(), devicePixelRatio || 1];
  canvas.width = wide * dense;
  canvas.height = MAP.high * dense;
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  const seen = new Set(shown);
  const count = Object.fromEntries(Object.keys(MAP_KINDS).map((kind) => [kind, 0]));
  const dots = data.ids.map((_, i) => i).filter((i) => data.place[i]).map((i) => ({ i, kind: mapKind(i) }));
  for (const { kind } of dots) count[kind] += 1;
  // What is wrong lies on top.
  for (const wanted of ["none", "good", "hit", "overkill", "escape"]) {
    pen.fillStyle = style.getPropertyValue(MAP_COLORS[wanted]);
    for (const { i, kind } of dots) {
      if (kind !== wanted) continue;
      pen.globalAlpha = seen.has(i) ? 1 : 0.2;
      mapMark(pen, kind, mapX(data.place[i][0]), mapY(data.place[i][1]));
    }
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = style.getPropertyValue("--accent");
  const box = mapDrag?.moved ? mapDragBox() : mapBox();
  if (box) pen.strokeRect(mapX(box[0]), mapY(box[1]), mapX(box[2]) - mapX(box[0]), mapY(box[3]) - mapY(box[1]));
  const words = Object.entries(MAP_KINDS).filter(([kind]) => count[kind]).map(([kind, said]) => `${count[kind]} ${said}`).join(", ");
  byId("map").setAttribute("aria-label", `Map of ${dots.length} images by look: ${words}`);
  byId("map-said").textContent = `Near is alike by look. ${words}${data.runs.length ? ` by ${data.runs[headRun()].name}` : ""}. Triangle: escape; diamond: overkill; pale: left out by a filter. Drag a rectangle to see its images alone; the filters below do the same by key.`;
  byId("map-clear").hidden = !state.box;
}

function mapDragBox() {
  const [a, b] = [mapShares(mapDrag.from), mapShares(mapDrag.to)];
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}

function mapNear({ x, y }) {
  let [best, least] = [-1, MAP.near];
  data.place.forEach((place, i) => {
    const far = place ? Math.hypot(mapX(place[0]) - x, mapY(place[1]) - y) : Infinity;
    if (far <= least) [best, least] = [i, far];
  });
  return best;
}

function mapPeek(point) {
  const [peek, i] = [byId("map-peek"), point ? mapNear(point) : -1];
  peek.hidden = i < 0;
  if (i < 0) return;
  if (peek.dataset.i !== String(i)) {
    const image = new Image();
    image.src = `thumbs/${i}.jpg`;
    image.alt = "";
    peek.dataset.i = i;
    peek.replaceChildren(image, make("b", data.ids[i]), make("span", ""));
  }
  peek.lastChild.textContent = `${data.types[data.type[i]]}; ${MAP_KINDS[mapKind(i)]}`;
  // On the side where there is room.
  const [x, y] = data.place[i];
  peek.style.left = `${x < 0.5 ? mapX(x) + 14 : Math.max(0, mapX(x) - 14 - peek.offsetWidth)}px`;
  peek.style.top = `${y < 0.5 ? mapY(y) : Math.max(0, mapY(y) - peek.offsetHeight)}px`;
}

function setMapBox(text) {
  if (state.box === text) return;
  state.box = text;
  update();
  writeHash(true);
}

function startMap() {
  const canvas = byId("map");
  const at = (event) => { const box = canvas.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  byId("map-fold").addEventListener("toggle", drawMap);
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    mapDrag = { from: at(event), to: at(event), moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    const point = at(event);
    if (!mapDrag) { mapPeek(point); return; }
    mapDrag.to = point;
    mapDrag.moved ||= Math.hypot(point.x - mapDrag.from.x, point.y - mapDrag.from.y) > MAP.drag;
    mapPeek(null);
    drawMap();
  });
  canvas.addEventListener("pointerup", () => {
    const drag = mapDrag;
    const box = drag?.moved ? mapDragBox().join(",") : "";
    mapDrag = null;
    if (box) setMapBox(box);
    else if (drag && mapNear(drag.from) >= 0) openViewer(mapNear(drag.from), headRun());
  });
  canvas.addEventListener("pointercancel", () => { mapDrag = null; drawMap(); });
  canvas.addEventListener("pointerleave", () => mapPeek(null));
  byId("map-clear").addEventListener("click", () => { setMapBox(""); byId("map-fold").querySelector("summary").focus(); });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("viewer").open) return;
    if (mapDrag) { mapDrag = null; drawMap(); } else setMapBox("");
  });
}
