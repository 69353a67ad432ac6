// Begins here: one link to the server, one view at a time, chosen by the address.
import { say, toast } from "./dom.js";
import { Link } from "./link.js";
import { forgetColours } from "./parts.js";
import { Wall } from "./wall.js";

if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname); // who is here needs none
const link = new Link(), main = document.getElementById("main"), wall = new Wall(link);
let view = null, route = 0;

async function go() {
  const mine = ++route, [, name = "", rest = ""] = /^#\/([^/]*)\/?(.*)$/.exec(location.hash) ?? [];
  const next = name === "stream" ? new (await import("./stream.js")).StreamView(link, decodeURIComponent(rest))
    : name === "health" ? new (await import("./health.js")).Health(link) : wall;
  if (mine !== route) return;
  const first = view === null;
  view?.leave();
  view = next;
  main.replaceChildren(view.element);
  view.enter();
  for (const entry of document.querySelectorAll(".bar nav a")) {
    if (entry.dataset.view === (name || "wall")) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (!first) main.focus({ preventScroll: true });
}

const pill = document.getElementById("link"), lost = document.getElementById("lost");
let late = 0;
link.addEventListener("state", ({ detail: { state } }) => {
  pill.dataset.state = state;
  pill.lastElementChild.textContent = state === "open" ? "Live" : "Connection lost";
  clearTimeout(late);
  if (state === "open") {
    if (!lost.hidden) say("Connected again");
    lost.hidden = true;
  } else late = setTimeout(() => { lost.hidden = false; }, 1500); // a blink is not worth a banner
});

const microphone = document.getElementById("microphone");
link.addEventListener("hello", () => { microphone.hidden = !link.hello.microphone; });
microphone.addEventListener("click", async () => (await import("./microphone.js")).offer(link, microphone));

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { toast("This browser does not keep the choice."); }
  forgetColours();
  view.leave();
  go();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forgetColours);

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, dialog[open]");
  if (event.key === "/" && !typing && view === wall) { event.preventDefault(); wall.find.focus(); }
  else if (event.key === "Escape" && event.target === wall.find) wall.find.blur();
  else if (event.key === "Escape" && !typing && view !== wall) location.hash = "#/";
});
addEventListener("hashchange", go);
setInterval(() => view?.tick(), 1000);
go();
link.open();
