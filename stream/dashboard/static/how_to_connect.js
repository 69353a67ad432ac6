// What an empty wall says: the addresses that calls can be sent to, and who was refused there, and why.
import { h } from "./dom.js";

const MAX_REFUSALS = 5;

const refusalsOf = (link) => [...link.nodes.values()].flatMap((node) => node.health?.protocols ?? []).flatMap((row) => row.refusals.map((one) => ({ ...one, protocol: row.protocol })))
  .sort((a, b) => Date.parse(b.time) - Date.parse(a.time)).slice(0, MAX_REFUSALS);

export function howToConnect(link) {
  const { doors, doors_need_token: needsToken } = link.hello, secure = location.protocol === "https:" ? "wss" : "ws";
  const address = (door) => (door.port ? `${location.hostname}:${door.port}` : `${secure}://${location.host}${door.path}`);
  const refusals = refusalsOf(link);
  return [
    doors.length > 0 && h("div", { class: "panel doors" },
      h("h2", null, "Send audio to"),
      h("dl", { class: "facts" }, doors.flatMap((door) => [h("dt", null, door.name), h("dd", null, h("code", null, address(door)))])),
      h("p", { class: "note" }, needsToken ? "Connections need the access token of calls (serve.token)." : "Without an access token only this machine may connect (serve.token).")),
    refusals.length > 0 && h("div", { class: "panel doors" },
      h("h2", null, "Refused lately"),
      h("ul", null, refusals.map((one) => h("li", null, h("b", null, `${one.protocol}, ${one.peer}`), one.count > 1 ? ` (${one.count} times)` : "", `: ${one.message}`)))),
  ].filter(Boolean);
}
