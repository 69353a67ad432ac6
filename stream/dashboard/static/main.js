// Entry point: one link to the server, and one view at a time, chosen by the address.
import { announce, setAttribute, setText, toast } from "./dom.js";
import { Link } from "./connection.js";
import { clearColours } from "./parts.js";
import { duration } from "./words.js";
import { Wall } from "./wall.js";

const BANNER_DELAY_MS = 1500, TICK_MS = 1000, MANY_PENDING = 20;

if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname); // already authorized
const link = new Link(), main = document.getElementById("main"), wall = new Wall(link);
let view = null, route = 0;

async function navigate() {
  const current = ++route, [, name = "", rest = "", query = ""] = /^#\/([^/?]*)\/?([^?]*)\??(.*)$/.exec(location.hash) ?? [];
  const next = name === "stream" ? new (await import("./stream.js")).StreamView(link, decodeURIComponent(rest))
    : name === "alerts" ? new (await import("./alerts.js")).Alerts(link)
    : name === "health" ? new (await import("./health.js")).Health(link) : wall;
  if (current !== route) return;
  const first = view === null;
  view?.leave();
  view = next;
  main.replaceChildren(view.element);
  view.enter();
  view.select?.(new URLSearchParams(query));
  for (const entry of document.querySelectorAll(".bar nav a")) {
    if (entry.dataset.view === (name || "wall")) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (!first) main.focus({ preventScroll: true });
}

const pill = document.getElementById("link"), banner = document.getElementById("banner");
// What the page knows of the way that its events take: its server, the broker, the nodes.
function showLink() {
  const [state, text] = linkState();
  setAttribute(pill, "data-state", state);
  setText(pill.lastElementChild, text);
}
function linkState() {
  if (link.state !== "open") return ["lost", "Connection lost"];
  if (link.broker?.connected === false) return ["lost", `Broker unreachable for ${duration(Math.max(0, (link.now() - link.broker.since_ms) / 1000))}`];
  const attending = new Set([...link.cards.values()].filter((card) => card.state !== "ended").map((card) => card.node));
  const offline = [...link.nodes.values()].filter((node) => !node.online && attending.has(node.node));
  if (offline.length) return ["lost", offline.length === 1 ? `Node ${offline[0].node} is offline` : `${offline.length} nodes are offline`];
  const waiting = [...link.nodes.values()].flatMap((node) => node.health?.sinks ?? []).filter((sink) => sink.broker?.state === "lost" || sink.pending > MANY_PENDING);
  const [first] = waiting;
  if (first) return ["late", `${first.sink.replace(/^(\w+:\/\/)[^@]*@/, "$1")}${first.broker?.state === "lost" ? " unreachable" : ""}: ${first.pending} events wait`];
  return ["open", "Live"];
}
link.addEventListener("wall", () => showLink());
// The number of active alerts that are neither acknowledged nor snoozed.
const badge = document.getElementById("pending-alerts");
function showPending() {
  const pending = [...link.alerts.values()].filter((alert) => link.isPending(alert) && link.isActive(alert)).length;
  badge.hidden = pending === 0;
  setText(badge, String(pending));
}
for (const type of ["alerts", "wall"]) link.addEventListener(type, showPending);
let bannerTimer = 0;
link.addEventListener("state", ({ detail: { state } }) => {
  showLink();
  clearTimeout(bannerTimer);
  if (state === "open") {
    if (!banner.hidden) announce("Connected again");
    banner.hidden = true;
  } else bannerTimer = setTimeout(() => { banner.hidden = false; }, BANNER_DELAY_MS); // short losses show no banner
});

const microphone = document.getElementById("microphone");
const leave = document.getElementById("leave");
link.addEventListener("hello", () => {
  microphone.hidden = !link.hello.microphone;
  leave.hidden = !link.hello.signed_in;
  setText(leave.querySelector("span"), link.hello.role === "admin" ? "Sign out" : `Sign out (${link.hello.role})`);
});
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
setInterval(() => { showLink(); view?.tick(); }, TICK_MS);
navigate();
link.open();
