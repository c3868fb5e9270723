const first = document.createElement("script");
first.src = "data/index.js";
first.addEventListener("error", () => { byId("count").textContent = "The folder data/ beside this page is missing: copy the whole report folder."; });
document.head.append(first);
