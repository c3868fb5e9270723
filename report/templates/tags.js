// Labels from here: tags of images and regions, kept in the browser and saved as a JSON file.
const TAGS = ["wrong label", "missed defect", "ignore", "look again"];
const TAG_KEYS = { w: "wrong label", m: "missed defect", i: "ignore", l: "look again" };
const tags = new Map();
let tagsKept = true;

function tagKey() { return `defectune-tags:${data.key.split_digest || ""}`; }

function readTags() {
  tags.clear();
  try {
    const given = JSON.parse(localStorage.getItem(tagKey()) || "{}");
    for (const id of data.ids) {
      const kept = Array.isArray(given[id]) ? given[id].filter((tag) => TAGS.includes(tag)) : [];
      if (kept.length) tags.set(id, kept);
    }
    readRegionTags();
  } catch {
    // A browser may keep nothing for pages from disk, or what it kept is damaged.
    tagsKept = false;
  }
}

function tagged(i, tag) {
  const id = data.ids[i];
  const own = [...(tags.get(id) || []), ...(regionTags.get(id) || []).map((one) => one.tag)];
  return tag === "any" ? own.length > 0 : own.includes(tag);
}

function toggleTag(i, tag) {
  if (look.region) {
    toggleRegionTag(i, tag);
    showTags();
    update();
    return;
  }
  const id = data.ids[i];
  const own = tags.get(id) || [];
  const next = own.includes(tag) ? own.filter((one) => one !== tag) : [...own, tag];
  if (next.length) tags.set(id, next);
  else tags.delete(id);
  try {
    localStorage.setItem(tagKey(), JSON.stringify(Object.fromEntries(tags)));
  } catch { tagsKept = false; }
  showTags();
  update();
}

function showTags() {
  const regions = regionTagsJson().length;
  const said = [tags.size ? `${plural(tags.size, "image")} tagged` : "", regions ? `${plural(regions, "tag")} of regions` : ""].filter(Boolean).join(", ");
  byId("tag-count").textContent = said ? `${said}${tagsKept ? "" : " (not kept by this browser: save the file)"}` : "";
  byId("save-tags").hidden = !said;
  tellRegion();
  for (const button of document.querySelectorAll("#tag-buttons button")) {
    button.setAttribute("aria-pressed", look.i >= 0 && (look.region ? tagsOfRegion(look.i, look.region) : tags.get(data.ids[look.i]) || []).includes(button.dataset.tag));
  }
}

function tagsJson() {
  const images = data.ids.filter((id) => tags.has(id)).map((id) => ({ image_id: id, tags: tags.get(id) }));
  return JSON.stringify({ format: "defectune-tags", format_version: 1, ...data.key, images, regions: regionTagsJson() }, null, 2);
}

function startTags() {
  readTags();
  for (const [key, tag] of Object.entries(TAG_KEYS)) {
    const button = make("button", `${tag} (${key})`);
    button.type = "button";
    button.dataset.tag = tag;
    button.addEventListener("click", () => toggleTag(look.i, tag));
    byId("tag-buttons").append(button);
  }
  byId("save-tags").addEventListener("click", () => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([tagsJson()], { type: "application/json" }));
    link.download = "tags.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  showTags();
}
