// Images of other parts that look alike, under the image that is looked at.
function alike(i, r) {
  const button = make("button", "", "alike");
  button.type = "button";
  const image = new Image();
  image.src = `thumbs/${i}.jpg`;
  image.alt = "";
  const said = data.runs.length ? verdict(i, r, state.t) || "not evaluated" : "";
  const words = make("span");
  words.append(make("b", data.ids[i]), make("small", `${data.types[data.type[i]]}${said ? `, ${said}` : ""}`));
  button.append(image, words);
  button.title = data.ids[i];
  button.addEventListener("click", () => { state.img = data.ids[i]; writeHash(true); showImage(); });
  return button;
}

function showSimilar() {
  const found = data.similar[look.i];
  const line = byId("similar");
  line.hidden = !found.length;
  line.replaceChildren(make("span", "Similar by look:", "hint"), ...found.map((i) => alike(i, look.r)));
}
