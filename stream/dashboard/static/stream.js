// The view of one stream or call: speaker and emotion now, turns, the decision about the speaker, and its commands.
import { announce, askForName, h, icon, setAttribute, setText, toast } from "./dom.js";
import { CallPanel } from "./call.js";
import { Chart } from "./chart.js";
import { DecisionPanel } from "./decision.js";
import { MIN_TREND, makeEmotion, makeShares, makeSpeaker } from "./parts.js";
import { TurnsPanel } from "./turns.js";
import { age, clock, duration, emotionKey, emotionLabel, glyphOf, labelOf, percent, sentence, subtitleOf, titleOf } from "./words.js";

const SPANS = [[60, "1 min"], [300, "5 min"], [0, "All"]];
const MAX_POINTS = 360, MAX_DECISIONS = 40, MAX_NOTES = 60, MIN_SPAN_S = 10, MIN_DBFS = -60, SILENT_DBFS = -99;

export class StreamView {
  #turns = new Map();
  #points = [];
  #decisions = [];
  #notes = new Map();
  #detail = { labels: [], models: {}, sources: [], call: null };
  #span = 60;
  #listeners = [];

  constructor(link, key) {
    this.link = link;
    this.key = key;
    this.name = h("h1");
    this.subtitle = h("span", { class: "note" });
    this.report = h("a", { hidden: true }, "Report");
    this.state = h("span", { class: "pill calm" });
    this.pause = h("button", { type: "button", class: "button", "aria-pressed": "false", onclick: () => this.#togglePause() });
    this.enrol = h("button", { type: "button", class: "button", onclick: () => this.#enrol() }, icon("person"), "Enrol this voice");
    this.speaker = makeSpeaker();
    this.emotion = makeEmotion();
    this.since = h("p", { class: "since" });
    this.shares = makeShares({ legendEntries: 8 });
    this.meters = h("div");
    this.levels = new Map();
    this.probabilities = h("div", { class: "probs" });
    this.arousal = h("p", { class: "since", hidden: true });
    this.plot = h("div", { class: "plot", role: "img", "aria-label": "Probability of each emotion over time; the current figures are above" });
    this.chart = new Chart(this.plot);
    this.spans = h("div", { class: "chips more", role: "group", "aria-label": "Time range" }, SPANS.map(([seconds, label]) =>
      h("button", { type: "button", "aria-pressed": seconds === this.#span ? "true" : "false", onclick: (event) => this.#setSpan(seconds, event.target) }, label)));
    this.turns = new TurnsPanel(this.spans);
    this.decision = new DecisionPanel();
    this.call = new CallPanel();
    this.log = h("ol", { class: "log" });
    this.models = h("p", { class: "note" });
    this.element = h("section", null,
      h("div", { class: "head" }, h("a", { class: "back", href: "#/" }, "‹ Wall"), this.name, this.state, this.subtitle, this.report, h("div", { class: "acts" }, this.pause, this.enrol)),
      (this.missing = h("p", { class: "panel", hidden: true }, "No such stream. It may have ended some time ago.")),
      (this.body = h("div", { class: "split" },
        h("div", { class: "stack" },
          h("section", { class: "panel" }, h("h2", { class: "visually-hidden" }, "Now"), h("div", { class: "now" }, this.speaker.element, h("div", null, this.emotion.element, this.since), this.meters), h("div", { class: "gap" }, this.shares.element)),
          this.turns.element,
          (this.emotions = h("section", { class: "panel" }, h("header", null, h("h2", null, "Emotion, smoothed")), this.probabilities, this.arousal, this.plot))),
        h("div", { class: "stack" }, this.call.element, this.decision.element, h("section", { class: "panel" }, h("header", null, h("h2", null, "Log")), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Log" }, this.log), this.models)))));
  }

  enter() {
    for (const [type, listener] of [["wall", (event) => this.#onWall(event.detail)], ["detail", (event) => this.#onDetail(event.detail)], ["level", (event) => this.#onLevel(event.detail)], ["hello", () => this.#show()], ["state", () => this.#show()]]) {
      this.link.addEventListener(type, listener);
      this.#listeners.push([type, listener]);
    }
    this.link.watch(this.key);
    this.#show();
    this.pause.focus({ preventScroll: true });
  }

  leave() {
    for (const [type, listener] of this.#listeners) this.link.removeEventListener(type, listener);
    this.link.watch(null);
    this.chart.destroy();
  }

  tick() { this.#show(); this.#drawTurns(); }

  get card() { return this.link.cards.get(this.key); }

  #onWall({ changed, removed, t }) { if (t === "snapshot" || changed.includes(this.key) || removed.includes(this.key)) this.#show(); }

  #onLevel({ key, level }) {
    if (key !== this.key || !level) return;
    for (const [source, dbfs] of Object.entries(level)) {
      if (!this.levels.has(source)) this.#addMeter(source, Object.keys(level).length > 1);
      const meter = this.levels.get(source), share = Math.min(1, Math.max(0, 1 - dbfs / MIN_DBFS));
      meter.bar.style.transform = `scaleX(${share})`;
      setText(meter.text, dbfs <= SILENT_DBFS ? "silent" : `${Math.round(dbfs)} dBFS`);
      setAttribute(meter.element, "aria-valuenow", Math.round(dbfs));
    }
  }

  #addMeter(source, named) {
    const bar = h("i"), text = h("span"), element = h("div", { class: "meter-bar", role: "meter", "aria-label": `Level of ${source}`, "aria-valuemin": "-100", "aria-valuemax": "0" }, bar);
    this.levels.set(source, { bar, text, element });
    this.meters.append(h("div", { class: "meter" }, h("div", { class: "meter-row" }, h("span", null, named ? source.replace(`${this.card?.name ?? ""}-`, "") : "Level"), text), element));
  }

  #onDetail(detail) {
    if (detail.key !== this.key) return;
    if (detail.whole) { this.#turns.clear(); this.#points = []; this.#decisions = []; this.#notes.clear(); }
    this.#detail = detail;
    for (const turn of detail.turns) this.#turns.set(turn.id, turn);
    this.#points.push(...detail.points);
    this.#points.splice(0, Math.max(0, this.#points.length - MAX_POINTS));
    this.#decisions.push(...detail.decisions);
    this.#decisions.splice(0, Math.max(0, this.#decisions.length - MAX_DECISIONS));
    for (const note of detail.notes) {
      if (note.note === "correction" && !detail.whole) announce(`${note.previous} is ${note.speaker}`);
      this.#notes.set(`${note.time} ${note.source} ${note.note} ${note.state ?? note.kind ?? note.speaker} ${note.phase ?? ""}`, note);
    }
    if (detail.level) this.#onLevel({ key: this.key, level: detail.level });
    this.#show();
    this.#drawTurns();
    this.turns.drawTable(this.#turns.values());
    this.#drawEmotions();
    this.decision.show(this.#decisions);
    this.call.show(detail.call, this.card);
    this.#drawLog();
  }

  #show() {
    const card = this.card;
    setText(this.name, card ? titleOf(card) : this.key.split("/").at(-1));
    const report = card ? this.link.reportOf(card) : null;
    this.report.hidden = report === null;
    setAttribute(this.report, "href", report);
    setText(this.subtitle, card ? [subtitleOf(card), titleOf(card) === card.name ? "" : card.name, card.latency_ms && card.state === "live" ? `${card.latency_ms < 1000 ? `${Math.round(card.latency_ms)} ms` : duration(card.latency_ms / 1000)} behind` : ""].filter(Boolean).join(" · ") : "");
    this.missing.hidden = card !== undefined || this.link.state !== "open" || this.link.cards.size === 0;
    this.body.hidden = card === undefined;
    this.#showCommands(card);
    if (!card) return;
    const now = this.link.mediaNow(card);
    const stale_s = this.link.staleFor(card), state = this.link.stateOf(card);
    setText(this.state, { live: `live · ${clock(now)}`, paused: card.hold_since_ms === null ? `paused · ${clock(now)}` : `on hold for ${duration(Math.max(0, (this.link.now() - card.hold_since_ms) / 1000))}`, ended: `${card.ending?.text ?? "ended"} after ${clock(card.end_s)}`, stale: `no data for ${age(stale_s ?? 0)}` }[state] ?? (card.state === "offline" ? "node is offline" : labelOf("stream_states", card.state)));
    this.state.className = `pill ${{ live: "calm", ended: "calm", paused: "warn" }[state] ?? "bad"}`;
    this.speaker.show(card, card.silent_since_s === null ? null : Math.max(0, now - card.silent_since_s), stale_s);
    if (card.ending) this.emotion.showEnding(card.ending);
    else this.emotion.show(card.emotion, card.anger_trend);
    const speaker = card.emotion && card.emotion.label !== "silence" && card.emotion.speaker ? `${card.emotion.speaker}, ` : "";
    setText(this.since, card.ending ? "over all its speech" : card.emotion ? `${speaker}since ${clock(card.emotion.since_s)}` : "No speech scored yet");
    this.shares.show(card, now);
    this.meters.hidden = state !== "live" || !this.link.hello.levels;
  }

  #showCommands(card) {
    const { commands } = this.link.hello, enabled = (command) => this.link.state === "open" && commands.includes(command);
    this.pause.hidden = !card || !commands.includes("pause");
    this.enrol.hidden = !card || !commands.includes("enroll") || card.kind === "call";
    if (!card) return;
    const paused = card.state === "paused" && card.hold_since_ms === null; // who holds a call retrieves it
    if (this.pause.dataset.paused !== String(paused)) {
      this.pause.dataset.paused = String(paused);
      this.pause.replaceChildren(icon(paused ? "play" : "pause"), paused ? "Resume" : "Pause");
      setAttribute(this.pause, "aria-pressed", paused ? "true" : "false");
      this.pause.title = paused ? "Process this stream again" : "Privacy: discard the audio until you resume";
    }
    this.pause.disabled = !enabled("pause") || card.state === "ended";
    this.enrol.disabled = !enabled("enroll") || card.speaker.name === null || card.speaker.enrolled || card.speaker.state === "silence";
  }

  // The media time that turns and probabilities are drawn over, one above the other.
  #range() {
    const now = this.link.mediaNow(this.card), from = this.#span ? Math.max(0, now - this.#span) : 0;
    return { from, length: Math.max(now - from, MIN_SPAN_S), now: Math.min(now, this.card.end_s) };
  }

  #drawTurns() {
    if (!this.card) return;
    const range = this.#range();
    this.turns.draw(this.#turns.values(), range, (turn) => this.#newestEmotion(turn), (turn) => this.#pointsOf(turn));
    this.chart.setRange(range.from, range.from + range.length);
  }

  #pointsOf(turn) {
    return this.#points.filter((point) => point.values !== null && point.time_s > turn.start_s && (turn.open || point.time_s <= turn.end_s + 1) && (point.speaker === turn.speaker || point.speaker === null));
  }

  #newestEmotion(turn) {
    const point = this.#points.findLast((one) => one.values !== null && one.time_s > turn.start_s && (one.speaker === turn.speaker || one.speaker === null));
    return point?.label ?? null;
  }

  #drawEmotions() {
    const { labels } = this.#detail, last = this.#points.findLast((point) => point.values !== null);
    this.emotions.hidden = labels.length === 0;
    if (this.probabilities.childElementCount !== labels.length) {
      this.bars = labels.map((label) => {
        const figure = h("b"), line = h("i");
        const element = h("div", { class: "prob", "data-emotion": emotionKey(label) }, h("span", { class: "glyph", "aria-hidden": "true" }, glyphOf(label)), h("span", null, emotionLabel(label)), figure, h("div", { class: "line" }, line));
        return { element, figure, line };
      });
      this.probabilities.replaceChildren(...this.bars.map((bar) => bar.element));
    }
    const emotion = this.card?.emotion ?? null;
    labels.forEach((label, index) => {
      const value = emotion?.probabilities[label] ?? (emotion?.label === "silence" ? null : last?.values[index] ?? null);
      setText(this.bars[index].figure, value === null ? "–" : percent(value));
      this.bars[index].line.style.transform = `scaleX(${value ?? 0})`;
    });
    const arousal = emotion?.arousal ?? null, trend = emotion?.arousal_trend ?? 0;
    this.arousal.hidden = arousal === null;
    setText(this.arousal, arousal === null ? "" : `Arousal ${percent(arousal)}${Math.abs(trend) < MIN_TREND ? "" : trend > 0 ? ", rising" : ", falling"}`);
    if (labels.length) this.chart.show(labels, this.#points);
  }

  #drawLog() {
    const notes = [...this.#notes.values()].sort((a, b) => b.time_s - a.time_s).slice(0, MAX_NOTES);
    const text = {
      alert: (note) => [h("b", { class: note.phase === "start" ? "bad" : null }, note.phase === "start" ? "Alert: " : "Alert ended: "), note.label, note.speaker ? ` (${note.speaker})` : ""],
      correction: (note) => [h("b", null, `${note.previous} is ${note.speaker}`), ` since ${clock(note.since_s)}`],
      stream: (note) => [h("b", null, sentence(labelOf("stream_states", note.state))), note.lost_s ? `: ${duration(note.lost_s)}` : "", note.detail ? `, ${note.detail}` : "", this.#detail.sources.length > 1 ? ` (${note.source})` : ""],
    };
    this.log.replaceChildren(...notes.map((note) => h("li", null, h("time", null, clock(note.time_s)), h("span", null, ...text[note.note](note)))));
    setText(this.models, Object.entries(this.#detail.models).map(([name, revision]) => `${name} @ ${revision.slice(0, 12)}`).join(", "));
  }

  #setSpan(seconds, button) {
    this.#span = seconds;
    for (const one of this.spans.children) setAttribute(one, "aria-pressed", one === button ? "true" : "false");
    this.#drawTurns();
  }

  // The names that commands go to: of a call, all its tracks.
  #streams() {
    const tracks = this.#detail.sources.filter((source) => source !== this.card?.name);
    return tracks.length ? tracks : [this.card.name];
  }

  async #togglePause() {
    const command = this.pause.dataset.paused === "true" ? "resume" : "pause";
    this.pause.disabled = true;
    const replies = await Promise.all(this.#streams().map((source) => this.link.send({ command, source })));
    const failed = replies.find((reply) => !reply.ok);
    toast(failed ? failed.error : command === "pause" ? "Paused. Audio is discarded until you resume." : "Resumed.");
    this.#show();
  }

  #enrol() {
    const voice = this.card.speaker.name;
    askForName({
      id: "enrol-title", title: `Enrol ${voice}`, label: "Name", button: "Enrol", field: { maxlength: "64" },
      note: "The voice is stored and recognised by this name. A voice is biometric data: ask the person first.",
      submit: async (name) => {
        const reply = await this.link.send({ command: "enroll", source: this.#streams()[0], voice, name });
        if (!reply.ok) return reply.error;
        toast(`Enrolled ${voice} as ${name}.`);
        return "";
      },
    });
  }
}
