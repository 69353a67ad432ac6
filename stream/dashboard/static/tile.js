// One card of the wall: a stream or a call.
import { h, icon, setAttribute, setText } from "./dom.js";
import { drawTrend, makeEmotion, makeShares, makeSpeaker } from "./parts.js";
import { age, clock, duration, labelOf, subtitleOf, titleOf } from "./words.js";

const BEHIND_MS = 5000; // later, the card shows what is over

export class Tile {
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
    this.more = h("span", { class: "more", hidden: true }, "Summary");
    this.element = h("a", { class: "card", href: `#/stream/${encodeURIComponent(key)}` },
      h("div", { class: "card-top" }, h("div", null, this.name, this.node), this.time), this.speaker.element,
      h("div", { class: "emotion-row" }, this.emotion.element, this.trend), this.shares.element, h("div", { class: "card-end" }, this.pill, this.more));
    this.report = h("a", { class: "report", hidden: true }, "Report"); // a link beside that of the card, which holds no other
    this.item = h("li", null, this.element, this.report);
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
    this.more.hidden = card.state !== "ended";
    const report = this.link.reportOf(card);
    this.report.hidden = report === null;
    setAttribute(this.report, "href", report);
    setAttribute(this.report, "aria-label", report && `Report of ${titleOf(card)}`);
    setAttribute(this.more, "data-beside", report && "report"); // keeps its place free
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
    const [level, symbol, text] = pillOf(card, now, this.link.staleFor(card), card.hold_since_ms === null ? null : Math.max(0, (this.link.now() - card.hold_since_ms) / 1000));
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
function pillOf(card, now, stale_s, held_s) {
  const alert = card.alerts.find((one) => one.label === card.reason) ?? card.alerts[0];
  if (alert) return ["bad", "alert", [alert, ...card.alerts.filter((one) => one !== alert)].map((one) => `${one.label} ${age(Math.max(0, now - one.since_s))}`).join(", ")];
  if (stale_s !== null) return ["bad", "mute", `no data for ${age(stale_s)}`];
  if (card.state === "stalled" || card.state === "offline") return ["bad", "mute", card.reason];
  if (card.state === "paused") return ["warn", "pause", held_s === null ? "paused" : `on hold ${age(held_s)}`];
  if (card.reason) return ["warn", card.reason === labelOf("stream_states", "gap") ? "gap" : "alert", card.reason];
  if (card.gaps) return ["calm", "gap", `${card.gaps} ${card.gaps > 1 ? "gaps" : "gap"}, ${duration(card.lost_s)} lost`];
  if (card.state === "live" && card.latency_ms >= BEHIND_MS) return ["warn", "gap", `${age(card.latency_ms / 1000)} behind`];
  const raised = Object.entries(card.ending?.alerts ?? {}).map(([label, times]) => (times > 1 ? `${label} ${times}×` : label)).join(", ");
  if (raised) return ["calm", "alert", raised];
  return card.state === "ended" ? ["calm", "check", "no alerts"] : [null, null, ""];
}
