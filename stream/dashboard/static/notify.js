// A sound, and a notification while the page is hidden, for an alert; loaded with the first one of a page that wants them.
const TONES_HZ = [660, 880], TONE_S = 0.14, LEVEL = 0.12;
let context = null;

export function notify(title, text) {
  try {
    context ??= new AudioContext();
    TONES_HZ.forEach((frequency, index) => {
      const tone = new OscillatorNode(context, { frequency }), level = new GainNode(context, { gain: LEVEL }), start = context.currentTime + index * TONE_S;
      tone.connect(level).connect(context.destination);
      tone.start(start);
      tone.stop(start + TONE_S);
    });
  } catch { /* a browser without sound still notifies */ }
  if (document.hidden && "Notification" in window && Notification.permission === "granted") new Notification(title, { body: text, tag: `${title} ${text}` });
}
