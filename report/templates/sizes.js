// Score against defect size: a dot an image with a defect whose extent is known, of one model.
const SIZES_CHART = { wide: 620, high: 176, left: 34, right: 8, top: 8, bottom: 154 };
let sizeDots = [];

function sizePoints(r) {
  return data.ids.map((_, i) => i).filter((i) => data.bad[i] && data.area[i] > 0 && data.scores[r][i] !== null && (state.fold < 0 || data.fold[i] === state.fold));
}

function scoreHeight(score) { return SIZES_CHART.bottom - score * (SIZES_CHART.bottom - SIZES_CHART.top); }

function drawSizes() {
  const known = data.area.some((area, i) => data.bad[i] && area > 0);
  byId("sizes-fold").hidden = !known || !data.runs.length;
  if (!byId("sizes-fold").open || byId("sizes-fold").hidden) return;
  const r = headRun();
  const svg = byId("sizes");
  const { left, right, top, bottom, high } = SIZES_CHART;
  SIZES_CHART.wide = svg.clientWidth || SIZES_CHART.wide;
  const wide = SIZES_CHART.wide;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  const points = sizePoints(r);
  const logs = points.map((i) => Math.log10(data.area[i]));
  const from = Math.floor(logs.reduce((a, b) => Math.min(a, b), Infinity));
  const to = Math.max(from + 1, Math.ceil(logs.reduce((a, b) => Math.max(a, b), -Infinity)));
  const across = (log) => left + ((log - from) / (to - from)) * (wide - left - right);
  const text = (x, y, words, anchor) => { const node = svgNode("text", { x, y, "text-anchor": anchor, class: "tick" }); node.textContent = words; svg.append(node); };
  for (const score of [0, 0.5, 1]) {
    svg.append(svgNode("line", { x1: left, x2: wide - right, y1: scoreHeight(score), y2: scoreHeight(score), class: score ? "mark" : "axis" }));
    text(left - 6, scoreHeight(score) + 4, String(score), "end");
  }
  if (points.length) for (let n = from; n <= to; n += 1) text(across(n), high - 6, (10 ** n).toLocaleString("en"), n === from ? "start" : n === to ? "end" : "middle");
  sizeDots = points.map((i, n) => ({ i, x: across(logs[n]), y: scoreHeight(data.scores[r][i]) }));
  for (const { i, x, y } of sizeDots) {
    const dot = svgNode("circle", { cx: x, cy: y, r: 4, fill: typeColor(data.type[i]), class: "size-dot" });
    const title = svgNode("title", {});
    title.textContent = `${data.ids[i]}: ${data.types[data.type[i]]}, ${Math.round(data.area[i]).toLocaleString("en")} pixels, score ${data.scores[r][i].toFixed(3)}`;
    dot.append(title);
    svg.append(dot);
  }
  svg.append(svgNode("line", { id: "sizes-line", x1: left, x2: wide - right, class: "handle" }));
  tellSizes();
}

// The line follows the threshold, and the name says what the picture shows.
function tellSizes() {
  const line = byId("sizes-line");
  if (!line) return;
  for (const name of ["y1", "y2"]) line.setAttribute(name, scoreHeight(state.t));
  const r = headRun();
  const under = sizeDots.filter(({ i }) => data.scores[r][i] < state.t);
  const areas = under.map(({ i }) => data.area[i]);
  const largest = areas.length ? `; the largest defect below it has ${Math.round(areas.reduce((a, b) => Math.max(a, b))).toLocaleString("en")} pixels` : "";
  const words = `${under.length} of ${sizeDots.length} images with a defect of known size score below ${state.t.toFixed(3)}${largest}.`;
  byId("sizes").setAttribute("aria-label", `Score of ${data.runs[r].name} against the area of the largest defect. ${words}`);
  byId("sizes-said").textContent = `Area of the largest defect in pixels. ${words} A click opens the image; the order “smallest defect” lists them.`;
}

function startSizes() {
  byId("sizes-fold").addEventListener("toggle", drawSizes);
  byId("sizes").addEventListener("click", (event) => {
    const box = byId("sizes").getBoundingClientRect();
    const far = ({ x, y }) => Math.hypot(x - (event.clientX - box.left), y - (event.clientY - box.top));
    const near = sizeDots.reduce((best, dot) => (best && far(best) <= far(dot) ? best : dot), null);
    if (near && far(near) <= 14) openViewer(near.i, headRun());
  });
}
