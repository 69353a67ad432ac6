// The cards of the wall in rows, under headings of groups. Of a long list only the rows near the window are in the
// document: the space of the others is padding, as high as they were when they were seen, or as the average row is.
import { h, setAttribute, setText } from "./dom.js";

const WHOLE_UP_TO = 60, GAP_PX = 12, OVERSCAN = 0.5, FIRST_HEIGHT_PX = 190, MAX_SCROLLS = 5, MOVE_ANIMATION_MS = 260;

export class CardList {
  #entries = []; // { key } of a card, { group, number, urgent } of a heading
  #tiles = new Map(); // those in the document, by key
  #headings = new Map();
  #rows = [];
  #shown = []; // rows in the document
  #top = null; // of the list in the window, while it is known without a layout
  #heights = new Map();
  #average = FIRST_HEIGHT_PX;
  #columns = 0;
  #focused = null;
  #lost = null; // the focused card, while it is not in the document
  #width = 0;
  #request = 0; // of the next frame

  // `makeTile(key)` returns an object with `item`, `element`, `show()` and `tick()`.
  constructor(makeTile) {
    this.makeTile = makeTile;
    this.element = h("ul", { class: "grid", "aria-label": "Streams and calls", onkeydown: (event) => this.#moveFocus(event) });
    this.element.addEventListener("focusin", (event) => { this.#focused = event.target.closest("li")?.dataset.key ?? null; });
    document.addEventListener("focusin", () => { this.#lost = null; });
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width === this.#width) return;
      this.#width = contentRect.width;
      this.forget();
      this.#requestDraw();
    }).observe(this.element);
    addEventListener("scroll", () => this.#requestDraw(), { passive: true });
  }

  get tiles() { return this.#tiles.values(); }
  tile(key) { return this.#tiles.get(key); }

  forget() {
    this.#columns = 0;
    this.#heights.clear();
  }

  // Shows these entries in this order; with `animate`, cards glide to new places.
  set(entries, animate) {
    const before = animate && entries.length <= WHOLE_UP_TO && !matchMedia("(prefers-reduced-motion: reduce)").matches
      ? new Map([...this.#tiles.values()].map(({ item }) => [item, item.getBoundingClientRect()])) : null;
    this.#entries = entries;
    this.#layOut();
    this.#draw();
    for (const [item, old] of before ?? []) {
      if (!item.isConnected) continue;
      const current = item.getBoundingClientRect(), x = old.left - current.left, y = old.top - current.top;
      if (x || y) item.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: MOVE_ANIMATION_MS, easing: "ease-out" });
    }
  }

  #requestDraw() {
    if (!this.element.isConnected) return;
    this.#request ||= requestAnimationFrame(() => {
      this.measure();
      if (!this.#columns) this.#layOut();
      this.#draw();
    });
  }

  // Divides the entries into rows.
  #layOut() {
    this.#columns ||= this.element.isConnected ? getComputedStyle(this.element).gridTemplateColumns.split(" ").length : 0;
    this.#rows = [];
    let row = null;
    for (const entry of this.#entries) {
      if (entry.group !== undefined) { this.#rows.push({ id: `group ${entry.group}`, entries: [entry] }); row = null; continue; }
      if (row === null || row.entries.length >= (this.#columns || 1)) this.#rows.push(row = { id: entry.key, entries: [] });
      row.entries.push(entry);
    }
  }

  #heightOf(row) { return (this.#heights.get(row.id) ?? this.#average) + GAP_PX; }

  #draw() {
    cancelAnimationFrame(this.#request); // this is what it would do
    this.#request = 0;
    if (!this.element.isConnected) return;
    const whole = this.#entries.length <= WHOLE_UP_TO;
    const top = -(this.#top ?? this.element.getBoundingClientRect().top) - OVERSCAN * innerHeight, bottom = top + (1 + 2 * OVERSCAN) * innerHeight;
    let above = 0, below = 0;
    const shown = [];
    let offset = 0;
    for (const row of this.#rows) {
      const height = this.#heightOf(row);
      if (whole || (offset + height > top && offset < bottom)) shown.push(row);
      else if (shown.length) below += height;
      else above += height;
      offset += height;
    }
    this.#top = null;
    this.#place(shown);
    this.element.style.paddingTop = `${above}px`;
    this.element.style.paddingBottom = `${below}px`;
    this.#shown = whole ? [] : shown;
    if (this.#shown.some((row) => !this.#heights.has(row.id))) this.#requestDraw();
  }

  // Puts the rows into the document, and takes all others out of it.
  #place(rows) {
    const wanted = new Set(), headings = new Set();
    for (const { entries } of rows) for (const entry of entries) entry.group === undefined ? wanted.add(entry.key) : headings.add(entry.group);
    for (const [key, tile] of this.#tiles) {
      if (wanted.has(key)) continue;
      if (tile.element === document.activeElement) this.#lost = key;
      tile.item.remove();
      this.#tiles.delete(key);
    }
    for (const [name, item] of this.#headings) if (!headings.has(name)) { item.remove(); this.#headings.delete(name); }
    let next = this.element.firstElementChild;
    for (const { entries } of rows) for (const entry of entries) {
      const item = entry.group === undefined ? this.#cardItem(entry) : this.#headingItem(entry);
      if (item === next) next = next.nextElementSibling;
      else this.element.insertBefore(item, next);
    }
    this.#tiles.get(this.#lost)?.element.focus({ preventScroll: true });
  }

  #cardItem({ key, place, of }) {
    let tile = this.#tiles.get(key);
    if (!tile) {
      this.#tiles.set(key, (tile = this.makeTile(key)));
      tile.item.dataset.key = key;
      tile.show();
    }
    setAttribute(tile.item, "aria-posinset", place); // most items are not in the document
    setAttribute(tile.item, "aria-setsize", of);
    return tile.item;
  }

  #headingItem({ group, number, urgent }) {
    if (!this.#headings.has(group)) this.#headings.set(group, h("li", { class: "group" }, h("h2", null, h("span", null, group), h("b"), h("em"))));
    const item = this.#headings.get(group), [, count, attention] = item.firstElementChild.children;
    setText(count, String(number));
    setText(attention, urgent ? `${urgent} need attention` : "");
    return item;
  }

  // Reads heights and the place of the list. At the start of a frame, before anything is written, this costs no layout.
  measure() {
    if (!this.#shown.length || !this.element.isConnected) return;
    this.#top = this.element.getBoundingClientRect().top;
    let sum = 0, cards = 0;
    for (const row of this.#shown) {
      if (this.#heights.has(row.id)) continue;
      const [entry] = row.entries, item = entry.group === undefined ? this.#tiles.get(entry.key)?.item : this.#headings.get(entry.group);
      const height = item?.offsetHeight ?? 0;
      if (!height) continue;
      this.#heights.set(row.id, height);
      if (entry.group === undefined) { sum += height; cards += 1; }
    }
    if (cards) this.#average = sum / cards;
    if (this.#heights.size > 4 * this.#rows.length + 100) this.#heights.clear();
  }

  // Arrow keys move the focus over the cards, also to those that are not in the document yet.
  #moveFocus(event) {
    const keys = this.#rows.flatMap((row) => row.entries.map((entry) => entry.key).filter(Boolean)), here = keys.indexOf(this.#focused);
    if (here < 0) return;
    const row = this.#rows.findIndex(({ entries }) => entries.some((entry) => entry.key === this.#focused)), column = this.#rows[row].entries.findIndex((entry) => entry.key === this.#focused);
    const inRow = (step) => {
      let other = row + step;
      while (this.#rows[other]?.entries[0].group !== undefined) other += step;
      const entries = this.#rows[other]?.entries;
      return entries?.[Math.min(column, entries.length - 1)].key;
    };
    const target = { ArrowRight: keys[here + 1], ArrowLeft: keys[here - 1], ArrowDown: inRow(1), ArrowUp: inRow(-1), Home: keys[0], End: keys.at(-1) }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.#reveal(target);
    this.#tiles.get(target)?.element.focus();
  }

  // Scrolls until the card is in the document: rows that are drawn may be higher than the average they were taken for.
  #reveal(key) {
    for (let attempt = 0; attempt < MAX_SCROLLS && !this.#tiles.has(key); attempt += 1) {
      let offset = 0;
      for (const row of this.#rows) {
        if (row.entries.some((entry) => entry.key === key)) break;
        offset += this.#heightOf(row);
      }
      scrollBy({ top: this.element.getBoundingClientRect().top + offset - innerHeight / 2, behavior: "instant" });
      this.#draw();
      this.measure();
      this.#top = null; // it scrolls again
    }
  }
}
