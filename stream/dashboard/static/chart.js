// The emotion probabilities, drawn by uPlot, which is loaded with the first stream that is opened.
import { colour } from "./parts.js";
import { COLOURED, DASHES, clock, emotionKey, marksFor, timeMarks } from "./words.js";

const MAX_LINE_GAP_S = 2.5; // over longer gaps no line is drawn: nothing was scored in between

const yAxisWidth = () => (innerWidth > 620 ? 106 : 72);
let loading = null;
function loadLibrary() {
  loading ??= new Promise((resolve, reject) => {
    const style = document.createElement("link"), script = document.createElement("script");
    style.rel = "stylesheet";
    style.href = new URL("vendor/uPlot.min.css", import.meta.url);
    script.src = new URL("vendor/uPlot.iife.min.js", import.meta.url);
    script.onload = () => resolve(window.uPlot);
    script.onerror = reject;
    document.head.append(style, script);
  });
  return loading;
}

export class Chart {
  #plot = null;
  #labels = "";
  #destroyed = false;
  #newest = null;
  #range = [0, 60];

  constructor(container) {
    this.container = container;
    this.observer = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
    this.observer.observe(container);
  }

  async show(labels, points) {
    this.#newest = points;
    const uPlot = await loadLibrary();
    if (this.#destroyed || !this.container.isConnected || this.#newest !== points) return;
    if (this.#labels !== labels.join()) {
      this.#plot?.destroy();
      this.#labels = labels.join();
      this.#plot = new uPlot(this.#options(labels), [[], ...labels.map(() => [])], this.container);
    }
    const drawn = [];
    for (const point of [...points].sort((a, b) => a.time_s - b.time_s)) {
      const last = drawn.at(-1);
      if (last && point.time_s - last.time_s > MAX_LINE_GAP_S) drawn.push({ time_s: (point.time_s + last.time_s) / 2, values: null });
      drawn.push(point);
    }
    this.#plot.setData([drawn.map((point) => point.time_s), ...labels.map((_, index) => drawn.map((point) => point.values?.[index] ?? null))], false);
    this.#plot.setScale("x", { min: this.#range[0], max: this.#range[1] });
  }

  // Sets the media time that is shown.
  setRange(from, to) {
    this.#range = [from, to];
    this.#plot?.setScale("x", { min: from, max: to });
  }

  destroy() {
    this.#destroyed = true;
    this.observer.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #size() { return { width: Math.max(160, this.container.clientWidth), height: 170 }; }

  #options(labels) {
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    return {
      ...this.#size(), legend: { show: false }, cursor: { show: false },
      padding: [8, 0, 0, 0],
      scales: { x: { time: false, auto: false }, y: { range: [0, 1] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(clock), splits: () => timeMarks(this.#range[0], this.#range[1] - this.#range[0], marksFor(this.container.clientWidth - yAxisWidth())), size: 24, gap: 4 }, { ...axis, values: (_, ticks) => ticks.map((tick) => `${Math.round(100 * tick)} %`), size: yAxisWidth, space: 36, gap: 8 }],
      series: [{}, ...labels.map((label, index) => {
        const emotion = emotionKey(label), ink = colour(COLOURED.has(emotion) ? emotion : `s${(index + 4) % 8}`);
        return { label, stroke: ink, width: emotion === "angry" ? 2.5 : 1.75, dash: DASHES[emotion] ?? [2, 2], points: { show: true, size: 3.5, fill: ink } };
      })],
    };
  }
}
