// Display names, glyphs and formatting. Names of the values in events come from the server's `hello` message.
export const GLYPHS = { neutral: "–", happy: "▲", angry: "!", sad: "▼", uncertain: "?", silence: "·" };
export const DASHES = { neutral: [], happy: [8, 3], angry: [], sad: [3, 3] };
export const COLOURED = new Set(["neutral", "happy", "angry", "sad"]); // emotions with a colour of their own
export const CALL_PARTS = new Set(["crosstalk", "silence", "lost"]); // parts of a call that belong to no speaker

let labels = {};
export function setLabels(tables) { labels = tables; }
// The display name of a value: `labelOf("alerts", "dead_air")`; a value without one is shown as it is.
export const labelOf = (table, value) => labels[table]?.[value] ?? String(value).replaceAll("_", " ");
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const emotionName = (label) => labels.emotions?.[label] ?? label;
// The key of an emotion's colour and glyph: a name in GLYPHS, "other", or "none" without an emotion.
export function emotionKey(label) {
  if (!label) return "none";
  const name = emotionName(label);
  return name in GLYPHS ? name : "other";
}
export const glyphOf = (label) => GLYPHS[emotionKey(label)] ?? (label ? label[0].toUpperCase() : "·");
export const emotionLabel = (label) => (label ? emotionName(label) : "no emotion yet");

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds)), pad = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return (hours ? `${hours}:` : "") + `${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
}
// An age in whole seconds.
export const age = (seconds) => (seconds < 90 ? `${Math.floor(seconds)} s` : duration(seconds));
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}
// What a person calls a stream or call: caller, or the time it began where its name is an identifier of a machine.
const IDENTIFIER = /^(?:[A-Z]{2})?[0-9a-f-]{16,}(?:-\d+)?$/i;
const startFormat = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export function titleOf(card) {
  const known = card.about.caller_name ?? card.about.caller;
  if (known) return known;
  if (!IDENTIFIER.test(card.name)) return card.name;
  return `${card.kind === "call" ? "Call" : "Stream"} ${card.started_ms === null ? "" : `${startFormat.format(card.started_ms)} `}· ${card.name.replace(/^[A-Z]{2}/, "").slice(0, 4)}`;
}
export const subtitleOf = (card) => [card.about.caller_name ? card.about.caller : null, card.about.agent, card.about.queue].filter(Boolean).join(" · ");
// Marks of a time axis: whole steps of seconds or minutes, at most `most` of them.
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
export function timeMarks(from, length, most) {
  const step = STEPS_S.find((one) => length / one <= most) ?? 86400, first = Math.ceil(from / step) * step;
  return Array.from({ length: Math.max(0, Math.floor((from + length - first) / step) + 1) }, (_, index) => first + index * step);
}
export const marksFor = (width) => (width > 700 ? 8 : width > 420 ? 5 : 3);
export const percent = (share) => `${Math.round(100 * share)} %`;
export const decimal = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const integer = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

export const speakerName = (name) => name || "Unknown speaker";
// Everyone who speaks now; somebody not known is named as such.
export const speakerNames = (speaker, others) => [speakerName(speaker.name), ...others.map((other) => other.name || (speaker.name ? "unknown" : "another"))].join(" + ");
export function initials(name) {
  if (!name) return "?";
  const words = name.split(/[\s_.-]+/).filter(Boolean);
  return (words.length > 1 ? words[0][0] + words[1][0] : name.slice(0, 2)).toUpperCase();
}
// A colour that a name keeps: by number for S1, S2, …, else by a hash.
export function speakerColour(name) {
  if (!name) return "var(--faint)";
  if (name === "customer") return "var(--s0)";
  if (name === "agent") return "var(--s1)";
  const numbered = /^S(\d+)$/.exec(name);
  let hash = numbered ? Number(numbered[1]) - 1 : 0;
  if (!numbered) for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return `var(--s${hash % 8})`;
}
