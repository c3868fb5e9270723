// Print: two pages of summary, then the wrong images of the chosen model, six a page.
const PRINTED = 96;

// Largest error first; those beyond the limit are counted in words.
function wrongOf(r) {
  const error = (i) => Math.abs(data.scores[r][i] - state.t);
  return data.ids.map((_, i) => i)
    .filter((i) => ["escape", "overkill"].includes(verdict(i, r, state.t)))
    .sort((a, b) => data.bad[b] - data.bad[a] || error(b) - error(a));
}

function printed(i, r) {
  const node = make("div", "", "printed");
  node.dataset.verdict = verdict(i, r, state.t);
  const box = frame(i, r);
  const image = box.querySelector("img");
  if (image) image.loading = "eager";
  const vectors = vectorsOf(i);
  if (vectors) {
    box.style.aspectRatio = `${vectors.size[0]} / ${vectors.size[1]}`;
    drawRegions(box.querySelector("svg"), vectors, r);
  }
  node.append(box, make("b", data.ids[i]), make("span", `${verdictWords(i, r, state.t)}; truth: ${data.types[data.type[i]]}`), make("span", causeOf(i, r, state.t).words), make("span", regionWords(i, r, state.t)));
  return node;
}

function fillPrint() {
  const list = byId("print");
  list.replaceChildren();
  if (!data.runs.length) return;
  const r = headRun();
  const wrong = wrongOf(r);
  const kept = wrong.slice(0, PRINTED);
  const rest = wrong.length - kept.length;
  list.append(make("h2", `${data.runs[r].name}: ${plural(wrong.length, "wrong image")} of ${data.ids.length} at threshold ${state.t.toFixed(3)}`));
  list.append(make("p", `Escapes first, largest error first. ${rest ? `${rest} more are not printed: the page shows them.` : "All are printed."} Dashed: truth. Solid: prediction.`));
  for (let at = 0; at < kept.length; at += 6) {
    const sheet = make("div", "", "six");
    for (const i of kept.slice(at, at + 6)) sheet.append(printed(i, r));
    list.append(sheet);
  }
}

function startPrint() {
  addEventListener("beforeprint", fillPrint);
  addEventListener("afterprint", () => byId("print").replaceChildren());
  // A program that prints at once opens the page so, and waits until the outlines are there.
  if (new URLSearchParams(location.search).has("print")) {
    const wait = () => {
      const missing = wrongOf(headRun()).slice(0, PRINTED).filter((i) => !vectorsOf(i));
      if (missing.length) { setTimeout(wait, 50); return; }
      fillPrint();
    };
    if (data.runs.length) setTimeout(wait);
  }
}
