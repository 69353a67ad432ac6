// The figures of a call and of its parties.
import { h } from "./dom.js";
import { duration, emotionLabel, labelOf, percent } from "./words.js";

const PARTS = [["customer", "Customer"], ["agent", "Agent"], ["crosstalk", "Crosstalk"], ["silence", "Silence"], ["lost", "No audio"]];
const facts = (rows) => h("dl", { class: "facts" }, rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]));

function partyFacts(party) {
  const emotion = party.emotion ? `${emotionLabel(party.emotion.label)} ${percent(party.emotion.confidence)}` : party.party === "agent" ? "not inferred" : "–";
  return [
    h("h2", { class: "gap" }, party.party === "customer" ? "Customer" : "Agent"),
    facts([
      ["Share of speech", percent(party.talk_share)], ["Turns", String(party.turns)], ["Interruptions", party.interruptions ? `${party.interruptions} · ${duration(party.interrupting_s)}` : "none"],
      ["Longest monologue", duration(party.longest_monologue_s)], ["Mean response time", party.response_gap_s === null ? "–" : duration(party.response_gap_s)],
      ["Emotion", emotion], ...(party.emotion ? [["Angry speech", duration(party.emotion.angry_s)]] : []),
    ]),
    ...(party.party === "agent" && !party.emotion ? [h("p", { class: "note" }, "The agent’s emotion is not inferred: EU AI Act, Article 5(1)(f).")] : []),
  ];
}

export class CallPanel {
  element = h("section", { class: "panel", hidden: true });

  show(call, card) {
    this.element.hidden = !call;
    if (!call) return;
    const alerts = Object.entries(call.alerts_raised).map(([kind, times]) => `${labelOf("alerts", kind)} ${times}×`).join(", ");
    this.element.replaceChildren(h("header", null, h("h2", null, call.phase === "final" ? "Call" : "Call so far")),
      h("div", { class: "quad" }, PARTS.filter(([name]) => name !== "lost" || call.lost_s > 0).map(([name, label]) => h("div", null, h("b", null, percent(call[`${name}_s`] / Math.max(call.end_s, 0.001))), h("span", null, `${label}, ${duration(call[`${name}_s`])}`)))),
      facts([["Longest silence", duration(call.longest_silence_s)], ["Alerts", alerts || "none"], ...(card?.held_s ? [["On hold", duration(card.held_s)]] : []), ...(card?.transfers ? [["Transfers", String(card.transfers)]] : [])]),
      ...call.parties.flatMap(partyFacts));
  }
}
