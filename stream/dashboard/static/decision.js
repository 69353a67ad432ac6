// The newest decision about the speaker with its evidence, and the earlier ones.
import { h, setText } from "./dom.js";
import { clock, decimal, duration, labelOf, percent, sentence } from "./words.js";

export class DecisionPanel {
  constructor() {
    this.reason = h("p", { class: "reason" });
    this.gauge = h("div", { class: "gauge", "aria-hidden": "true" });
    this.facts = h("dl", { class: "facts" });
    this.earlier = h("tbody");
    this.element = h("section", { class: "panel" }, h("header", null, h("h2", null, "Speaker decision")), this.reason, this.gauge, this.facts,
      h("details", { class: "gap" }, h("summary", null, "Earlier decisions"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Earlier decisions" },
        h("table", { class: "rows" }, h("thead", null, h("tr", null, ...["Time", "Speaker", "Score", "Reason"].map((head) => h("th", { scope: "col" }, head)))), this.earlier))));
  }

  show(decisions) {
    const newest = decisions.at(-1);
    this.element.hidden = !newest;
    if (!newest) return;
    setText(this.reason, `${sentence(labelOf("reasons", newest.reason))}.`);
    const runnerUpScore = newest.margin === null || newest.score === null ? null : newest.score - newest.margin;
    const rows = [
      ["State", newest.state],
      ...(newest.mixed ? [["Window", "two voices (overlap?)"]] : []),
      ["Best voice", newest.score === null ? "–" : `${newest.best ?? newest.speaker ?? "unknown"} · ${decimal(newest.score)}`],
      ["Runner-up", newest.runner_up ? `${newest.runner_up} · ${decimal(runnerUpScore)}` : "–"],
      ["Margin", decimal(newest.margin)], ["Threshold", decimal(newest.threshold)], ["Evidence", duration(newest.evidence_s)],
      ...(newest.probability === null ? [] : [["Probability", percent(newest.probability)]]),
      ...(newest.identity ? [["Closed set (demonstration)", newest.identity.candidates.map((one) => `${one.label} ${percent(one.probability)}`).join(", ") || `${newest.identity.label} ${percent(newest.identity.probability)}`]] : []),
    ];
    this.facts.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
    this.#drawGauge(newest, runnerUpScore);
    this.earlier.replaceChildren(...decisions.slice(0, -1).reverse().map((one) => h("tr", null, h("td", null, clock(one.end_s)), h("td", null, one.speaker ?? one.state), h("td", { class: "num" }, decimal(one.score)), h("td", null, labelOf("reasons", one.reason)))));
  }

  // Cosines on an axis that ends at 1: score, runner-up and threshold.
  #drawGauge({ score, threshold }, runnerUp) {
    this.gauge.hidden = score === null || threshold === null;
    if (this.gauge.hidden) return;
    const low = Math.min(0, score, runnerUp ?? 0, threshold) - 0.05;
    const pin = (value, kind, text) => {
      const marker = h("i", { class: kind }), label = h("span", null, text);
      marker.style.left = label.style.left = `${(100 * (value - low)) / (1 - low)}%`;
      return text ? [marker, label] : [marker];
    };
    this.gauge.replaceChildren(...(runnerUp === null ? [] : pin(runnerUp, "second", "")), ...pin(threshold, "limit", "threshold"), ...pin(score, "score", ""));
  }
}
