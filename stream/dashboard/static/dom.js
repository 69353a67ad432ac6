// Elements without templates: text is only ever inserted as text, so that names from events cannot become markup.
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PATHS = {
  alert: "M8 2 15 14H1zM8 6.5v3.2M8 11.8v.2",
  pause: "M5.5 3v10M10.5 3v10",
  play: "M5 3l8 5-8 5z",
  mute: "M2 6v4h3l4 3V3L5 6zM11.5 6l3 4M14.5 6l-3 4",
  gap: "M1 8h4M11 8h4M7 4v8M9 4v8",
  person: "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2.5 14.5a5.5 5.5 0 0 1 11 0",
  check: "M3 8.5 6.5 12 13 4.5",
  off: "M2 2l12 12M5 6v3a3 3 0 0 0 4.5 2.6M11 8V4.500",
};
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

// These write only what changed: a wall of 200 cards is updated many times a second.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}
export function setVariable(element, name, value) {
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}

const TOAST_MS = 5000, ANNOUNCEMENT_MS = 10000;
let toastTimer = 0;
export function toast(text) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.dataset.on = "";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => delete element.dataset.on, TOAST_MS);
}
// For screen readers, which speak one announcement after the other: none is taken away before it can have been read.
export function announce(text) {
  const entry = h("p", null, text);
  document.getElementById("announcements").append(entry);
  setTimeout(() => entry.remove(), ANNOUNCEMENT_MS);
}

// A modal form with one field. `submit(value)` returns a promise: an error to show, or nothing, which closes the form.
export function askForName({ id, title, note, label, button, field, submit }) {
  const input = h("input", { required: true, autocomplete: "off", ...field }), error = h("p", { class: "bad", role: "alert" });
  const dialog = h("dialog", { "aria-labelledby": id }, h("form", { method: "dialog" }, h("h2", { id }, title), h("p", { class: "note" }, note),
    h("label", null, label, input), error,
    h("div", { class: "acts" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { class: "button primary" }, button))));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.firstElementChild.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) return;
    const problem = await submit(name);
    if (problem) setText(error, problem);
    else dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
}
