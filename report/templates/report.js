"use strict";
// Verdicts, filters and rates follow the threshold; everything is read from the page itself.
const byId = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("button[data-filter]")];
const entries = [...document.querySelectorAll(".entry")].map((node) => ({
  node,
  bad: node.dataset.defective === "yes",
  type: node.dataset.type,
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
addEventListener("hashchange", openHash);
addEventListener("keydown", (event) => {
  if (event.target.closest("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const runs = [...document.querySelectorAll("tr[data-run]")].map((row) => row.dataset.run);
  if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "?") byId("help").hidden = !byId("help").hidden;
  else if (event.key >= "1" && event.key <= "9" && runs[event.key - 1] !== undefined) {
    const run = runs[event.key - 1];
    if (!hiddenRuns.delete(run)) hiddenRuns.add(run);
    update();
  } else return;
  event.preventDefault();
});
update();
openHash();
