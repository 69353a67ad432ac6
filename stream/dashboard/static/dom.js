// Elements without templates: text only ever becomes text, so that no name from outside can become markup.
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

// Writes only what changed: a wall of 200 cards is looked at many times a second.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}
export function tint(element, name, value) {
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}

let toasting = 0;
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.dataset.on = "";
  clearTimeout(toasting);
  toasting = setTimeout(() => delete place.dataset.on, 5000);
}
let said = 0;
export function say(text) {
  const place = document.getElementById("say");
  if (Date.now() - said > 1500) place.textContent = "";
  said = Date.now();
  place.append(h("p", null, text));
  while (place.childElementCount > 4) place.firstElementChild.remove();
}
