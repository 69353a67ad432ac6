// One card per stream or call, those that need attention first. Cards keep their places while they are pointed at.
import { CardList } from "./cardlist.js";
import { announce, h, setAttribute, setText, toast } from "./dom.js";
import { Tile } from "./tile.js";
import { titleOf } from "./words.js";

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
const GROUPS = {
  none: ["Nothing", () => ""],
  queue: ["Queue", (card) => card.about.queue ?? "No queue"],
  agent: ["Agent", (card) => card.about.agent ?? "No agent"],
  node: ["Node", (card) => card.node],
};
const VIEWS = { cards: "Cards", rows: "Rows" };
const CHOICES = { sort: ["attention", ORDERS], group: ["none", GROUPS], view: ["cards", VIEWS] }; // remembered by the browser
const MOVE_INTERVAL_MS = 1200, POINTER_REST_MS = 2500, MAX_ANNOUNCED_ALERTS = 2000, MAX_TEXTS = 4, MAX_OPTIONS = 200;
const { compare } = new Intl.Collator("en", { numeric: true });

function remembered() {
  try { return JSON.parse(localStorage.getItem("wall")) ?? {}; } catch { return {}; }
}

export class Wall {
  #cards = new Map(); // whether a card has changed since its tile was drawn
  #keys = []; // in the order in which they are shown
  #filter = "all";
  #query = "";
  #about = { agent: "", queue: "" };
  #choices = {};
  #movedAt = 0;
  #pointedAt = 0;
  #frameRequested = false;
  #announced = new Set();
  #hasSnapshot = false;
  #emptiness = "";

  constructor(link) {
    this.link = link;
    const stored = remembered();
    for (const [name, [usual, table]] of Object.entries(CHOICES)) this.#choices[name] = stored[name] in table ? stored[name] : usual;
    this.chips = Object.fromEntries(Object.entries(FILTERS).map(([name, [label]]) => {
      const number = h("b", null, "0");
      const button = h("button", { type: "button", "aria-pressed": name === "all" ? "true" : "false", onclick: () => this.#setFilter(name) }, `${label} `, number);
      return [name, { button, number }];
    }));
    this.filterInput = h("input", { type: "search", placeholder: "Filter by name, agent, queue", "aria-label": "Filter by name, speaker, agent, queue or emotion", oninput: () => { this.#query = this.filterInput.value.trim().toLowerCase(); this.#changed(); } });
    this.about = Object.fromEntries(Object.entries({ agent: "All agents", queue: "All queues" }).map(([name, all]) => [name,
      h("select", { "aria-label": name === "agent" ? "Agent" : "Queue", hidden: true, onchange: (event) => { this.#about[name] = event.target.value; this.#changed(); } }, h("option", { value: "" }, all))]));
    this.selects = Object.fromEntries(Object.entries({ sort: ORDERS, group: GROUPS }).map(([name, table]) => [name,
      h("select", { onchange: (event) => this.#choose(name, event.target.value) }, Object.entries(table).map(([value, [label]]) => h("option", { value }, label)))]));
    this.rows = h("button", { type: "button", class: "button", onclick: () => this.#choose("view", this.#choices.view === "rows" ? "cards" : "rows") }, "Rows");
    const fullScreen = h("button", { type: "button", class: "button", hidden: !document.fullscreenEnabled, onclick: () => this.#toggleFullScreen() }, "Full screen");
    document.addEventListener("fullscreenchange", () => setText(fullScreen, document.fullscreenElement ? "Leave full screen" : "Full screen"));
    // On a phone one button stands for all of these; it says what the list is filtered by.
    this.fold = h("button", { type: "button", class: "button fold", "aria-expanded": "false", "aria-controls": "filters", onclick: () => setAttribute(this.fold, "aria-expanded", String(this.fold.getAttribute("aria-expanded") !== "true")) }, "Filters");
    this.list = new CardList((key) => new Tile(link, key));
    this.list.element.addEventListener("pointermove", () => { this.#pointedAt = Date.now(); });
    this.empty = h("div", { class: "empty" });
    this.element = h("section", null,
      h("h1", { class: "visually-hidden" }, "Wall"),
      h("div", { class: "tools" },
        h("div", { class: "find" }, this.filterInput), this.fold,
        h("div", { id: "filters", class: "filters" },
          h("div", { class: "chips", role: "group", "aria-label": "Show" }, Object.values(this.chips).map((chip) => chip.button)),
          Object.values(this.about),
          h("div", { class: "arrange" }, h("label", null, "Group by", this.selects.group), h("label", null, "Sort by", this.selects.sort), this.rows, fullScreen))),
      this.list.element, this.empty);
    this.#showChoices();
    link.addEventListener("wall", (event) => this.#onWall(event.detail));
    link.addEventListener("state", () => this.#requestDraw());
    link.addEventListener("hello", () => { this.#emptiness = ""; this.arrange(true); });
  }

  enter() {
    this.shown = true;
    for (const key of this.#cards.keys()) this.#cards.set(key, true);
    this.list.forget();
    this.arrange(true);
    this.#requestDraw();
    this.tick();
  }
  leave() { this.shown = false; }

  // Takes filters and layout from the address, so that a link shows the same: `#/?show=attention&queue=sales&view=rows`.
  select(parameters) {
    if (!parameters.size) return this.#writeAddress();
    const show = parameters.get("show");
    this.#filter = show in FILTERS ? show : "all";
    this.filterInput.value = parameters.get("q") ?? "";
    this.#query = this.filterInput.value.trim().toLowerCase();
    for (const name of Object.keys(this.#about)) this.#about[name] = parameters.get(name) ?? "";
    for (const [name, [, table]] of Object.entries(CHOICES)) if (parameters.get(name) in table) this.#choices[name] = parameters.get(name);
    this.#showChoices();
    this.arrange(true);
  }

  #writeAddress() {
    const parameters = new URLSearchParams();
    if (this.#filter !== "all") parameters.set("show", this.#filter);
    if (this.#query) parameters.set("q", this.#query);
    for (const [name, value] of Object.entries(this.#about)) if (value) parameters.set(name, value);
    for (const [name, [usual]] of Object.entries(CHOICES)) if (this.#choices[name] !== usual) parameters.set(name, this.#choices[name]);
    const address = parameters.size ? `#/?${parameters}` : "#/";
    if (this.shown && (location.hash || "#/") !== address) history.replaceState(null, "", address);
  }

  #changed() {
    this.#writeAddress();
    this.arrange(true);
  }

  #choose(name, value) {
    this.#choices[name] = value;
    try { localStorage.setItem("wall", JSON.stringify(this.#choices)); } catch { /* it holds until the page is closed */ }
    this.#showChoices();
    this.list.forget();
    this.#changed();
  }

  #showChoices() {
    for (const [name, select] of Object.entries(this.selects)) select.value = this.#choices[name];
    setAttribute(this.list.element, "data-view", this.#choices.view);
    setAttribute(this.rows, "aria-pressed", this.#choices.view === "rows" ? "true" : "false");
    for (const [name, chip] of Object.entries(this.chips)) setAttribute(chip.button, "aria-pressed", name === this.#filter ? "true" : "false");
  }

  async #toggleFullScreen() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await document.documentElement.requestFullscreen();
    } catch { toast("This browser does not allow full screen."); }
  }

  // Once a second: clocks and silences advance between events.
  tick() {
    if (!this.shown) return;
    for (const tile of this.list.tiles) tile.tick();
    this.#requestDraw();
  }

  #onWall({ t, changed, removed }) {
    if (t === "snapshot") {
      for (const key of [...this.#cards.keys()]) if (!this.link.cards.has(key)) this.#cards.delete(key);
      this.#movedAt = 0; // new cards are shown with the next frame
    }
    for (const key of removed) this.#cards.delete(key);
    if (removed.length) this.#movedAt = 0;
    for (const key of changed) this.#cards.set(key, true);
    this.#announceAlerts(changed);
    this.#requestDraw();
  }

  // Alerts that the first snapshot has are not announced; those that were raised while the connection was lost are.
  #announceAlerts(changed) {
    const texts = [];
    for (const card of changed.map((key) => this.link.cards.get(key))) {
      for (const alert of card.alerts) {
        const name = `${card.key} ${alert.alert}`;
        if (!this.#announced.has(name)) texts.push(`${titleOf(card)}: ${alert.label}`);
        this.#announced.delete(name);
        this.#announced.add(name); // the newest last
      }
    }
    for (const name of this.#announced) {
      if (this.#announced.size <= MAX_ANNOUNCED_ALERTS) break;
      this.#announced.delete(name);
    }
    const more = texts.length - MAX_TEXTS;
    if (texts.length && this.#hasSnapshot) announce([...texts.slice(0, MAX_TEXTS), ...(more > 0 ? [`and ${more} more alerts`] : [])].join("; "));
    this.#hasSnapshot = true;
  }

  #requestDraw() {
    if (this.#frameRequested || !this.shown) return;
    this.#frameRequested = true;
    requestAnimationFrame(() => { this.#frameRequested = false; this.#draw(); });
  }

  #draw() {
    this.list.measure(); // before anything is written
    for (const tile of this.list.tiles) {
      if (!this.#cards.get(tile.key)) continue; // unchanged, or about to leave
      tile.show();
      this.#cards.set(tile.key, false);
    }
    const unused = Date.now() - this.#pointedAt > POINTER_REST_MS && !this.list.element.matches(":focus-within");
    if (Date.now() - this.#movedAt > MOVE_INTERVAL_MS) this.arrange(unused);
  }

  // Puts cards in order; without `move`, cards already on the wall keep their places.
  arrange(move) {
    this.#movedAt = Date.now();
    const cards = [...this.link.cards.values()], counts = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, 0])), shown = [];
    for (const card of cards) {
      for (const [name, [, matches]] of Object.entries(FILTERS)) if (matches(card, this.link)) counts[name] += 1;
      if (this.shown && FILTERS[this.#filter][1](card, this.link) && this.#matches(card)) shown.push(card);
    }
    for (const [name, number] of Object.entries(counts)) setText(this.chips[name].number, String(number));
    this.chips.attention.button.classList.toggle("urgent", counts.attention > 0);
    document.title = counts.attention ? `(${counts.attention}) tonewatch` : "tonewatch";
    if (!this.shown) return;
    setText(this.fold, [this.#filter === "all" ? "Filters" : FILTERS[this.#filter][0], ...Object.values(this.#about).filter(Boolean)].join(" · "));
    for (const [name, select] of Object.entries(this.about)) this.#showOptions(name, select, cards);
    const titles = new Map(shown.map((card) => [card, titleOf(card)])), order = ORDERS[this.#choices.sort][1];
    shown.sort((a, b) => (a.state === "ended") - (b.state === "ended") || order(a, b) || compare(titles.get(a), titles.get(b)) || compare(a.key, b.key));
    const sorted = shown.map((card) => card.key);
    this.#keys = move ? sorted : keepPlaces(this.#keys, sorted);
    this.list.set(this.#entries(), move);
    this.#showEmpty(cards.length, shown.length);
  }

  // The cards' keys under headings of their groups; groups that need attention first.
  #entries() {
    const of = this.#keys.length, group = GROUPS[this.#choices.group][1];
    if (this.#choices.group === "none") return this.#keys.map((key, index) => ({ key, place: index + 1, of }));
    const groups = new Map();
    for (const key of this.#keys) {
      const card = this.link.cards.get(key), name = group(card), one = groups.get(name) ?? { name, keys: [], urgent: 0 };
      groups.set(name, one);
      one.keys.push(key);
      one.urgent += FILTERS.attention[1](card, this.link);
    }
    let place = 0;
    return [...groups.values()].sort((a, b) => compare(a.name, b.name))
      .flatMap(({ name, keys, urgent }) => [{ group: name, number: keys.length, urgent }, ...keys.map((key) => ({ key, place: (place += 1), of }))]);
  }

  #showOptions(name, select, cards) {
    const values = [...new Set(cards.map((card) => card.about[name]).filter(Boolean)), ...(this.#about[name] ? [this.#about[name]] : [])];
    const names = [...new Set(values)].sort(compare).slice(0, MAX_OPTIONS);
    select.hidden = names.length === 0;
    if (select.dataset.names !== String(names)) {
      select.dataset.names = String(names);
      select.replaceChildren(select.firstElementChild, ...names.map((one) => h("option", { value: one }, one)));
    }
    if (select.value !== this.#about[name]) select.value = this.#about[name];
  }

  #matches(card) {
    for (const [name, value] of Object.entries(this.#about)) if (value && card.about[name] !== value) return false;
    if (!this.#query) return true;
    const text = [card.name, ...Object.values(card.about), card.node, card.speaker.name, ...card.speaker.others.map((other) => other.name), card.emotion?.label, card.reason, card.state, ...card.shares.map((share) => share.name)].join(" ").toLowerCase();
    return this.#query.split(/\s+/).every((word) => text.includes(word));
  }

  #showEmpty(all, shown) {
    this.empty.hidden = shown > 0;
    if (shown > 0) return;
    const [title, text] = all > 0 ? ["No matches", "Change the filter to see other streams."]
      : this.link.state === "open" ? ["No streams yet", "Streams and calls appear when their audio starts."] : ["Connecting", "Waiting for the server."];
    const refusals = all ? 0 : [...this.link.nodes.values()].map((node) => node.health?.protocols?.map((row) => row.refusals.map((one) => one.count)));
    const emptiness = JSON.stringify([title, refusals]);
    if (emptiness === this.#emptiness) return;
    this.#emptiness = emptiness;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 120 56");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", "M8 24v8M21 18v20M34 8v40M47 20v16M60 26v4M73 20v16M86 8v40M99 18v20M112 24v8");
    svg.append(path);
    this.empty.replaceChildren(svg, h("b", null, title), h("p", null, text));
    if (all === 0 && this.link.state === "open") import("./how_to_connect.js").then(({ howToConnect }) => { if (this.#emptiness === emptiness) this.empty.append(...howToConnect(this.link)); });
  }

  #setFilter(name) {
    this.#filter = name;
    this.#showChoices();
    this.#changed();
  }
}

// The new order in which what was there before keeps its place, and what is new has its own.
function keepPlaces(before, sorted) {
  const wanted = new Set(sorted), known = new Set(before), kept = before.filter((key) => wanted.has(key)), order = [];
  let next = 0;
  for (const key of sorted) {
    if (!known.has(key)) order.push(key);
    else if (key === kept[next]) { order.push(key); next += 1; }
  }
  return [...order, ...kept.slice(next)];
}
