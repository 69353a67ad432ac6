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
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}
export const percent = (share) => `${Math.round(100 * share)} %`;
export const decimal = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const integer = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

export const speakerName = (name) => name || "Unknown speaker";
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
