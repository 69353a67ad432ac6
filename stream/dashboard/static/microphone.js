// This browser's microphone as a stream: its native rate without processing, PCM16 over a WebSocket of its own.
import { askForName, h, icon, toast } from "./dom.js";

const MAX_BUFFERED_BYTES = 1_000_000; // a network this far behind does not catch up

let capture = null;

export function toggle(link, button) {
  if (capture) return capture.stop("Microphone stopped.");
  askForName({
    id: "microphone-title", title: "Use this browser's microphone", label: "Name of the stream", button: "Start",
    note: "The audio goes to this page's server and nowhere else. Inform everybody within range of the microphone.",
    field: { maxlength: "48", value: "browser", pattern: "[A-Za-z0-9_.\\-]+", title: "Letters, digits, - _ and ." },
    submit: async (name) => {
      try {
        capture = await start(link.hello.microphone, name, () => { capture = null; showState(button); });
        showState(button);
        return "";
      } catch (error) {
        return { NotAllowedError: "The browser did not allow access to the microphone.", NotFoundError: "No microphone found." }[error.name] ?? error.message;
      }
    },
  });
}

function showState(button) {
  button.replaceChildren(icon(capture ? "off" : "person"), h("span", null, capture ? "Stop microphone" : "Microphone"));
  button.setAttribute("aria-pressed", capture ? "true" : "false");
}

// Resolves once the server has accepted the stream; `onEnd` is called when it ends.
async function start(path, source, onEnd) {
  if (!navigator.mediaDevices) throw new Error("Browsers allow the microphone only for pages on localhost or behind https.");
  const media = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 } });
  const context = new AudioContext(); // at the device's rate: the server resamples
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  let ended = false, socket = null;
  const end = (message) => {
    if (ended) return;
    ended = true;
    for (const track of media.getTracks()) track.stop();
    context.close();
    if (message) toast(message);
    onEnd();
  };
  try {
    await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
    socket = new WebSocket(address); // not before: it must not open without a handler
    await openStream(socket, { type: "start", rate_hz: context.sampleRate, channels: 1, format: "s16le", source, events: false });
  } catch (error) {
    end("");
    socket?.close();
    throw error;
  }
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const stop = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "stop" }));
    end(message);
  };
  node.port.onmessage = ({ data }) => {
    if (ended || socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > MAX_BUFFERED_BYTES) return stop("Connection too slow for audio; microphone stopped.");
    socket.send(data);
  };
  socket.onmessage = ({ data }) => {
    const message = typeof data === "string" ? JSON.parse(data) : {};
    if (message.type === "error") end(message.message);
  };
  socket.onclose = () => end("The server ended the stream.");
  media.getAudioTracks()[0].onended = () => stop("The microphone was disconnected.");
  context.createMediaStreamSource(media).connect(node);
  return { stop };
}

function openStream(socket, request) {
  return new Promise((resolve, reject) => {
    socket.onopen = () => socket.send(JSON.stringify(request));
    socket.onclose = () => reject(new Error("The server did not accept the stream."));
    socket.onmessage = ({ data }) => {
      const reply = JSON.parse(data);
      if (reply.type === "started") resolve(reply);
      else if (reply.type === "error") reject(new Error(reply.message));
    };
  });
}
