// One WebSocket: cards and nodes as they are now, what one stream's page shows, and commands with their answers.
// A server that goes away is asked again with a pause that doubles; nothing of the last state is lost meanwhile.
const FIRST_PAUSE_MS = 400, LONGEST_PAUSE_MS = 8000, QUIET_MS = 40000;

export class Link extends EventTarget {
  cards = new Map();
  nodes = new Map();
  hello = { commands: [], about: {}, levels: false, microphone: null };
  state = "connecting";
  #socket = null;
  #watched = null;
  #pause = FIRST_PAUSE_MS;
  #asked = new Map();
  #count = 0;
  #skew = 0;
  #quiet = 0;

  open() {
    const address = new URL("live", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    const socket = (this.#socket = new WebSocket(address));
    socket.onmessage = (message) => this.#take(JSON.parse(message.data));
    socket.onclose = () => this.#closed(socket);
    this.#listen(socket);
  }

  now() { return Date.now() + this.#skew; }

  // How far a stream has come: what was told, or what the clock says, whichever is more.
  mediaNow(card) {
    if (card.state === "ended" || card.began_ms === null) return card.end_s;
    if (card.state === "offline" || this.state !== "open") return card.end_s;
    return Math.max(card.end_s, (this.now() - card.began_ms) / 1000);
  }

  watch(key) {
    this.#watched = key;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ watch: key }));
  }

  ask(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.resolve({ ok: false, error: "The server does not answer just now." });
    const id = String(++this.#count);
    this.#socket.send(JSON.stringify({ ...command, id }));
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      setTimeout(() => this.#answer({ id, ok: false, error: "No answer came." }), 15000);
    });
  }

  #listen(socket) {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => socket.close(), QUIET_MS);
  }

  #take(message) {
    this.#listen(this.#socket);
    if (message.t === "hello") return this.#greet(message);
    if (message.t === "snapshot") { this.cards.clear(); this.nodes.clear(); }
    if (message.t === "snapshot" || message.t === "delta") {
      for (const card of message.cards) this.cards.set(card.key, card);
      for (const key of message.gone) this.cards.delete(key);
      for (const node of message.nodes) this.nodes.set(node.node, node);
      this.#tell("wall", { ...message, changed: message.cards.map((card) => card.key) });
    } else if (message.t === "detail" || message.t === "level") this.#tell(message.t, message);
    else if (message.t === "reply") this.#answer(message.reply);
  }

  #greet(message) {
    this.hello = message;
    this.#skew = message.now_ms - Date.now();
    this.#pause = FIRST_PAUSE_MS;
    this.#change("open");
    if (this.#watched !== null) this.watch(this.#watched);
    this.#tell("hello", message);
  }

  #answer(reply) {
    this.#asked.get(reply.id)?.(reply);
    this.#asked.delete(reply.id);
  }

  #closed(socket) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#quiet);
    for (const id of [...this.#asked.keys()]) this.#answer({ id, ok: false, error: "The connection was lost." });
    this.#change("lost");
    setTimeout(() => this.open(), this.#pause * (0.7 + 0.6 * Math.random()));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
  }

  #change(state) {
    this.state = state;
    this.#tell("state", { state });
  }

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}
