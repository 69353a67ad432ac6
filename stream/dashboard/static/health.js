// The health of the nodes, and the settings of this one.
import { h, setText } from "./dom.js";
import { decimal, duration, integer } from "./words.js";

export class Health {
  #update = () => this.#show();

  constructor(link) {
    this.link = link;
    this.nodes = h("div", { class: "stack" });
    this.filterInput = h("input", { type: "search", placeholder: "Filter settings", "aria-label": "Filter settings", oninput: () => this.#showSettings() });
    this.rows = h("tbody");
    this.version = h("span", { class: "note" });
    this.element = h("section", { class: "stack" }, h("div", { class: "head" }, h("h1", null, "Settings & health"), this.version), this.nodes,
      (this.panel = h("section", { class: "panel" }, h("header", null, h("h2", null, "Settings"), h("div", { class: "more" }, this.filterInput)),
        h("div", { class: "wide" }, h("table", { class: "rows settings" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Setting"), h("th", { scope: "col" }, "Value"))), this.rows)),
        h("p", { class: "note" }, "Settings are read at startup from files, the environment and the command line. Passwords and tokens are masked."))),
      (this.changes = h("p", { class: "note", hidden: true }, "Log of changes made on this dashboard: ", h("a", { href: "./changes.ndjson", download: "" }, "NDJSON"))));
  }

  enter() {
    for (const type of ["wall", "hello", "state"]) this.link.addEventListener(type, this.#update);
    this.#show();
    this.#showSettings();
  }
  leave() { for (const type of ["wall", "hello", "state"]) this.link.removeEventListener(type, this.#update); }
  tick() {}

  #show() {
    setText(this.version, this.link.hello.version ? `tonewatch ${this.link.hello.version}` : "");
    this.changes.hidden = this.link.hello.role !== "admin";
    if (!this.rows.childElementCount) this.#showSettings();
    const state = [...this.link.nodes.values()].map((node) => `${node.node}${node.online}${node.health?.id}${this.#activeStreams(node.node)}`).join();
    if (state === this.shownState) return;
    this.shownState = state;
    const nodes = [...this.link.nodes.values()].sort((a, b) => a.node.localeCompare(b.node));
    this.nodes.replaceChildren(...(nodes.length ? nodes.map((node) => this.#nodePanel(node)) : [h("p", { class: "panel" }, "No nodes yet.")]));
  }

  #activeStreams(node) { return [...this.link.cards.values()].filter((card) => card.node === node && card.state !== "ended").length; }

  #nodePanel({ node, online, version, health }) {
    const title = h("header", null, h("h2", null, `Node ${node}`), h("span", { class: `pill ${online ? "calm" : "bad"}` }, online ? "online" : "offline"), version ? h("span", { class: "note" }, `tonewatch ${version}`) : null, clusterPill(health));
    if (!health) return h("section", { class: "panel" }, title, h("p", { class: "note" }, `${this.#activeStreams(node)} active streams. Figures appear with the first health event.`));
    const dropped = health.lanes.reduce((sum, lane) => sum + lane.dropped, 0), milliseconds = (value) => (value === null ? "–" : `${Math.round(value)} ms`);
    return h("section", { class: "panel" }, title,
      h("div", { class: "tiles" },
        tile(String(this.#activeStreams(node)), "active streams"), tile(duration(health.end_s), "uptime"),
        tile(milliseconds(health.latency_p50_ms), "median latency"), tile(milliseconds(health.latency_p95_ms), "95th percentile"),
        tile(decimal(health.real_time_factor, 3), "real-time factor"), tile(integer(dropped), "windows dropped"), tile(duration(health.audio_s), "audio processed"), tile(duration(health.speech_s), "speech"),
        tile(health.memory_mb === null ? "–" : `${Math.round(health.memory_mb)} MB`, "memory")),
      table(["Model", "Submitted", "Inferred", "Dropped", "Failed", "Waiting", "Mean batch", "Batch time"], health.lanes.map((lane) => [lane.model, ...[lane.submitted, lane.inferred, lane.dropped, lane.failed, lane.waiting].map(integer), decimal(lane.mean_batch, 1), `${decimal(lane.inference_ms, 1)} ms`])),
      health.sinks.length ? table(["Sink", "Sent", "Dropped", "Conflated", "Waiting", "Undelivered", "Refused"], health.sinks.map((sink) => [sink.broker?.state === "lost" ? `${sink.sink} (unreachable)` : sink.sink, ...[sink.sent, sink.dropped, sink.conflated, sink.waiting, sink.pending, sink.rejected].map(integer)])) : null,
      setAside(health.sinks),
      health.protocols.length ? table(["Protocol", "Open", "Accepted", "Rejected", "Messages", "Received", "Gaps", "Lost"], health.protocols.map((row) => [row.protocol, integer(row.open), integer(row.accepted),
        Object.entries(row.refused).map(([reason, times]) => `${reason.replaceAll("_", " ")} ${integer(times)}`).join(", ") || "0", integer(row.messages), `${decimal(row.bytes / 1e6, 1)} MB`, integer(row.gaps), duration(row.lost_s)])) : null,
      refusals(health.protocols));
  }

  #showSettings() {
    const tree = this.link.hello.about?.settings;
    this.panel.hidden = !tree;
    if (!tree) return;
    const query = this.filterInput.value.trim().toLowerCase();
    this.rows.replaceChildren(...flatten(tree).filter(([key]) => key.includes(query)).map(([key, value]) => h("tr", null, h("td", null, h("code", null, key)), h("td", null, value))));
  }
}

// The cluster that scores the windows; all lanes share it.
function clusterPill(health) {
  const cluster = health?.lanes.find((lane) => lane.cluster)?.cluster;
  if (!cluster) return null;
  const text = { connected: `cluster: ${cluster.replicas_up} of ${cluster.replicas} replicas`, fallback: "cluster lost: models run on this node", lost: "cluster lost: windows are not scored" }[cluster.state];
  return h("span", { class: `pill ${cluster.state === "connected" && cluster.replicas_up === cluster.replicas ? "calm" : "bad"}`, title: cluster.detail }, text);
}

// The messages that receivers refused, by kind or reason.
function setAside(sinks) {
  const rows = sinks.flatMap((sink) => [...(sink.broker?.set_aside ?? []), ...sink.set_aside].map((kind) => [sink.sink, kind])).sort(([, a], [, b]) => b.time.localeCompare(a.time));
  if (!rows.length) return null;
  return h("div", { class: "gap" }, h("h2", null, "Refused messages"), h("ol", { class: "log" }, rows.map(([sink, kind]) => h("li", null, h("time", null, kind.time.slice(11, 19)),
    h("span", null, h("b", null, `${kind.topic}${kind.count > 1 ? ` (${integer(kind.count)}×)` : ""}: `), `${kind.reason} (${sink})`)))),
    h("p", { class: "note" }, "Turns, alerts and states of streams are kept: ", h("code", null, "tonewatch outbox"), " lists them and sends them again."));
}

// What was refused and why, the newest first.
function refusals(protocols) {
  const rows = protocols.flatMap((row) => row.refusals.map((refusal) => [row.protocol, refusal])).sort(([, a], [, b]) => b.time.localeCompare(a.time));
  if (!rows.length) return null;
  return h("div", { class: "gap" }, h("h2", null, "Refused connections"), h("ol", { class: "log" }, rows.map(([protocol, refusal]) => h("li", null, h("time", null, refusal.time.slice(11, 19)),
    h("span", null, h("b", null, `${protocol}, ${refusal.peer}${refusal.count > 1 ? ` (${integer(refusal.count)}×)` : ""}: `), refusal.message)))));
}

const tile = (value, label) => h("div", null, h("b", null, value), h("span", null, label));

function table(heads, rows) {
  const cells = (tag, row, properties) => row.map((cell, index) => h(tag, { ...properties, class: index ? "num" : null }, cell));
  return h("div", { class: "wide" }, h("table", { class: "rows gap" }, h("thead", null, h("tr", null, cells("th", heads, { scope: "col" }))), h("tbody", null, rows.map((row) => h("tr", null, cells("td", row))))));
}

// Rows of dotted key and value as text.
function flatten(branch, path = "") {
  return Object.entries(branch).flatMap(([name, value]) => {
    const key = path ? `${path}.${name}` : name;
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return flatten(value, key);
    if (!Array.isArray(value)) return [[key, String(value ?? "–") || "–"]];
    return [[key, value.some((one) => typeof one === "object") ? value.map((one) => JSON.stringify(one)).join("\n") : value.join(", ") || "–"]];
  });
}
