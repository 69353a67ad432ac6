// A card a stream or call, those that need somebody first. Cards are moved while nobody is pointing or focusing there.
import { h, icon, mark, put, say } from "./dom.js";
import { drawTrend, makeMood, makeShare, makeWho } from "./parts.js";
import { clock, span } from "./words.js";

const FILTERS = {
  all: ["All", () => true],
  hot: ["Need attention", (card) => card.why !== ""],
  speaking: ["Speaking", (card) => card.state === "live" && card.who.state !== "silence"],
  quiet: ["Silent", (card) => card.state === "live" && card.who.state === "silence"],
  ended: ["Ended", (card) => card.state === "ended"],
};
const ORDERS = {
  attention: ["Needs attention", (a, b) => b.attention - a.attention],
  name: ["Name", () => 0],
  longest: ["Longest", (a, b) => a.began_ms - b.began_ms],
};
const MOVE_MS = 1200, ANIMATED = 60;

export class Wall {
  #tiles = new Map();
  #filter = "all";
  #order = "attention";
  #find = "";
  #moved = 0;
  #pointed = 0;
  #due = false;
  #alerts = new Set();

  constructor(link) {
    this.link = link;
    this.chips = Object.fromEntries(Object.entries(FILTERS).map(([name, [words]]) => {
      const number = h("b", null, "0");
      const button = h("button", { type: "button", "aria-pressed": name === "all" ? "true" : "false", onclick: () => this.#choose(name) }, words, number);
      return [name, { button, number }];
    }));
    this.find = h("input", { type: "search", placeholder: "Filter by name or emotion", "aria-label": "Filter by name, speaker or emotion", oninput: () => { this.#find = this.find.value.trim().toLowerCase(); this.arrange(true); } });
    const sort = h("select", { onchange: () => { this.#order = sort.value; this.arrange(true); } }, Object.entries(ORDERS).map(([name, [words]]) => h("option", { value: name }, words)));
    this.grid = h("ul", { class: "grid", "aria-label": "Streams and calls", onpointermove: () => { this.#pointed = Date.now(); }, onkeydown: (event) => this.#walk(event) });
    this.empty = h("div", { class: "empty" });
    this.element = h("section", null,
      h("h1", { class: "unseen" }, "Wall"),
      h("div", { class: "tools" },
        h("div", { class: "find" }, this.find),
        h("div", { class: "chips", role: "group", "aria-label": "Show" }, Object.values(this.chips).map((chip) => chip.button)),
        h("label", { class: "sort" }, "Sort by", sort)),
      this.grid, this.empty);
    link.addEventListener("wall", (event) => this.#take(event.detail));
    link.addEventListener("state", () => this.#soon());
    link.addEventListener("hello", () => this.arrange(true));
  }

  enter() {
    this.shown = true;
    for (const tile of this.#tiles.values()) tile.dirty = true;
    this.arrange(true);
    this.tick();
  }
  leave() { this.shown = false; }

  // Once a second: clocks and silences go on between events.
  tick() {
    if (!this.shown) return;
    for (const tile of this.#tiles.values()) if (tile.element.isConnected) tile.tick();
    this.#soon();
  }

  #take({ t, changed, gone }) {
    if (t === "snapshot") for (const key of [...this.#tiles.keys()]) if (!this.link.cards.has(key)) this.#drop(key);
    for (const key of gone) this.#drop(key);
    for (const key of changed) {
      const card = this.link.cards.get(key);
      if (!this.#tiles.has(key)) this.#tiles.set(key, new Tile(this.link, key));
      this.#tiles.get(key).dirty = true;
      this.#announce(card, t === "snapshot");
    }
    this.#soon();
  }

  #announce(card, quietly) {
    for (const alert of card.alerts) {
      const name = `${card.key} ${alert.alert}`;
      if (!this.#alerts.has(name) && !quietly) say(`${card.name}: ${alert.words}`);
      this.#alerts.add(name);
    }
    if (this.#alerts.size > 2000) this.#alerts.clear();
  }

  #drop(key) {
    this.#tiles.get(key)?.item.remove();
    this.#tiles.delete(key);
  }

  #soon() {
    if (this.#due || !this.shown) return;
    this.#due = true;
    requestAnimationFrame(() => { this.#due = false; this.#draw(); });
  }

  #draw() {
    for (const tile of this.#tiles.values()) if (tile.dirty) tile.show();
    const resting = Date.now() - this.#pointed > 2500 && !this.grid.matches(":focus-within");
    if (Date.now() - this.#moved > MOVE_MS) this.arrange(resting);
  }

  // Puts cards where they belong; `free` says that those on screen may change places, too.
  arrange(free) {
    this.#moved = Date.now();
    const cards = [...this.link.cards.values()];
    for (const [name, [, fits]] of Object.entries(FILTERS)) put(this.chips[name].number, String(cards.filter(fits).length));
    const hot = cards.filter(FILTERS.hot[1]).length;
    this.chips.hot.button.classList.toggle("hot", hot > 0);
    document.title = hot ? `(${hot}) tonewatch` : "tonewatch";
    if (!this.shown) return;
    const wanted = cards.filter(FILTERS[this.#filter][1]).filter((card) => this.#matches(card));
    wanted.sort((a, b) => (a.state === "ended") - (b.state === "ended") || ORDERS[this.#order][1](a, b) || a.name.localeCompare(b.name, "en", { numeric: true }) || a.key.localeCompare(b.key));
    const keys = new Set(wanted.map((card) => card.key));
    for (const [key, tile] of this.#tiles) if (!keys.has(key) && tile.item.isConnected) tile.item.remove();
    const before = free && this.#tiles.size <= ANIMATED ? new Map([...this.grid.children].map((item) => [item, item.getBoundingClientRect()])) : null;
    let place = this.grid.firstElementChild;
    for (const card of wanted) {
      const tile = this.#tiles.get(card.key);
      if (!tile) continue;
      if (!tile.item.isConnected) tile.show();
      if (tile.item === place) place = place.nextElementSibling;
      else if (free || !tile.item.isConnected) this.grid.insertBefore(tile.item, place);
    }
    if (before) this.#glide(before);
    this.#explain(cards.length, wanted.length);
  }

  #glide(before) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const [item, was] of before) {
      if (!item.isConnected) continue;
      const is = item.getBoundingClientRect(), x = was.left - is.left, y = was.top - is.top;
      if (x || y) item.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 260, easing: "ease-out" });
    }
  }

  #matches(card) {
    if (!this.#find) return true;
    const text = [card.name, card.node, card.who.name, card.mood?.label, card.why, card.state, ...card.shares.map((part) => part.who)].join(" ").toLowerCase();
    return this.#find.split(/\s+/).every((word) => text.includes(word));
  }

  #explain(all, shown) {
    this.empty.hidden = shown > 0;
    if (shown > 0) return;
    const words = all > 0 ? ["Nothing matches", "Change the filter to see other streams."]
      : this.link.state === "open" ? ["Nothing to hear yet", "Streams and calls show up here as soon as their sound begins."] : ["Connecting", "Waiting for the server."];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 120 56");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", "M8 24v8M21 18v20M34 8v40M47 20v16M60 26v4M73 20v16M86 8v40M99 18v20M112 24v8");
    svg.append(path);
    this.empty.replaceChildren(svg, h("b", null, words[0]), h("p", null, words[1]));
  }

  #choose(name) {
    this.#filter = name;
    for (const [other, chip] of Object.entries(this.chips)) mark(chip.button, "aria-pressed", other === name ? "true" : "false");
    this.arrange(true);
  }

  // Arrow keys walk over the cards as they lie on the screen.
  #walk(event) {
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
    this.who = makeWho();
    this.mood = makeMood();
    this.trend = h("canvas", { "aria-hidden": "true", width: 104, height: 28 });
    this.share = makeShare();
    this.pill = h("span", { class: "pill" });
    this.lag = h("span", { class: "lag" });
    this.element = h("a", { class: "card", href: `#/stream/${encodeURIComponent(key)}` },
      h("div", { class: "card-top" }, this.name, this.node, this.time), this.who.element,
      h("div", { class: "feel" }, this.mood.element, this.trend), this.share.element, h("div", { class: "card-end" }, this.pill, this.lag));
    this.item = h("li", null, this.element);
  }

  show() {
    this.dirty = false;
    const card = this.link.cards.get(this.key);
    put(this.name, card.name);
    put(this.node, this.link.nodes.size > 1 ? card.node : "");
    mark(this.element, "data-state", card.state);
    mark(this.element, "data-hot", card.alerts.length ? "yes" : null);
    this.mood.show(card.mood, card.anger);
    drawTrend(this.trend, card.trend);
    put(this.lag, card.lag_ms && card.state === "live" ? `${Math.round(card.lag_ms)} ms behind` : "");
    this.tick();
  }

  // What moves with the clock alone.
  tick() {
    const card = this.link.cards.get(this.key);
    if (!card) return;
    const now = this.link.mediaNow(card);
    put(this.time, clock(now));
    this.who.show(card, card.silent_s === null ? null : Math.max(0, now - card.silent_s));
    this.share.show(card, now);
    this.#flag(card, now);
  }

  #flag(card, now) {
    const alert = card.alerts.find((one) => one.words === card.why) ?? card.alerts[0];
    const more = card.alerts.length > 1 ? ` +${card.alerts.length - 1}` : "";
    const [kind, name, words] = alert ? ["bad", "alert", `${alert.words}${more} · ${span(Math.max(0, now - alert.since_s))}`]
      : card.state === "stalled" ? ["bad", "mute", "no sound arrives"] : card.state === "offline" ? ["bad", "mute", "node is offline"]
      : card.state === "paused" ? ["warn", "pause", "paused"] : card.why ? ["warn", card.why === "sound was lost" ? "gap" : "alert", card.why]
      : card.gaps ? ["calm", "gap", `${card.gaps} ${card.gaps > 1 ? "gaps" : "gap"}, ${span(card.lost_s)} lost`] : card.state === "ended" ? ["calm", "check", "ended"] : [null, null, ""];
    this.pill.hidden = kind === null;
    if (kind === null) return;
    if (this.flagged !== `${kind} ${name}`) {
      this.flagged = `${kind} ${name}`;
      this.pill.className = `pill ${kind}`;
      this.words = h("span");
      this.pill.replaceChildren(icon(name), this.words);
    }
    put(this.words, words);
  }
}
