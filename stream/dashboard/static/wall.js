// One card per stream or call, those that need attention first. Cards keep their places while they are pointed at.
import { announce, h, icon, setAttribute, setText } from "./dom.js";
import { drawTrend, makeEmotion, makeShares, makeSpeaker } from "./parts.js";
import { age, clock, duration, labelOf, subtitleOf, titleOf } from "./words.js";

const FILTERS = {
  all: ["All", () => true],
  attention: ["Need attention", (card, link) => card.reason !== "" || link.stateOf(card) === "stale"],
  speaking: ["Speaking", (card, link) => link.stateOf(card) === "live" && card.speaker.state !== "silence"],
  silent: ["Silent", (card, link) => link.stateOf(card) === "live" && card.speaker.state === "silence"],
  ended: ["Ended", (card) => card.state === "ended"],
};
const ORDERS = {
  attention: ["Needs attention", (a, b) => b.attention - a.attention],
  name: ["Name", () => 0],
  longest: ["Longest", (a, b) => a.started_ms - b.started_ms],
};
const MOVE_INTERVAL_MS = 1200, POINTER_REST_MS = 2500, MOVE_ANIMATION_MS = 260, MAX_ANIMATED_CARDS = 60, MAX_ANNOUNCED_ALERTS = 2000;

export class Wall {
  #tiles = new Map();
  #filter = "all";
  #order = "attention";
  #query = "";
  #movedAt = 0;
  #pointedAt = 0;
  #frameRequested = false;
  #announced = new Set();

  constructor(link) {
    this.link = link;
    this.chips = Object.fromEntries(Object.entries(FILTERS).map(([name, [label]]) => {
      const number = h("b", null, "0");
      const button = h("button", { type: "button", "aria-pressed": name === "all" ? "true" : "false", onclick: () => this.#setFilter(name) }, label, number);
      return [name, { button, number }];
    }));
    this.filterInput = h("input", { type: "search", placeholder: "Filter by name, agent, queue", "aria-label": "Filter by name, speaker, agent, queue or emotion", oninput: () => { this.#query = this.filterInput.value.trim().toLowerCase(); this.#writeAddress(); this.arrange(true); } });
    const sort = h("select", { onchange: () => { this.#order = sort.value; this.arrange(true); } }, Object.entries(ORDERS).map(([name, [label]]) => h("option", { value: name }, label)));
    this.grid = h("ul", { class: "grid", "aria-label": "Streams and calls", onpointermove: () => { this.#pointedAt = Date.now(); }, onkeydown: (event) => this.#moveFocus(event) });
    this.empty = h("div", { class: "empty" });
    this.element = h("section", null,
      h("h1", { class: "visually-hidden" }, "Wall"),
      h("div", { class: "tools" },
        h("div", { class: "find" }, this.filterInput),
        h("div", { class: "chips", role: "group", "aria-label": "Show" }, Object.values(this.chips).map((chip) => chip.button)),
        h("label", { class: "sort" }, "Sort by", sort)),
      this.grid, this.empty);
    link.addEventListener("wall", (event) => this.#onWall(event.detail));
    link.addEventListener("state", () => this.#requestDraw());
    link.addEventListener("hello", () => this.arrange(true));
  }

  enter() {
    this.shown = true;
    for (const tile of this.#tiles.values()) tile.dirty = true;
    this.arrange(true);
    this.tick();
  }
  leave() { this.shown = false; }

  // Takes filter and words from the address, so that a link shows the same: `#/?show=attention&q=sales`.
  select(parameters) {
    const show = parameters.get("show"), words = parameters.get("q");
    if (words !== null) { this.filterInput.value = words; this.#query = words.trim().toLowerCase(); }
    if (show in FILTERS) this.#setFilter(show);
    else if (words !== null) this.arrange(true);
  }

  #writeAddress() {
    const parameters = new URLSearchParams();
    if (this.#filter !== "all") parameters.set("show", this.#filter);
    if (this.#query) parameters.set("q", this.#query);
    const address = parameters.size ? `#/?${parameters}` : "#/";
    if (this.shown && (location.hash || "#/") !== address) history.replaceState(null, "", address);
  }

  // Once a second: clocks and silences advance between events.
  tick() {
    if (!this.shown) return;
    for (const tile of this.#tiles.values()) if (tile.element.isConnected) tile.tick();
    this.#requestDraw();
  }

  #onWall({ t, changed, removed }) {
    if (t === "snapshot") {
      for (const key of [...this.#tiles.keys()]) if (!this.link.cards.has(key)) this.#remove(key);
      this.#movedAt = 0; // new cards are shown with the next frame
    }
    for (const key of removed) this.#remove(key);
    for (const key of changed) {
      if (!this.#tiles.has(key)) this.#tiles.set(key, new Tile(this.link, key));
      this.#tiles.get(key).dirty = true;
      this.#announceAlerts(this.link.cards.get(key), t === "snapshot");
    }
    this.#requestDraw();
  }

  #announceAlerts(card, silently) {
    for (const alert of card.alerts) {
      const name = `${card.key} ${alert.alert}`;
      if (!this.#announced.has(name) && !silently) announce(`${titleOf(card)}: ${alert.label}`);
      this.#announced.add(name);
    }
    if (this.#announced.size > MAX_ANNOUNCED_ALERTS) this.#announced.clear();
  }

  #remove(key) {
    this.#tiles.get(key)?.item.remove();
    this.#tiles.delete(key);
  }

  #requestDraw() {
    if (this.#frameRequested || !this.shown) return;
    this.#frameRequested = true;
    requestAnimationFrame(() => { this.#frameRequested = false; this.#draw(); });
  }

  #draw() {
    for (const tile of this.#tiles.values()) if (tile.dirty) tile.show();
    const unused = Date.now() - this.#pointedAt > POINTER_REST_MS && !this.grid.matches(":focus-within");
    if (Date.now() - this.#movedAt > MOVE_INTERVAL_MS) this.arrange(unused);
  }

  // Puts cards in order; without `move`, cards already on screen keep their places.
  arrange(move) {
    this.#movedAt = Date.now();
    const cards = [...this.link.cards.values()];
    for (const [name, [, matches]] of Object.entries(FILTERS)) setText(this.chips[name].number, String(cards.filter((card) => matches(card, this.link)).length));
    const urgent = cards.filter((card) => FILTERS.attention[1](card, this.link)).length;
    this.chips.attention.button.classList.toggle("urgent", urgent > 0);
    document.title = urgent ? `(${urgent}) tonewatch` : "tonewatch";
    if (!this.shown) return;
    const shown = cards.filter((card) => FILTERS[this.#filter][1](card, this.link)).filter((card) => this.#matchesQuery(card));
    shown.sort((a, b) => (a.state === "ended") - (b.state === "ended") || ORDERS[this.#order][1](a, b) || titleOf(a).localeCompare(titleOf(b), "en", { numeric: true }) || a.key.localeCompare(b.key));
    const keys = new Set(shown.map((card) => card.key));
    for (const [key, tile] of this.#tiles) if (!keys.has(key) && tile.item.isConnected) tile.item.remove();
    const before = move && this.#tiles.size <= MAX_ANIMATED_CARDS ? new Map([...this.grid.children].map((item) => [item, item.getBoundingClientRect()])) : null;
    let next = this.grid.firstElementChild;
    for (const card of shown) {
      const tile = this.#tiles.get(card.key);
      if (!tile) continue;
      if (!tile.item.isConnected) tile.show();
      if (tile.item === next) next = next.nextElementSibling;
      else if (move || !tile.item.isConnected) this.grid.insertBefore(tile.item, next);
    }
    if (before) this.#animateMoves(before);
    this.#showEmpty(cards.length, shown.length);
  }

  #animateMoves(before) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const [item, old] of before) {
      if (!item.isConnected) continue;
      const current = item.getBoundingClientRect(), x = old.left - current.left, y = old.top - current.top;
      if (x || y) item.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: MOVE_ANIMATION_MS, easing: "ease-out" });
    }
  }

  #matchesQuery(card) {
    if (!this.#query) return true;
    const text = [card.name, ...Object.values(card.about), card.node, card.speaker.name, ...card.speaker.others.map((other) => other.name), card.emotion?.label, card.reason, card.state, ...card.shares.map((share) => share.name)].join(" ").toLowerCase();
    return this.#query.split(/\s+/).every((word) => text.includes(word));
  }

  #showEmpty(all, shown) {
    this.empty.hidden = shown > 0;
    if (shown > 0) return;
    const [title, text] = all > 0 ? ["No matches", "Change the filter to see other streams."]
      : this.link.state === "open" ? ["No streams yet", "Streams and calls appear when their audio starts."] : ["Connecting", "Waiting for the server."];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 120 56");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", "M8 24v8M21 18v20M34 8v40M47 20v16M60 26v4M73 20v16M86 8v40M99 18v20M112 24v8");
    svg.append(path);
    this.empty.replaceChildren(svg, h("b", null, title), h("p", null, text));
  }

  #setFilter(name) {
    this.#filter = name;
    for (const [other, chip] of Object.entries(this.chips)) setAttribute(chip.button, "aria-pressed", other === name ? "true" : "false");
    this.#writeAddress();
    this.arrange(true);
  }

  // Arrow keys move the focus over the grid of cards.
  #moveFocus(event) {
    const cards = [...this.grid.querySelectorAll("a")], here = cards.indexOf(document.activeElement);
    if (here < 0) return;
    const top = cards[0].getBoundingClientRect().top, columns = cards.findIndex((card) => card.getBoundingClientRect().top > top);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns < 0 ? cards.length : columns, ArrowUp: columns < 0 ? -cards.length : -columns, Home: -here, End: cards.length - 1 - here }[event.key];
    if (step === undefined || !cards[here + step]) return;
    event.preventDefault();
    cards[here + step].focus();
  }
}

class Tile {
  dirty = true;

  constructor(link, key) {
    this.link = link;
    this.key = key;
    this.name = h("span", { class: "name" });
    this.node = h("span", { class: "node" });
    this.time = h("span", { class: "time" });
    this.speaker = makeSpeaker();
    this.emotion = makeEmotion();
    this.trend = h("canvas", { "aria-hidden": "true", width: 84, height: 28 });
    this.shares = makeShares();
    this.pill = h("span", { class: "pill" });
    this.element = h("a", { class: "card", href: `#/stream/${encodeURIComponent(key)}` },
      h("div", { class: "card-top" }, h("div", null, this.name, this.node), this.time), this.speaker.element,
      h("div", { class: "emotion-row" }, this.emotion.element, this.trend), this.shares.element, h("div", { class: "card-end" }, this.pill));
    this.item = h("li", null, this.element);
  }

  show() {
    this.dirty = false;
    const card = this.link.cards.get(this.key);
    setText(this.name, titleOf(card));
    setAttribute(this.name, "title", card.name);
    setText(this.node, [subtitleOf(card), this.link.nodes.size > 1 ? card.node : ""].filter(Boolean).join(" · "));
    setAttribute(this.element, "data-alert", card.alerts.length ? "yes" : null);
    if (card.ending) this.emotion.showEnding(card.ending);
    else this.emotion.show(card.emotion, card.anger_trend);
    drawTrend(this.trend, card.trend);
    this.tick();
  }

  // What changes with the clock alone.
  tick() {
    const card = this.link.cards.get(this.key);
    if (!card) return;
    const now = this.link.mediaNow(card);
    const stale_s = this.link.staleFor(card);
    setText(this.time, clock(now));
    setAttribute(this.element, "data-state", stale_s === null ? card.state : "stale");
    this.speaker.show(card, card.silent_since_s === null ? null : Math.max(0, now - card.silent_since_s), stale_s);
    this.shares.show(card, now);
    this.#showPill(card, now);
  }

  #showPill(card, now) {
    const [level, symbol, text] = pillOf(card, now, this.link.staleFor(card));
    this.pill.hidden = level === null;
    if (level === null) return;
    if (this.pillKind !== `${level} ${symbol}`) {
      this.pillKind = `${level} ${symbol}`;
      this.pill.className = `pill ${level}`;
      this.pillText = h("span");
      this.pill.replaceChildren(icon(symbol), this.pillText);
    }
    setText(this.pillText, text);
  }
}

// Level, icon and text of what stands out most about a card; null without anything.
function pillOf(card, now, stale_s) {
  const alert = card.alerts.find((one) => one.label === card.reason) ?? card.alerts[0];
  if (alert) return ["bad", "alert", [alert, ...card.alerts.filter((one) => one !== alert)].map((one) => `${one.label} ${age(Math.max(0, now - one.since_s))}`).join(", ")];
  if (stale_s !== null) return ["bad", "mute", `no data for ${age(stale_s)}`];
  if (card.state === "stalled" || card.state === "offline") return ["bad", "mute", card.reason];
  if (card.state === "paused") return ["warn", "pause", "paused"];
  if (card.reason) return ["warn", card.reason === labelOf("stream_states", "gap") ? "gap" : "alert", card.reason];
  if (card.gaps) return ["calm", "gap", `${card.gaps} ${card.gaps > 1 ? "gaps" : "gap"}, ${duration(card.lost_s)} lost`];
  const raised = Object.entries(card.ending?.alerts ?? {}).map(([label, times]) => (times > 1 ? `${label} ${times}×` : label)).join(", ");
  if (raised) return ["calm", "alert", raised];
  return card.state === "ended" ? ["calm", "check", "no alerts"] : [null, null, ""];
}
