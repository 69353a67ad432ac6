// Turns by speaker on the time axis, and as a table.
import { h } from "./dom.js";
import { GLYPHS, clock, emotionKey, emotionLabel, glyphOf, marksFor, percent, speakerColour, speakerName, timeMarks } from "./words.js";

const MAX_TABLE_ROWS = 100, MIN_MARKED = 0.02; // share of the axis that holds a mark

// The emotions along a turn, one run after the other; each point stands for the speech before it, the last one also for the rest.
function runsOf(points, start, end) {
  const runs = [];
  for (const { time_s, label } of points) {
    if (time_s <= start) continue;
    if (runs.at(-1)?.label === label) runs.at(-1).to = Math.min(time_s, end);
    else runs.push({ label, from: runs.at(-1)?.to ?? start, to: Math.min(time_s, end) });
  }
  if (runs.length) runs.at(-1).to = end;
  return runs;
}

// Colours the block of a turn by its runs, and marks each that is wide enough.
function showRuns(block, runs, { start, end, length }) {
  const share = (time) => `${(100 * (time - start)) / (end - start)}%`, name = (key) => (key in GLYPHS && key !== "silence" ? key : "uncertain");
  block.style.backgroundImage = `linear-gradient(90deg, ${runs.map((run) => `var(--${name(emotionKey(run.label))}) ${share(run.from)} ${share(run.to)}`).join(", ")})`;
  block.replaceChildren(...runs.filter((run) => (run.to - run.from) / length > MIN_MARKED).map((run) => {
    const mark = h("i", null, glyphOf(run.label));
    mark.style.left = share(run.from);
    return mark;
  }));
}

export class TurnsPanel {
  constructor(spanButtons) {
    this.lanes = h("div", { class: "lanes" });
    this.axis = h("div", { class: "axis", "aria-hidden": "true" });
    this.rows = h("tbody");
    this.element = h("section", { class: "panel" }, h("header", null, h("h2", null, "Turns"), spanButtons), h("div", { "aria-hidden": "true" }, this.lanes, this.axis),
      h("details", { class: "gap" }, h("summary", null, "As a table"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Turns" },
        h("table", { class: "rows" }, h("thead", null, h("tr", null, ...["From", "To", "Speaker", "Emotion"].map((head) => h("th", { scope: "col" }, head)))), this.rows))));
  }

  // Draws the turns from media time `from` on; `now` is where open turns end, `emotionOf` the emotion of an open turn, `pointsOf`
  // the emotions along a turn.
  draw(turns, { from, length, now }, emotionOf, pointsOf) {
    const bySpeaker = new Map();
    for (const turn of turns) {
      if (!bySpeaker.has(turn.speaker)) bySpeaker.set(turn.speaker, []);
      bySpeaker.get(turn.speaker).push(turn);
    }
    const speakers = [...bySpeaker].sort(([a], [b]) => (a === null) - (b === null) || String(a).localeCompare(String(b), "en", { numeric: true }));
    this.lanes.replaceChildren(...speakers.map(([speaker, own]) => {
      const name = h("span", { class: "lane-name" }, speaker ?? "unknown"), track = h("div", { class: "lane-track" });
      name.style.setProperty("--speaker", speakerColour(speaker));
      for (const turn of own) {
        const end = turn.open ? Math.max(turn.end_s, now) : turn.end_s;
        if (end <= from) continue;
        const label = turn.emotion ?? (turn.open ? emotionOf(turn) : null);
        const block = h("span", { class: "turn", "data-emotion": emotionKey(label), "data-open": turn.open, "data-corrected": turn.previous !== null, title: `${clock(turn.start_s)}–${turn.open ? "now" : clock(turn.end_s)} ${speakerName(speaker)}, ${emotionLabel(label)}` }, label ? glyphOf(label) : "");
        const left = Math.max(0, (turn.start_s - from) / length);
        block.style.left = `${100 * left}%`;
        const start = Math.max(turn.start_s, from), runs = runsOf(pointsOf(turn), start, end);
        if (runs.length) showRuns(block, runs, { start, end, length });
        block.style.width = `${100 * Math.max(0.002, (end - from) / length - left)}%`;
        track.append(block);
      }
      return h("div", { class: "lane" }, name, track);
    }));
    if (!speakers.length) this.lanes.replaceChildren(h("p", { class: "note" }, "No turns yet."));
    this.axis.replaceChildren(...timeMarks(from, length, marksFor(this.axis.clientWidth)).map((time) => {
      const tick = h("span", null, clock(time)), share = (time - from) / length;
      tick.style.left = `${100 * share}%`;
      if (share < 0.03 || share > 0.97) tick.dataset.edge = share < 0.5 ? "start" : "end";
      return tick;
    }));
  }

  drawTable(turns) {
    const newest = [...turns].sort((a, b) => b.start_s - a.start_s).slice(0, MAX_TABLE_ROWS);
    this.rows.replaceChildren(...newest.map((turn) => {
      const shares = Object.entries(turn.emotions).sort((a, b) => b[1] - a[1]).map(([label, share]) => `${emotionLabel(label)} ${percent(share)}`).join(", ");
      return h("tr", null, h("td", null, clock(turn.start_s)), h("td", null, turn.open ? "now" : clock(turn.end_s)), h("td", null, turn.speaker ?? "unknown", turn.previous ? ` (was ${turn.previous})` : ""), h("td", null, shares || (turn.open ? "…" : "–")));
    }));
  }
}
