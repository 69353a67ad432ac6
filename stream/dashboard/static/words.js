// What figures and names of the wire are called on the page.
export const GLYPHS = { neutral: "–", happy: "▲", angry: "!", sad: "▼", uncertain: "?", silence: "·" };
export const DASHES = { neutral: [], happy: [8, 3], angry: [], sad: [3, 3] };
const ALIKE = { neu: "neutral", hap: "happy", ang: "angry", happiness: "happy", anger: "angry", sadness: "sad", calm: "neutral" };

export function moodOf(label) {
  if (!label) return "none";
  const known = ALIKE[label] ?? label;
  return known in GLYPHS ? known : "other";
}
export const glyphOf = (label) => GLYPHS[moodOf(label)] ?? (label ? label[0].toUpperCase() : "·");
export const moodWord = (label) => ({ none: "no emotion yet", silence: "silence", uncertain: "uncertain" })[moodOf(label)] ?? (ALIKE[label] ?? label);

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds)), pad = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return (hours ? `${hours}:` : "") + `${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
}
export function span(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}
export const percent = (share) => `${Math.round(100 * share)} %`;
export const figure = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

export const nameOf = (who) => who || "Somebody";
export function initials(name) {
  if (!name) return "?";
  const words = name.split(/[\s_.-]+/).filter(Boolean);
  return (words.length > 1 ? words[0][0] + words[1][0] : name.slice(0, 2)).toUpperCase();
}
export function faceOf(name) {
  if (!name) return "var(--faint)";
  if (name === "customer") return "var(--s0)";
  if (name === "agent") return "var(--s1)";
  const met = /^S(\d+)$/.exec(name);
  let hash = met ? Number(met[1]) - 1 : 0;
  if (!met) for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return `var(--s${hash % 8})`;
}
export const PARTS = { crosstalk: "both at once", silence: "silence" };

export const REASONS = {
  matched: "The voice is near enough to one that is known.",
  new_voice: "A voice that is near nobody: it was met just now.",
  held: "Whoever spoke is taken to go on.",
  too_short: "Too little speech yet to tell.",
  below_threshold: "No known voice is near enough.",
  ambiguous: "Two known voices are about equally near.",
  overlap: "Several people speak at once.",
  silence: "Nobody speaks.",
  track: "The channel tells who it is.",
  no_profiles: "No voice met is near enough, and nobody is enrolled.",
};
export const STATES = { confirmed: "speaking", tentative: "not sure yet", unknown: "speaking, nobody known", overlap: "speaking at once", silence: "silent" };
export const STREAM_NOTES = {
  started: "The sound began", gap: "Sound was lost", stalled: "No sound arrives", paused: "Paused: sound is thrown away",
  resumed: "Listening again", ended: "The sound ended",
};
export const ALERTS = { anger: "sustained anger", dead_air: "dead air", crosstalk: "talking over each other", monologue: "long monologue" };
