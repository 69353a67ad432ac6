// What the wall and a stream's page share: a face, a mood, a talk-share bar, a trend.
import { h, mark, put, tint } from "./dom.js";
import { PARTS, STATES, faceOf, glyphOf, initials, moodOf, moodWord, nameOf, percent, span } from "./words.js";

export function makeWho() {
  const face = h("span", { class: "face", "aria-hidden": "true" }), name = h("span", { class: "who-name" }), state = h("span", { class: "who-state" });
  const element = h("div", { class: "who" }, face, h("div", { class: "who-words" }, name, state));
  return {
    element,
    show(card, silence) {
      const who = card.who, silent = who.state === "silence", sure = who.state === "confirmed" || who.state === "overlap";
      const resting = { paused: "Paused", stalled: "No sound", ended: "Ended", offline: "Node offline" }[card.state];
      put(face, silent || resting ? "·" : initials(who.name));
      tint(face, "--face", silent || resting ? "var(--faint)" : faceOf(who.name));
      mark(face, "data-on", silent || resting ? null : sure ? "yes" : "maybe");
      put(name, resting ?? (silent ? "Nobody" : nameOf(who.name)));
      const words = { paused: "sound is thrown away", stalled: "waiting for the source", ended: "nothing more is to come", offline: "last state known" }[card.state];
      put(state, words ?? (silent ? (silence === null ? "silent" : `silent for ${silence < 10 ? `${Math.round(silence)} s` : span(silence)}`) : STATES[who.state] + (who.enrolled ? ", enrolled" : "")));
    },
  };
}

export function makeMood() {
  const glyph = h("span", { class: "glyph", "aria-hidden": "true" }), word = h("span"), sure = h("small");
  const element = h("span", { class: "mood" }, glyph, word, sure);
  return {
    element,
    show(mood, anger) {
      const label = mood?.label ?? null;
      mark(element, "data-mood", moodOf(label));
      put(glyph, glyphOf(label));
      put(word, moodWord(label));
      const arrow = anger === null || anger === undefined || Math.abs(anger) < 0.08 ? "" : anger > 0 ? ", angrier" : ", calming";
      put(sure, mood && label !== "silence" ? percent(mood.confidence) + arrow : "");
    },
  };
}

export const partColour = (who) => (who in PARTS ? "" : who ? faceOf(who) : "var(--uncertain)");
export function makeShare({ words = 3 } = {}) {
  const bar = h("div", { class: "share", "aria-hidden": "true" }), legend = h("div", { class: "share-words" });
  let before = "";
  return {
    element: h("div", null, bar, legend),
    show(card, total) {
      const talk = card.shares.filter((part) => !(part.who in PARTS)), spoken = talk.reduce((sum, part) => sum + part.s, 0);
      const known = card.shares.reduce((sum, part) => sum + part.s, 0), whole = Math.max(total, known, 0.001);
      const key = card.shares.map((part) => `${part.who}${Math.round((1000 * part.s) / whole)}`).join();
      if (key === before) return;
      before = key;
      const order = [...card.shares].sort((a, b) => (a.who in PARTS) - (b.who in PARTS));
      bar.replaceChildren(...order.map((part) => {
        const piece = h("i", { "data-part": part.who });
        piece.style.flexGrow = part.s / whole;
        if (partColour(part.who)) piece.style.setProperty("--part", partColour(part.who));
        return piece;
      }));
      const rest = h("i", { "data-part": "silence" });
      rest.style.flexGrow = Math.max(0, 1 - known / whole);
      bar.append(rest);
      legend.replaceChildren(...talk.slice(0, words).map((part) => {
        const text = h("span", null, `${part.who || "unknown"} ${percent(spoken ? part.s / spoken : 0)}`);
        text.style.setProperty("--part", partColour(part.who));
        return text;
      }));
    },
  };
}

// Columns as high as the label was sure, in the label's colour; the newest stands at the right.
const palette = new Map();
export function forgetColours() { palette.clear(); }
export function colour(name) {
  if (!palette.has(name)) palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return palette.get(name);
}
export function drawTrend(canvas, trend, places = 32) {
  const ratio = window.devicePixelRatio || 1, width = 104, height = 28;
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext("2d"), step = width / places;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = colour("line");
  pen.fillRect(0, height - 1, width, 1);
  trend.forEach(([label, sure], index) => {
    const mood = moodOf(label), tall = Math.max(2, (sure / 100) * (height - 2));
    pen.fillStyle = colour(mood === "none" || mood === "silence" ? "uncertain" : mood);
    const x = width - (trend.length - index) * step;
    if (mood === "uncertain") pen.fillRect(x, height - tall, step - 1, 2); // a cap without a column: nothing is claimed
    else pen.fillRect(x, height - tall, step - 1, tall);
  });
}
