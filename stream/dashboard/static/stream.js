// One stream or call: who speaks and why it is thought so, how they sound, the turns, and what can be done about it.
import { h, icon, mark, put, say, tint, toast } from "./dom.js";
import { Chart } from "./chart.js";
import { makeMood, makeShare, makeWho, partColour } from "./parts.js";
import { ALERTS, PARTS, REASONS, STREAM_NOTES, clock, faceOf, figure, glyphOf, moodOf, moodWord, nameOf, percent, span } from "./words.js";

const SPANS = [[60, "1 min"], [300, "5 min"], [0, "All"]];

export class StreamView {
  #turns = new Map();
  #points = [];
  #decisions = [];
  #notes = new Map();
  #detail = { labels: [], models: {}, sources: [], call: null };
  #span = 60;
  #level = null;
  #listeners = [];

  constructor(link, key) {
    this.link = link;
    this.key = key;
    this.name = h("h1");
    this.state = h("span", { class: "pill calm" });
    this.pause = h("button", { type: "button", class: "button", "aria-pressed": "false", onclick: () => this.#pause() });
    this.enrol = h("button", { type: "button", class: "button", onclick: () => this.#enrol() }, icon("person"), "Name this voice");
    this.who = makeWho();
    this.mood = makeMood();
    this.since = h("p", { class: "since" });
    this.share = makeShare({ words: 8 });
    this.meters = h("div");
    this.levels = new Map();
    this.probs = h("div", { class: "probs" });
    this.plot = h("div", { class: "plot", role: "img", "aria-label": "Probability of each emotion over the last minutes; the figures stand above" });
    this.chart = new Chart(this.plot);
    this.spans = h("div", { class: "chips more", role: "group", "aria-label": "Span of time" }, SPANS.map(([seconds, words]) =>
      h("button", { type: "button", "aria-pressed": seconds === this.#span ? "true" : "false", onclick: (event) => this.#stretch(seconds, event.target) }, words)));
    this.lanes = h("div", { class: "lanes" });
    this.axis = h("div", { class: "axis", "aria-hidden": "true" });
    this.table = h("tbody");
    this.because = h("p", { class: "because" });
    this.gauge = h("div", { class: "gauge", "aria-hidden": "true" });
    this.facts = h("dl", { class: "facts" });
    this.past = h("tbody");
    this.call = h("section", { class: "panel", hidden: true });
    this.log = h("ol", { class: "log" });
    this.models = h("p", { class: "note" });
    this.why = h("section", { class: "panel" }, h("header", null, h("h2", null, "Why it is thought so")), this.because, this.gauge, this.facts,
      h("details", { class: "gap" }, h("summary", null, "Decisions before"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Decisions before" },
        h("table", { class: "rows" }, h("thead", null, h("tr", null, ...["At", "Who", "Score", "Because"].map((head) => h("th", { scope: "col" }, head)))), this.past))));
    this.element = h("section", null,
      h("div", { class: "head" }, h("a", { class: "back", href: "#/" }, "‹ Wall"), this.name, this.state, h("div", { class: "acts" }, this.pause, this.enrol)),
      (this.gone = h("p", { class: "panel", hidden: true }, "This stream is not known any more. It may have ended long ago.")),
      (this.body = h("div", { class: "split" },
        h("div", { class: "stack" },
          h("section", { class: "panel" }, h("h2", { class: "unseen" }, "Now"), h("div", { class: "now" }, this.who.element, h("div", null, this.mood.element, this.since), this.meters), h("div", { class: "gap" }, this.share.element)),
          h("section", { class: "panel" }, h("header", null, h("h2", null, "Turns"), this.spans), h("div", { "aria-hidden": "true" }, this.lanes, this.axis),
            h("details", { class: "gap" }, h("summary", null, "As a table"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Turns" },
              h("table", { class: "rows" }, h("thead", null, h("tr", null, ...["From", "To", "Who", "Emotion"].map((head) => h("th", { scope: "col" }, head)))), this.table)))),
          (this.feelings = h("section", { class: "panel" }, h("header", null, h("h2", null, "Emotion, smoothed")), this.probs, this.plot))),
        h("div", { class: "stack" }, this.call, this.why, h("section", { class: "panel" }, h("header", null, h("h2", null, "What happened")), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What happened" }, this.log), this.models)))));
  }

  enter() {
    for (const [type, take] of [["wall", (event) => this.#onWall(event.detail)], ["detail", (event) => this.#onDetail(event.detail)], ["level", (event) => this.#onLevel(event.detail)], ["hello", () => this.#show()], ["state", () => this.#show()]]) {
      this.link.addEventListener(type, take);
      this.#listeners.push([type, take]);
    }
    this.link.watch(this.key);
    this.#show();
    this.pause.focus({ preventScroll: true });
  }

  leave() {
    for (const [type, take] of this.#listeners) this.link.removeEventListener(type, take);
    this.link.watch(null);
    this.chart.destroy();
  }

  tick() { this.#show(); this.#drawTurns(); }

  get card() { return this.link.cards.get(this.key); }

  #onWall({ changed, gone, t }) { if (t === "snapshot" || changed.includes(this.key) || gone.includes(this.key)) this.#show(); }

  #onLevel({ key, level }) {
    if (key !== this.key || !level) return;
    for (const [source, now] of Object.entries(level)) {
      if (!this.levels.has(source)) this.#addMeter(source, Object.keys(level).length > 1);
      const meter = this.levels.get(source), share = Math.min(1, Math.max(0, (now + 60) / 60));
      meter.bar.style.transform = `scaleX(${share})`;
      put(meter.words, now <= -99 ? "silent" : `${Math.round(now)} dBFS`);
      mark(meter.element, "aria-valuenow", Math.round(now));
    }
  }

  #addMeter(source, named) {
    const bar = h("i"), words = h("span"), element = h("div", { class: "meter-bar", role: "meter", "aria-label": `Level of ${source}`, "aria-valuemin": "-100", "aria-valuemax": "0" }, bar);
    this.levels.set(source, { bar, words, element });
    this.meters.append(h("div", { class: "meter" }, h("div", { class: "meter-row" }, h("span", null, named ? source.replace(`${this.card?.name ?? ""}-`, "") : "Level"), words), element));
  }

  #onDetail(detail) {
    if (detail.key !== this.key) return;
    if (detail.whole) { this.#turns.clear(); this.#points = []; this.#decisions = []; this.#notes.clear(); }
    this.#detail = detail;
    for (const turn of detail.turns) this.#turns.set(turn.id, turn);
    this.#points.push(...detail.points);
    this.#points.splice(0, Math.max(0, this.#points.length - 360));
    this.#decisions.push(...detail.decisions);
    this.#decisions.splice(0, Math.max(0, this.#decisions.length - 40));
    for (const note of detail.notes) {
      if (note.note === "correction" && !detail.whole) say(`${note.was ?? "Somebody"} is ${note.now}`);
      this.#notes.set(`${note.time} ${note.source} ${note.note} ${note.state ?? note.kind ?? note.now} ${note.phase ?? ""}`, note);
    }
    if (detail.level) this.#onLevel({ key: this.key, level: detail.level });
    this.#show();
    this.#drawTurns();
    this.#drawTable();
    this.#drawFeelings();
    this.#drawWhy();
    this.#drawCall();
    this.#drawLog();
  }

  #show() {
    const card = this.card;
    put(this.name, card?.name ?? this.key.split("/").at(-1));
    this.gone.hidden = card !== undefined || this.link.state !== "open" || this.link.cards.size === 0;
    this.body.hidden = card === undefined;
    const able = (command) => this.link.state === "open" && this.link.hello.commands.includes(command);
    this.pause.hidden = !card || !this.link.hello.commands.includes("pause");
    this.enrol.hidden = !card || !this.link.hello.commands.includes("enroll") || card.kind === "call";
    if (!card) return;
    const now = this.link.mediaNow(card), paused = card.state === "paused";
    const words = { live: `live · ${clock(now)}`, paused: `paused · ${clock(now)}`, stalled: "no sound arrives", ended: `ended after ${clock(card.end_s)}`, offline: "node is offline" }[card.state];
    put(this.state, words);
    this.state.className = `pill ${{ live: "calm", ended: "calm", paused: "warn" }[card.state] ?? "bad"}`;
    if (this.pause.dataset.shows !== card.state) {
      this.pause.dataset.shows = card.state;
      this.pause.replaceChildren(icon(paused ? "play" : "pause"), paused ? "Listen again" : "Pause listening");
      mark(this.pause, "aria-pressed", paused ? "true" : "false");
      this.pause.title = paused ? "Listen to this stream again" : "Privacy: throw the sound away until you listen again";
    }
    this.pause.disabled = !able("pause") || card.state === "ended";
    this.enrol.disabled = !able("enroll") || card.who.name === null || card.who.enrolled || card.who.state === "silence";
    this.who.show(card, card.silent_s === null ? null : Math.max(0, now - card.silent_s));
    this.mood.show(card.mood, card.anger);
    put(this.since, card.mood ? `${card.mood.label === "silence" ? "" : card.mood.speaker ? `${card.mood.speaker}, ` : ""}since ${clock(card.mood.since_s)}` : "No speech was judged yet");
    this.share.show(card, now);
    this.meters.hidden = card.state === "ended" || !this.link.hello.levels;
  }

  #drawTurns() {
    const card = this.card;
    if (!card) return;
    const { now, begin, whole } = this.#window();
    const people = new Map();
    for (const turn of this.#turns.values()) {
      if (!people.has(turn.who)) people.set(turn.who, []);
      people.get(turn.who).push(turn);
    }
    const rows = [...people].sort(([a], [b]) => (a === null) - (b === null) || String(a).localeCompare(String(b), "en", { numeric: true }));
    this.lanes.replaceChildren(...rows.map(([who, turns]) => {
      const name = h("span", { class: "lane-name" }, who ?? "unknown"), track = h("div", { class: "lane-track" });
      name.style.setProperty("--face", faceOf(who));
      for (const turn of turns) {
        const end = turn.open ? Math.max(turn.end_s, Math.min(now, card.end_s)) : turn.end_s;
        if (end <= begin) continue;
        const label = turn.emotion ?? (turn.open ? this.#feltLately(turn) : null);
        const block = h("span", { class: "turn", "data-mood": moodOf(label), "data-open": turn.open, "data-corrected": Boolean(turn.corrected), title: `${clock(turn.start_s)}–${turn.open ? "now" : clock(turn.end_s)} ${nameOf(who)}, ${moodWord(label)}` }, label ? glyphOf(label) : "");
        const from = Math.max(0, (turn.start_s - begin) / whole);
        block.style.left = `${100 * from}%`;
        block.style.width = `${100 * Math.max(0.002, (end - begin) / whole - from)}%`;
        track.append(block);
      }
      return h("div", { class: "lane" }, name, track);
    }));
    if (!rows.length) this.lanes.replaceChildren(h("p", { class: "note" }, "Nobody has spoken yet."));
    this.chart.range(begin, begin + whole);
    const marks = this.axis.clientWidth > 420 ? 6 : 3;
    this.axis.replaceChildren(...Array.from({ length: marks + 1 }, (_, index) => {
      const tick = h("span", null, clock(begin + (whole * index) / marks));
      tick.style.left = `${(100 * index) / marks}%`;
      return tick;
    }));
  }

  // The time that turns and probabilities are drawn over, one above the other.
  #window() {
    const now = this.card ? this.link.mediaNow(this.card) : 0, begin = this.#span ? Math.max(0, now - this.#span) : 0;
    return { now, begin, whole: Math.max(now - begin, 10) };
  }

  #feltLately(turn) {
    const point = this.#points.findLast((one) => one.p !== null && one.t > turn.start_s && (one.who === turn.who || one.who === null));
    return point?.label ?? null;
  }

  #drawTable() {
    const turns = [...this.#turns.values()].sort((a, b) => b.start_s - a.start_s).slice(0, 100);
    this.table.replaceChildren(...turns.map((turn) => {
      const shares = Object.entries(turn.emotions).sort((a, b) => b[1] - a[1]).map(([label, share]) => `${moodWord(label)} ${percent(share)}`).join(", ");
      return h("tr", null, h("td", null, clock(turn.start_s)), h("td", null, turn.open ? "now" : clock(turn.end_s)), h("td", null, turn.who ?? "unknown", turn.corrected ? ` (was ${turn.corrected})` : ""), h("td", null, shares || (turn.open ? "…" : "–")));
    }));
  }

  #drawFeelings() {
    const { labels } = this.#detail, last = this.#points.findLast((point) => point.p !== null);
    this.feelings.hidden = labels.length === 0;
    if (this.probs.childElementCount !== labels.length) {
      this.bars = labels.map((label) => {
        const figureOf = h("b"), line = h("i");
        const element = h("div", { class: "prob", "data-mood": moodOf(label) }, h("span", { class: "glyph", "aria-hidden": "true" }, glyphOf(label)), h("span", null, moodWord(label)), figureOf, h("div", { class: "line" }, line));
        return { element, figureOf, line };
      });
      this.probs.replaceChildren(...this.bars.map((bar) => bar.element));
    }
    const current = this.card?.mood?.probabilities ?? null;
    labels.forEach((label, index) => {
      const value = current?.[label] ?? (this.card?.mood?.label === "silence" ? null : last?.p[index] ?? null);
      put(this.bars[index].figureOf, value === null ? "–" : percent(value));
      this.bars[index].line.style.transform = `scaleX(${value ?? 0})`;
    });
    if (labels.length) this.chart.show(labels, this.#points);
  }

  #drawWhy() {
    const now = this.#decisions.at(-1);
    this.why.hidden = !now;
    if (!now) return;
    put(this.because, REASONS[now.reason] ?? now.reason.replaceAll("_", " "));
    const rows = [
      ["Decided", { confirmed: "confirmed", tentative: "tentative", unknown: "unknown", overlap: "overlap", silence: "silence" }[now.state] ?? now.state],
      ...(now.mixed ? [["Window", "two voices share it (overlap?)"]] : []),
      ["Best voice", now.score === null ? "–" : `${now.best ?? now.speaker ?? "nobody"} · ${figure(now.score)}`],
      ["Runner-up", now.runner_up ? `${now.runner_up} · ${figure(now.margin === null || now.score === null ? null : now.score - now.margin)}` : "–"],
      ["Lead", figure(now.margin)], ["Needed", figure(now.threshold)], ["Evidence", span(now.evidence_s)],
      ...(now.probability === undefined || now.probability === null ? [] : [["Probability", percent(now.probability)]]),
      ...(now.identity ? [["Closed set (demonstration)", (now.identity.candidates ?? [now.identity]).map((one) => `${one.label} ${percent(one.probability)}`).join(", ")]] : []),
    ];
    this.facts.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
    this.#drawGauge(now);
    this.past.replaceChildren(...this.#decisions.slice(0, -1).reverse().map((one) => h("tr", null, h("td", null, clock(one.end_s)), h("td", null, one.speaker ?? one.state), h("td", { class: "num" }, figure(one.score)), h("td", null, one.reason.replaceAll("_", " ")))));
  }

  // Cosines between the lowest of what there is and 1: the score, the runner-up, and what is needed.
  #drawGauge(now) {
    this.gauge.hidden = now.score === null || now.threshold === null;
    if (this.gauge.hidden) return;
    const second = now.margin === null ? null : now.score - now.margin, low = Math.min(0, now.score, second ?? 0, now.threshold) - 0.05;
    const place = (value) => `${(100 * (value - low)) / (1 - low)}%`;
    const at = (value, kind, words) => { const pin = h("i", { class: kind }), label = h("span", null, words); pin.style.left = label.style.left = place(value); return words ? [pin, label] : [pin]; };
    this.gauge.replaceChildren(...(second === null ? [] : at(second, "second", "")), ...at(now.threshold, "limit", "needed"), ...at(now.score, "score", ""));
  }

  #drawCall() {
    const { call } = this.#detail;
    this.call.hidden = !call;
    if (!call) return;
    const parts = [["customer", "Customer"], ["agent", "Agent"], ["crosstalk", "Both at once"], ["silence", "Silence"]];
    const party = (one) => [
      h("h2", { class: "gap" }, one.party === "customer" ? "Customer" : "Agent"),
      h("dl", { class: "facts" }, ...[
        ["Share of talk", percent(one.talk_share)], ["Turns", String(one.turns)], ["Interruptions", one.interruptions ? `${one.interruptions} · ${span(one.interrupting_s)}` : "none"],
        ["Longest monologue", span(one.longest_monologue_s)], ["Answers after", one.response_gap_s === null ? "–" : span(one.response_gap_s)],
        ["Emotion", one.emotion ? `${moodWord(one.emotion.label)} ${percent(one.emotion.confidence)}` : one.party === "agent" ? "not inferred" : "–"],
        ...(one.emotion ? [["Sounded angry for", span(one.emotion.angry_s)]] : []),
      ].flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
      one.party === "agent" && !one.emotion ? h("p", { class: "note" }, "An agent’s emotion is not inferred: EU AI Act, Article 5(1)(f).") : null,
    ];
    this.call.replaceChildren(h("header", null, h("h2", null, call.phase === "final" ? "The call" : "The call so far")),
      h("div", { class: "quad" }, parts.map(([name, words]) => h("div", null, h("b", null, percent(call[`${name}_s`] / Math.max(call.end_s, 0.001))), h("span", null, `${words}, ${span(call[`${name}_s`])}`)))),
      h("dl", { class: "facts" }, ...[["Longest silence", span(call.longest_silence_s)], ["Alerts", Object.entries(call.alerts_raised).map(([kind, times]) => `${ALERTS[kind] ?? kind} ${times}×`).join(", ") || "none"]].flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
      ...call.parties.flatMap(party).filter(Boolean));
  }

  #drawLog() {
    const notes = [...this.#notes.values()].sort((a, b) => b.t - a.t).slice(0, 60);
    const words = (note) => note.note === "alert" ? [h("b", { class: note.phase === "start" ? "bad" : null }, note.phase === "start" ? "Alert: " : "Over: "), ALERTS[note.kind] ?? note.kind, note.who ? ` (${note.who})` : ""]
      : note.note === "correction" ? [h("b", null, `${note.was ?? "Somebody"} is ${note.now ?? "somebody else"}`), ` since ${clock(note.since_s)}`]
      : [h("b", null, STREAM_NOTES[note.state] ?? note.state), note.lost_s ? `: ${span(note.lost_s)}` : "", note.detail ? `, ${note.detail}` : "", this.#detail.sources.length > 1 ? ` (${note.source})` : ""];
    this.log.replaceChildren(...notes.map((note) => h("li", null, h("time", null, clock(note.t)), h("span", null, ...words(note)))));
    put(this.models, Object.entries(this.#detail.models).map(([name, revision]) => `${name} @ ${revision.slice(0, 12)}`).join(", "));
  }

  #stretch(seconds, button) {
    this.#span = seconds;
    for (const one of this.spans.children) mark(one, "aria-pressed", one === button ? "true" : "false");
    this.#drawTurns();
  }

  // A call is paused on all its tracks.
  #streams() {
    const sources = this.#detail.sources.filter((source) => source !== this.card?.name);
    return sources.length ? sources : [this.card.name];
  }

  async #pause() {
    const command = this.card.state === "paused" ? "resume" : "pause";
    this.pause.disabled = true;
    const replies = await Promise.all(this.#streams().map((source) => this.link.ask({ command, source })));
    const refused = replies.find((reply) => !reply.ok);
    toast(refused ? refused.error : command === "pause" ? "Paused. The sound is thrown away until you listen again." : "Listening again.");
    this.#show();
  }

  #enrol() {
    const card = this.card, voice = card.who.name, field = h("input", { required: true, maxlength: "64", autocomplete: "off" });
    const complaint = h("p", { class: "bad", role: "alert" });
    const dialog = h("dialog", { "aria-labelledby": "enrol-title" }, h("form", { method: "dialog" }, h("h2", { id: "enrol-title" }, `Who is ${voice}?`),
      h("p", { class: "note" }, "The voice is known by this name from now on. A voice is biometric data: ask the person first."),
      h("label", null, "Name", field), complaint, h("div", { class: "acts" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { class: "button primary" }, "Enrol"))));
    dialog.addEventListener("close", () => dialog.remove());
    dialog.firstElementChild.addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) return;
      const reply = await this.link.ask({ command: "enroll", source: this.#streams()[0], voice, name });
      if (!reply.ok) return put(complaint, reply.error);
      dialog.close();
      toast(`${voice} is ${name} from now on.`);
    });
    document.body.append(dialog);
    dialog.showModal();
  }
}
