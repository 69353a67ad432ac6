// The WebSocket to the server: cards and nodes, the detail of the watched stream, commands and their replies.
// A lost connection is made again after a pause that doubles; the last state stays meanwhile.
import { setLabels } from "./words.js";

const FIRST_BACKOFF_MS = 400, MAX_BACKOFF_MS = 8000, SILENCE_TIMEOUT_MS = 40000, REPLY_TIMEOUT_MS = 15000, STALE_S = 4, MAX_ALERTS = 500;

function read(name) { try { return localStorage.getItem(name); } catch { return null; } }

// Emits "state", "hello", "wall", "alerts", "detail" and "level".
export class Link extends EventTarget {
  cards = new Map();
  nodes = new Map();
  broker = null; // of a page that shows what nodes publish: { name, connected, since_ms, error }
  hello = { role: "viewer", signed_in: false, commands: [], about: {}, levels: false, microphone: null, doors: [], doors_need_token: false };
  state = "connecting";
  alerts = new Map();
  conditions = []; // of alerts, for those who may set them
  hasHistory = false;
  notifies = read("notifies") === "yes";
  #socket = null;
  #watched = null;
  #backoff = FIRST_BACKOFF_MS;
  #pending = new Map();
  #lastId = 0;
  #clockOffset = 0;
  #silenceTimer = 0;
  #knownAlerts = null; // ids, also those of before a lost connection

  open() {
    const address = new URL("live", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    const socket = (this.#socket = new WebSocket(address));
    socket.onmessage = (message) => this.#receive(JSON.parse(message.data));
    socket.onclose = () => this.#onClose(socket);
    this.#restartSilenceTimer(socket);
  }

  // The server's time of day in ms.
  now() { return Date.now() + this.#clockOffset; }

  // Seconds since the newest event of a card if that is too long for a live one, or its events cannot arrive; else null.
  staleFor(card) {
    const isUnknown = card.state === "offline" && this.broker?.connected === false; // a broker that stops says so of its nodes
    if (card.state !== "live" && !isUnknown) return null;
    const age = Math.max(0, (this.now() - card.received_ms) / 1000);
    return age >= STALE_S || this.state !== "open" || this.broker?.connected === false ? age : null;
  }

  // The state of a card, `stale` for a live one without recent events.
  stateOf(card) { return this.staleFor(card) === null ? card.state : "stale"; }

  // Media time of a card: that of its newest event, or what the clock gives, whichever is later.
  mediaNow(card) {
    if (card.state !== "live" || card.started_ms === null || this.staleFor(card) !== null) return card.end_s;
    return Math.max(card.end_s, (this.now() - card.started_ms) / 1000);
  }

  // The address of the report of a card, for those who may read it; else null.
  reportOf(card) {
    return card.ending?.report && this.hello.role !== "viewer" ? `./report?call=${encodeURIComponent(card.ending.report)}` : null;
  }

  // An alert that lasts, as far as the page knows.
  isActive(alert) {
    const card = this.cards.get(alert.card);
    return alert.end_ms === null && card !== undefined && card.state !== "ended";
  }
  isSnoozed(alert) { return alert.snoozed_ms !== null && alert.snoozed_ms > this.now(); }
  // An alert that is neither acknowledged nor snoozed.
  isPending(alert) { return alert.acknowledged_ms === null && !this.isSnoozed(alert); }

  setNotifies(on) {
    this.notifies = on;
    try { localStorage.setItem("notifies", on ? "yes" : "no"); } catch { /* it holds until the page is closed */ }
  }

  #onAlerts({ alerts, history }) {
    const first = this.#knownAlerts === null, seen = (this.#knownAlerts ??= new Set());
    this.hasHistory = history;
    for (const alert of alerts) {
      const known = seen.has(alert.id);
      seen.delete(alert.id);
      seen.add(alert.id);
      this.alerts.delete(alert.id); // the newest last
      this.alerts.set(alert.id, alert);
      if (!known && !first && this.notifies && this.isPending(alert)) import("./notify.js").then(({ notify }) => notify(alert.about.caller_name ?? alert.name, `${alert.label}: ${alert.cause}`));
    }
    while (this.alerts.size > MAX_ALERTS) this.alerts.delete(this.alerts.keys().next().value);
    while (seen.size > 2 * MAX_ALERTS) seen.delete(seen.keys().next().value);
    this.#emit("alerts", { alerts });
  }

  watch(key) {
    this.#watched = key;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ watch: key }));
  }

  // Sends a command; resolves with its reply.
  send(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.resolve({ ok: false, error: "Not connected to the server." });
    const id = String(++this.#lastId);
    this.#socket.send(JSON.stringify({ ...command, id }));
    return new Promise((resolve) => {
      this.#pending.set(id, resolve);
      setTimeout(() => this.#resolve({ id, ok: false, error: "The server did not reply." }), REPLY_TIMEOUT_MS);
    });
  }

  #restartSilenceTimer(socket) {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => socket.close(), SILENCE_TIMEOUT_MS);
  }

  #receive(message) {
    this.#restartSilenceTimer(this.#socket);
    if (message.t === "hello") return this.#onHello(message);
    if (message.t === "snapshot") { this.cards.clear(); this.nodes.clear(); }
    if (message.t === "snapshot" || message.t === "delta") {
      for (const card of message.cards) this.cards.set(card.key, card);
      for (const key of message.removed) this.cards.delete(key);
      for (const node of message.nodes) this.nodes.set(node.node, node);
      this.broker = message.broker;
      this.#emit("wall", { ...message, changed: message.cards.map((card) => card.key) });
    } else if (message.t === "alerts") this.#onAlerts(message);
    else if (message.t === "detail" || message.t === "level") this.#emit(message.t, message);
    else if (message.t === "conditions") { this.conditions = message.conditions; this.#emit("conditions", message); }
    else if (message.t === "reply") this.#resolve(message.reply);
  }

  #onHello(message) {
    if (this.state !== "open") this.alerts.clear();
    this.hello = message;
    setLabels(message.labels);
    this.#clockOffset = message.now_ms - Date.now();
    this.#backoff = FIRST_BACKOFF_MS;
    this.#setState("open");
    if (this.#watched !== null) this.watch(this.#watched);
    this.#emit("hello", message);
  }

  #resolve(reply) {
    this.#pending.get(reply.id)?.(reply);
    this.#pending.delete(reply.id);
  }

  #onClose(socket) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#silenceTimer);
    for (const id of [...this.#pending.keys()]) this.#resolve({ id, ok: false, error: "The connection was lost." });
    this.#setState("lost");
    setTimeout(() => this.open(), this.#backoff * (0.7 + 0.6 * Math.random()));
    this.#backoff = Math.min(2 * this.#backoff, MAX_BACKOFF_MS);
  }

  #setState(state) {
    this.state = state;
    this.#emit("state", { state });
  }

  #emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}
