// How the nodes are doing, and with which settings.
import { h, put } from "./dom.js";
import { count, figure, span } from "./words.js";

export class Health {
  #take = () => this.#show();

  constructor(link) {
    this.link = link;
    this.nodes = h("div", { class: "stack" });
    this.find = h("input", { type: "search", placeholder: "Filter settings", "aria-label": "Filter settings", oninput: () => this.#settings() });
    this.rows = h("tbody");
    this.version = h("span", { class: "note" });
    this.element = h("section", { class: "stack" }, h("div", { class: "head" }, h("h1", null, "Settings & health"), this.version), this.nodes,
      (this.panel = h("section", { class: "panel" }, h("header", null, h("h2", null, "Settings"), h("div", { class: "more" }, this.find)),
        h("div", { class: "wide" }, h("table", { class: "rows settings" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Setting"), h("th", { scope: "col" }, "Value"))), this.rows)),
        h("p", { class: "note" }, "Settings are read at the start, from files, the environment and the command line. Passwords and tokens are never shown."))));
  }

  enter() {
    for (const type of ["wall", "hello", "state"]) this.link.addEventListener(type, this.#take);
    this.#show();
    this.#settings();
  }
  leave() { for (const type of ["wall", "hello", "state"]) this.link.removeEventListener(type, this.#take); }
  tick() {}

  #show() {
    put(this.version, this.link.hello.version ? `tonewatch ${this.link.hello.version}` : "");
    if (!this.rows.childElementCount) this.#settings();
    const now = [...this.link.nodes.values()].map((node) => `${node.node}${node.online}${node.health?.id}${this.#streams(node.node)}`).join();
    if (now === this.before) return;
    this.before = now;
    const nodes = [...this.link.nodes.values()].sort((a, b) => a.node.localeCompare(b.node));
    this.nodes.replaceChildren(...(nodes.length ? nodes.map((node) => this.#node(node)) : [h("p", { class: "panel" }, "No node was heard of yet.")]));
  }

  #streams(node) { return [...this.link.cards.values()].filter((card) => card.node === node && card.state !== "ended").length; }

  #node({ node, online, version, health }) {
    const tile = (value, words) => h("div", null, h("b", null, value), h("span", null, words));
    const title = h("header", null, h("h2", null, `Node ${node}`), h("span", { class: `pill ${online ? "calm" : "bad"}` }, online ? "online" : "offline"), version ? h("span", { class: "note" }, `tonewatch ${version}`) : null);
    if (!health) return h("section", { class: "panel" }, title, h("p", { class: "note" }, `${this.#streams(node)} streams. Figures come with the first health event.`));
    const dropped = health.lanes.reduce((sum, lane) => sum + lane.dropped, 0);
    const table = (heads, rows) => h("div", { class: "wide" }, h("table", { class: "rows gap" }, h("thead", null, h("tr", null, heads.map((head, index) => h("th", { scope: "col", class: index ? "num" : null }, head)))), h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, index) => h("td", { class: index ? "num" : null }, cell)))))));
    return h("section", { class: "panel" }, title,
      h("div", { class: "tiles" },
        tile(String(this.#streams(node)), "streams now"), tile(span(health.end_s), "running"),
        tile(health.latency_p50_ms === null ? "–" : `${Math.round(health.latency_p50_ms)} ms`, "median latency"), tile(health.latency_p95_ms === null ? "–" : `${Math.round(health.latency_p95_ms)} ms`, "95th percentile"),
        tile(figure(health.real_time_factor, 3), "real-time factor"), tile(count(dropped), "windows dropped"), tile(span(health.audio_s), "sound heard"), tile(span(health.speech_s), "speech in it"),
        tile(health.memory_mb === null ? "–" : `${Math.round(health.memory_mb)} MB`, "memory")),
      table(["Model", "Windows", "Inferred", "Dropped", "Failed", "Waiting", "Per batch", "Batch takes"], health.lanes.map((lane) => [lane.model, ...[lane.cut, lane.inferred, lane.dropped, lane.failed, lane.waiting].map(count), figure(lane.mean_batch, 1), `${figure(lane.inference_ms, 1)} ms`])),
      health.sinks.length ? table(["Sink", "Sent", "Dropped", "Conflated", "Waiting"], health.sinks.map((sink) => [sink.sink, ...[sink.sent, sink.dropped, sink.conflated, sink.waiting].map(count)])) : null,
      health.protocols?.length ? table(["Listener", "Open", "Accepted", "Refused", "Messages", "Received", "Gaps", "Lost"], health.protocols.map((row) => [row.protocol, count(row.open), count(row.accepted),
        Object.entries(row.refused).map(([why, often]) => `${why.replaceAll("_", " ")} ${count(often)}`).join(", ") || "0", count(row.messages), `${figure(row.bytes / 1e6, 1)} MB`, count(row.gaps), span(row.lost_s)])) : null);
  }

  #settings() {
    const tree = this.link.hello.about?.settings;
    this.panel.hidden = !tree;
    if (!tree) return;
    const rows = [], walk = (branch, path) => {
      for (const [name, value] of Object.entries(branch)) {
        const here = path ? `${path}.${name}` : name;
        if (value !== null && typeof value === "object" && !Array.isArray(value)) walk(value, here);
        else rows.push([here, Array.isArray(value) && value.some((one) => typeof one === "object") ? value.map((one) => JSON.stringify(one)).join("\n") : Array.isArray(value) ? value.join(", ") || "–" : String(value ?? "–") || "–"]);
      }
    };
    walk(tree, "");
    const wanted = this.find.value.trim().toLowerCase();
    this.rows.replaceChildren(...rows.filter(([name]) => name.includes(wanted)).map(([name, value]) => h("tr", null, h("td", null, h("code", null, name)), h("td", null, value))));
  }
}
