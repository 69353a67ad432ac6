// This browser's microphone as a stream: its native rate, nothing done to the sound, PCM16 over a socket of its own.
import { h, icon, put, toast } from "./dom.js";

const MOST_WAITING = 1_000_000; // bytes: a network that is this far behind will not catch up

let running = null;

export function offer(link, button) {
  if (running) return running.stop("Stopped.");
  const field = h("input", { required: true, maxlength: "48", value: "browser", pattern: "[A-Za-z0-9_.\\-]+", title: "Letters, digits, - _ and ." });
  const complaint = h("p", { class: "bad", role: "alert" });
  const dialog = h("dialog", { "aria-labelledby": "microphone-title" }, h("form", { method: "dialog" }, h("h2", { id: "microphone-title" }, "Listen through this browser"),
    h("p", { class: "note" }, "The sound goes to the server this page comes from, and nowhere else. Everybody who can be heard should know."),
    h("label", null, "Name of the stream", field),
    complaint, h("div", { class: "acts" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { class: "button primary" }, "Listen"))));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.firstElementChild.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      running = await start(link.hello.microphone, field.value.trim(), () => { running = null; show(button); });
      show(button);
      dialog.close();
    } catch (error) {
      put(complaint, error.name === "NotAllowedError" ? "The browser did not allow the microphone." : error.name === "NotFoundError" ? "No microphone was found." : error.message);
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

function show(button) {
  button.replaceChildren(icon(running ? "off" : "person"), h("span", null, running ? "Stop microphone" : "Microphone"));
  button.setAttribute("aria-pressed", running ? "true" : "false");
}

async function start(path, source, ended) {
  if (!navigator.mediaDevices) throw new Error("Browsers give a microphone only to pages on this machine or behind https.");
  const media = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 } });
  const context = new AudioContext(); // at the device's own rate: the server resamples
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  let over = false, socket = null;
  const end = (words) => {
    if (over) return;
    over = true;
    for (const track of media.getTracks()) track.stop();
    context.close();
    if (words) toast(words);
    ended();
  };
  try {
    await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
    socket = new WebSocket(address); // no sooner: it must not open before anybody listens for that
    await greet(socket, { type: "start", rate_hz: context.sampleRate, channels: 1, format: "s16le", source, events: false });
  } catch (error) {
    end("");
    socket?.close();
    throw error;
  }
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const stop = (words) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "stop" }));
    end(words);
  };
  node.port.onmessage = ({ data }) => {
    if (over || socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > MOST_WAITING) return stop("The connection is too slow for sound; the microphone was stopped.");
    socket.send(data);
  };
  socket.onmessage = ({ data }) => {
    const message = typeof data === "string" ? JSON.parse(data) : {};
    if (message.type === "error") end(message.message);
  };
  socket.onclose = () => end("The server ended the stream.");
  media.getAudioTracks()[0].onended = () => stop("The microphone went away.");
  context.createMediaStreamSource(media).connect(node);
  return { stop };
}

function greet(socket, hello) {
  return new Promise((resolve, reject) => {
    socket.onopen = () => socket.send(JSON.stringify(hello));
    socket.onclose = () => reject(new Error("The server did not take the stream."));
    socket.onmessage = ({ data }) => {
      const answer = JSON.parse(data);
      if (answer.type === "started") resolve(answer);
      else if (answer.type === "error") reject(new Error(answer.message));
    };
  });
}
