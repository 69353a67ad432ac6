// Parts that the wall and the view of a stream share: speaker, emotion, shares of speech, trend.
import { h, setAttribute, setText, setVariable } from "./dom.js";
import { CALL_PARTS, age, duration, emotionKey, emotionLabel, glyphOf, initials, labelOf, percent, sentence, speakerColour, speakerNames } from "./words.js";

const INACTIVE = { held: ["On hold", "audio is discarded"], paused: ["Paused", "audio is discarded"], stalled: ["No audio", "waiting for the source"], ended: ["Ended", ""], offline: ["Node offline", "last known state"], stale: ["No data", ""] };
export const MIN_TREND = 0.08; // a smaller change of anger or arousal shows no word

export function makeSpeaker() {
  const avatar = h("span", { class: "avatar", "aria-hidden": "true" }), second = h("span", { class: "avatar second", "aria-hidden": "true" });
  const name = h("span", { class: "speaker-name" }), state = h("span", { class: "speaker-state" });
  const element = h("div", { class: "speaker" }, h("span", { class: "avatars" }, avatar, second), h("div", { class: "speaker-text" }, name, state));
  return {
    element,
    // `silence_s`: how long there has been no speech, or null; `stale_s`: how long no event of a live card has come, or null.
    show(card, silence_s, stale_s = null) {
      const speaker = card.speaker, silent = speaker.state === "silence", certain = speaker.state === "confirmed" || speaker.state === "overlap";
      const [inactive, explanation] = INACTIVE[stale_s !== null ? "stale" : card.state === "paused" && card.hold_since_ms !== null ? "held" : card.state] ?? [null, null], idle = silent || inactive !== null;
      setText(avatar, idle ? "·" : initials(speaker.name));
      setVariable(avatar, "--speaker", idle ? "var(--faint)" : speakerColour(speaker.name));
      setAttribute(avatar, "data-on", idle ? null : certain ? "yes" : "maybe");
      const others = idle ? [] : speaker.others;
      second.hidden = !others.length;
      if (others.length) {
        setText(second, initials(others[0].name));
        setVariable(second, "--speaker", speakerColour(others[0].name));
        setAttribute(second, "data-on", others[0].name === null ? "maybe" : "yes");
      }
      const ending = card.ending ? sentence(card.ending.text) : null;
      setText(name, ending ?? inactive ?? (silent ? "Silence" : speakerNames(speaker, others)));
      const current = () => (speaker.name === null && speaker.state === "unknown" ? "speaking" : labelOf("speaker_states", speaker.state)) + (speaker.enrolled && !others.length ? ", enrolled" : "");
      const quiet = () => (silence_s === null ? labelOf("speaker_states", "silence") : `silent for ${silence_s < 10 ? `${Math.round(silence_s)} s` : duration(silence_s)}`);
      const reason = card.ending ? card.ending.detail || `after ${duration(card.end_s)}` : stale_s !== null ? `for ${age(stale_s)}` : explanation;
      setText(state, reason ?? (silent ? quiet() : current()));
    },
  };
}

export function makeEmotion() {
  const glyph = h("span", { class: "glyph", "aria-hidden": "true" }), label = h("span"), confidence = h("small");
  const element = h("span", { class: "emotion" }, glyph, label, confidence);
  return {
    element,
    // Of a stream that has ended: how it sounded over all its speech.
    showEnding({ emotions }) {
      const [largest, ...others] = Object.entries(emotions);
      const name = largest?.[0] ?? null;
      setAttribute(element, "data-emotion", emotionKey(name));
      setText(glyph, glyphOf(name));
      setText(label, name ? emotionLabel(name) : "no speech scored");
      setText(confidence, largest ? [percent(largest[1]), ...others.slice(0, 1).map(([other, share]) => `${emotionLabel(other)} ${percent(share)}`)].join(", ") : "");
    },
    show(emotion, angerTrend) {
      const name = emotion?.label ?? null;
      setAttribute(element, "data-emotion", emotionKey(name));
      setText(glyph, glyphOf(name));
      setText(label, `${emotion?.party ? `${emotion.party}: ` : ""}${emotionLabel(name)}`);
      const trend = angerTrend === null || Math.abs(angerTrend) < MIN_TREND ? "" : angerTrend > 0 ? ", angrier" : ", calming";
      setText(confidence, emotion && name !== "silence" ? percent(emotion.confidence) + trend : "");
    },
  };
}

// Makes an element have this many children.
function fill(element, number, tag) {
  while (element.childElementCount > number) element.lastElementChild.remove();
  while (element.childElementCount < number) element.append(h(tag));
}
export const shareColour = (name) => (CALL_PARTS.has(name) ? "" : name ? speakerColour(name) : "var(--uncertain)");
export function makeShares({ legendEntries = 3 } = {}) {
  const bar = h("div", { class: "share", "aria-hidden": "true" }), legend = h("div", { class: "share-legend" });
  let shown = "";
  return {
    element: h("div", { class: "shares" }, bar, legend),
    show(card, total_s) {
      const sum = (shares) => shares.reduce((seconds, share) => seconds + share.seconds, 0);
      const speech_s = sum(card.talk); // crosstalk counts for both parties, as in the call's figures
      const known_s = sum(card.shares), whole_s = Math.max(total_s, known_s, 0.001);
      const state = [...card.shares, ...card.talk].map((share) => `${share.name}${Math.round((1000 * share.seconds) / whole_s)}`).join();
      if (state === shown) return;
      shown = state;
      const ordered = [...card.shares].sort((a, b) => CALL_PARTS.has(a.name) - CALL_PARTS.has(b.name)), last = ordered.length;
      fill(bar, last + 1, "i");
      [...bar.children].forEach((segment, index) => {
        const name = index < last ? ordered[index].name : "silence";
        setAttribute(segment, "data-part", String(name));
        setVariable(segment, "--part", shareColour(name));
        segment.style.flexGrow = index < last ? ordered[index].seconds / whole_s : Math.max(0, 1 - known_s / whole_s);
      });
      const entries = card.talk.slice(0, legendEntries);
      fill(legend, entries.length, "span");
      entries.forEach((share, index) => {
        setText(legend.children[index], `${share.name || "unknown"} ${percent(speech_s ? share.seconds / speech_s : 0)}`);
        setVariable(legend.children[index], "--part", shareColour(share.name));
      });
    },
  };
}

// The colours of the theme, read once from the style sheet.
const palette = new Map();
let theme = 0;
export function clearColours() { palette.clear(); theme += 1; }
export function colour(name) {
  if (!palette.has(name)) palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return palette.get(name);
}
// One column per emotion in its colour, as high as its confidence; the newest on the right.
export function drawTrend(canvas, trend, columns = 32) {
  const ratio = window.devicePixelRatio || 1, width = 84, height = 28, shown = `${theme} ${ratio} ${trend.join()}`;
  if (canvas.shown === shown) return;
  canvas.shown = shown;
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext("2d"), step = width / columns;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = colour("line");
  pen.fillRect(0, height - 1, width, 1);
  trend.forEach(([label, confidence], index) => {
    const emotion = emotionKey(label), columnHeight = Math.max(2, (confidence / 100) * (height - 2));
    pen.fillStyle = colour(emotion === "none" || emotion === "silence" ? "uncertain" : emotion);
    const x = width - (trend.length - index) * step;
    if (emotion === "uncertain") pen.fillRect(x, height - columnHeight, step - 1, 2); // the top edge alone
    else pen.fillRect(x, height - columnHeight, step - 1, columnHeight);
  });
}
