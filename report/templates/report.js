"use strict";
const buttons = [...document.querySelectorAll("button[data-filter]")];
const entries = [...document.querySelectorAll(".entry")];
const count = document.getElementById("count");

function show(button) {
  const { filter, type } = button.dataset;
  let shown = 0;
  for (const entry of entries) {
    const keep =
      filter === "all" ||
      (filter === "wrong" && entry.dataset.wrong === "yes") ||
      (filter === "type" && entry.dataset.type === type);
    entry.hidden = !keep;
    shown += keep ? 1 : 0;
  }
  for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
  count.textContent = `${shown} shown`;
}

for (const button of buttons) button.addEventListener("click", () => show(button));
