// Alerts across all calls, newest first: what set them off, and what supervisors did with them.
import { askForName, h, icon, setText, toast } from "./dom.js";
import { age, duration, sentence, titleOf } from "./words.js";

const FILTERS = { unseen: ["Not acknowledged", (alert, link) => link.isPending(alert)], open: ["Active", (alert, link) => link.isActive(alert)], all: ["All", () => true] };
const SNOOZE_MIN = 10, MAX_ROWS = 200;
const timeFormat = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export class Alerts {
  #filter = "unseen";
  #query = "";
  #update = () => this.#show();

  constructor(link) {
    this.link = link;
    this.chips = Object.entries(FILTERS).map(([name, [label]]) => {
      const number = h("b", null, "0");
      return { name, number, button: h("button", { type: "button", "aria-pressed": name === this.#filter ? "true" : "false", onclick: () => { this.#filter = name; this.#show(true); } }, label, number) };
    });
    this.find = h("input", { type: "search", placeholder: "Filter by call or alert", "aria-label": "Filter alerts", oninput: () => { this.#query = this.find.value.trim().toLowerCase(); this.#show(true); } });
    this.sound = h("button", { type: "button", class: "button", onclick: () => this.#toggleSound() });
    this.list = h("ol", { class: "alerts" });
    this.empty = h("p", { class: "panel" });
    this.exports = h("p", { class: "note gap", hidden: true }, h("a", { href: "./calls" }, "Ended calls"), ", and as ", h("a", { href: "./calls.csv", download: "" }, "CSV"), " ", h("a", { href: "./calls.ndjson", download: "" }, "NDJSON"));
    this.element = h("section", null, h("h1", { class: "visually-hidden" }, "Alerts"),
      h("div", { class: "tools" }, h("div", { class: "find" }, this.find), h("div", { class: "chips", role: "group", "aria-label": "Show" }, this.chips.map((chip) => chip.button)), this.sound), this.list, this.empty, this.exports,
      (this.conditions = h("details", { class: "panel gap", hidden: true }, h("summary", null, "Conditions"), (this.rows = h("dl", { class: "facts" })), h("p", { class: "note" }, "A change applies at once, to all calls of this node, until it stops."))));
  }

  enter() {
    for (const type of ["alerts", "wall", "state", "hello"]) this.link.addEventListener(type, this.#update);
    this.link.addEventListener("conditions", this.#showConditions);
    this.#show(true);
    this.#showConditions();
  }
  leave() {
    for (const type of ["alerts", "wall", "state", "hello"]) this.link.removeEventListener(type, this.#update);
    this.link.removeEventListener("conditions", this.#showConditions);
  }
  tick() { this.#show(); }

  #show(whole = false) {
    const alerts = [...this.link.alerts.values()].sort((a, b) => b.start_ms - a.start_ms);
    for (const chip of this.chips) {
      setText(chip.number, String(alerts.filter((alert) => FILTERS[chip.name][1](alert, this.link)).length));
      chip.button.setAttribute("aria-pressed", chip.name === this.#filter ? "true" : "false");
    }
    setText(this.sound, this.link.notifies ? "Sound and notification: on" : "Sound and notification: off");
    const shown = alerts.filter((alert) => FILTERS[this.#filter][1](alert, this.link)).filter((alert) => this.#matches(alert)).slice(0, MAX_ROWS);
    this.empty.hidden = shown.length > 0;
    setText(this.empty, alerts.length ? "No alert matches." : "No alerts yet.");
    const acts = this.link.hello.role !== "viewer"; // who only looks has nothing to press
    this.exports.hidden = !this.link.hasHistory || !acts;
    const state = String(acts) + JSON.stringify(shown.map((alert) => [alert, this.link.isActive(alert), this.link.isSnoozed(alert)]));
    if (whole || state !== this.shownState) {
      this.shownState = state;
      this.list.replaceChildren(...shown.map((alert) => this.#row(alert)));
    }
    for (const time of this.list.querySelectorAll("[data-since]")) setText(time, `for ${age(Math.max(0, (this.link.now() - Number(time.dataset.since)) / 1000))}`);
  }

  #showConditions = () => {
    const { conditions, hello } = this.link;
    this.conditions.hidden = !hello.commands.includes("set_alert") || !conditions.length;
    this.rows.replaceChildren(...conditions.flatMap(({ name, text, value, enabled }, index) => {
      const input = typeof value === "boolean" ? h("input", { type: "checkbox", checked: value })
        : typeof value === "number" ? h("input", { type: "number", step: "any", value: String(value) }) : h("input", { type: "text", value });
      input.id = `condition-${index}`;
      input.addEventListener("change", () => this.#set(name, { value: typeof value === "boolean" ? input.checked : typeof value === "number" ? input.valueAsNumber : input.value }));
      const box = enabled === null ? null : h("input", { type: "checkbox", checked: enabled, "aria-label": `${name} enabled`, onchange: () => this.#set(name, { enabled: box.checked }) });
      return [h("dt", null, h("label", { for: input.id }, text)), h("dd", null, input, box && h("label", null, box, " enabled"))];
    }));
  };

  async #set(name, change) {
    const reply = await this.link.send({ command: "set_alert", name, ...change }), result = reply.result;
    const now = "enabled" in change ? (change.enabled ? "enabled" : "disabled") : reply.ok && `${result.value} (was ${result.previous})`;
    toast(reply.ok ? `${name} is ${now}.` : reply.error);
    if (!reply.ok) this.#showConditions();
  }

  #matches(alert) {
    const text = [alert.name, ...Object.values(alert.about), alert.label, alert.speaker, alert.note].join(" ").toLowerCase();
    return this.#query.split(/\s+/).every((word) => text.includes(word));
  }

  #row(alert) {
    const active = this.link.isActive(alert), title = titleOf(this.link.cards.get(alert.card) ?? { ...alert, kind: "call", started_ms: null }), act = (action, value) => this.#act(alert, action, value);
    const length = alert.end_ms === null ? (active ? h("span", { "data-since": alert.start_ms }) : "end unknown") : `for ${duration((alert.end_ms - alert.start_ms) / 1000)}`;
    const button = (label, action) => h("button", { type: "button", class: "button", "aria-label": `${label}: ${alert.label}, ${title}`, onclick: action }, label);
    return h("li", { class: "panel", "data-active": active },
      h("div", { class: "alert-text" },
        h("p", null, h("span", { class: `pill ${active ? "bad" : "calm"}` }, icon("alert"), sentence(alert.label)), " ", h("a", { href: `#/stream/${encodeURIComponent(alert.card)}` }, title)),
        h("p", { class: "note" }, [timeFormat.format(alert.start_ms), ": ", alert.speaker ? `${alert.speaker}, ` : "", alert.cause, ", ", length, alert.about.agent ? ` · ${alert.about.agent}` : "", alert.about.queue ? ` · ${alert.about.queue}` : ""]),
        alert.note ? h("p", null, alert.note) : null,
        alert.acknowledged_ms ? h("p", { class: "note" }, `Acknowledged at ${timeFormat.format(alert.acknowledged_ms)}`) : this.link.isSnoozed(alert) ? h("p", { class: "note" }, `Snoozed until ${timeFormat.format(alert.snoozed_ms)}`) : null),
      this.link.hello.role === "viewer" ? null : h("div", { class: "acts" },
        alert.acknowledged_ms || this.link.isSnoozed(alert) ? button("Reopen", () => act("reopen")) : [button("Acknowledge", () => act("acknowledge")), button(`Snooze ${SNOOZE_MIN} min`, () => act("snooze", SNOOZE_MIN))],
        button("Note", () => askForName({ id: "note-title", title: "Note", note: `${sentence(alert.label)}, ${title}`, label: "Text", button: "Save", field: { maxlength: "500", value: alert.note }, submit: (text) => this.#act(alert, "note", text) }))));
  }

  async #act(alert, action, value) {
    const reply = await this.link.send({ alert: alert.id, action, value });
    if (!reply.ok) toast(reply.error);
    return reply.ok ? "" : reply.error;
  }

  async #toggleSound() {
    if (this.link.notifies) this.link.setNotifies(false);
    else {
      if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
      this.link.setNotifies(true);
    }
    this.#show();
  }
}
