// Why an image is wrong: one cause for each image and model, the same in caption, filter and order.
const CAUSES = {
  below: "found, below the threshold",
  partial: "partly covered",
  beside: "beside the defect",
  small: "missed, small defect",
  missed: "missed whole",
  label: "all models say defective: check the label",
  alarm: "false alarm",
  confused: "confused type",
  "": "",
};
const CAUSE_ORDER = Object.keys(CAUSES);
let cuts = null;

// A third of the defective images each, by the share of the image that the largest defect takes.
function sizeCuts() {
  if (cuts?.of !== data) {
    const known = data.size.filter((size, i) => size !== null && data.bad[i]).sort((a, b) => a - b);
    cuts = { of: data, at: [known[Math.floor(known.length / 3)], known[Math.floor((2 * known.length) / 3)]] };
  }
  return cuts.at;
}

function sizeOf(i) {
  if (data.size[i] === null || !data.bad[i]) return "";
  const [low, high] = sizeCuts();
  return data.size[i] < low ? "small" : data.size[i] < high ? "medium" : "large";
}

function disagree(i, t) {
  let first = "";
  for (let r = 0; r < data.runs.length; r += 1) {
    const said = verdict(i, r, t);
    if (said && first && said !== first) return true;
    first ||= said;
  }
  return false;
}

function causeOf(i, r, t) {
  const said = verdict(i, r, t);
  if (!said) return { kind: "", words: "" };
  const apart = Math.abs(data.scores[r][i] - t).toFixed(3);
  if (said === "overkill") {
    const all = data.runs.length > 1 && data.runs.every((_, o) => verdict(i, o, t) === "overkill");
    return { kind: all ? "label" : "alarm", words: `${all ? CAUSES.label : CAUSES.alarm}, ${apart} above the threshold` };
  }
  if (said === "correct") {
    const named = data.named[r][i];
    if (!data.bad[i] || named === null || data.classes[named] === data.types[data.type[i]]) return { kind: "", words: "" };
    return { kind: "confused", words: `confused type: named ${data.classes[named]}` };
  }
  const counts = data.regions[r][i];
  let kind = sizeOf(i) === "small" ? "small" : "missed";
  if (counts) {
    const [, alarms, hits, , partial] = counts;
    if (hits) kind = "below";
    else if (partial) kind = "partial";
    else if (alarms) kind = "beside";
  }
  return { kind, words: kind === "below" ? `found, but ${apart} below the threshold` : `${CAUSES[kind]}, ${apart} below the threshold` };
}
