// Entry point: one link to the server, and one view at a time, chosen by the address.
import { announce, toast } from "./dom.js";
import { Link } from "./link.js";
import { clearColours } from "./parts.js";
import { Wall } from "./wall.js";

const BANNER_DELAY_MS = 1500, TICK_MS = 1000;

if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname); // already authorized
const link = new Link(), main = document.getElementById("main"), wall = new Wall(link);
let view = null, route = 0;

async function navigate() {
  const current = ++route, [, name = "", rest = ""] = /^#\/([^/]*)\/?(.*)$/.exec(location.hash) ?? [];
  const next = name === "stream" ? new (await import("./stream.js")).StreamView(link, decodeURIComponent(rest))
    : name === "health" ? new (await import("./health.js")).Health(link) : wall;
  if (current !== route) return;
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

const pill = document.getElementById("link"), banner = document.getElementById("banner");
let bannerTimer = 0;
link.addEventListener("state", ({ detail: { state } }) => {
  pill.dataset.state = state;
  pill.lastElementChild.textContent = state === "open" ? "Live" : "Connection lost";
  clearTimeout(bannerTimer);
  if (state === "open") {
    if (!banner.hidden) announce("Connected again");
    banner.hidden = true;
  } else bannerTimer = setTimeout(() => { banner.hidden = false; }, BANNER_DELAY_MS); // short losses show no banner
});

const microphone = document.getElementById("microphone");
link.addEventListener("hello", () => { microphone.hidden = !link.hello.microphone; });
microphone.addEventListener("click", async () => (await import("./microphone.js")).toggle(link, microphone));

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { toast("This browser does not store the choice."); }
  clearColours();
  view.leave();
  navigate();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", clearColours);

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, dialog[open]");
  if (event.key === "/" && !typing && view === wall) { event.preventDefault(); wall.filterInput.focus(); }
  else if (event.key === "Escape" && event.target === wall.filterInput) wall.filterInput.blur();
  else if (event.key === "Escape" && !typing && view !== wall) location.hash = "#/";
});
addEventListener("hashchange", navigate);
setInterval(() => view?.tick(), TICK_MS);
navigate();
link.open();
