// In the audio thread: float samples become PCM16 in packets of 20 ms.
class Capture extends AudioWorkletProcessor {
  #packet = new Int16Array(Math.round(sampleRate / 50));
  #filled = 0;

  process([input]) {
    const channel = input[0];
    if (!channel) return true;
    for (const sample of channel) {
      this.#packet[this.#filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.#filled === this.#packet.length) {
        this.port.postMessage(this.#packet.slice().buffer);
        this.#filled = 0;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);
