// The live probabilities, drawn by uPlot; it is fetched when a stream is first looked at.
import { colour } from "./parts.js";
import { DASHES, clock, moodOf } from "./words.js";

const BREAK_S = 2.5; // no speech was judged in between: a line would claim there was

let loading = null;
function library() {
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
  #gone = false;
  #newest = null;
  #range = [0, 60];

  constructor(place) {
    this.place = place;
    this.watcher = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
    this.watcher.observe(place);
  }

  async show(labels, points) {
    this.#newest = { labels, points };
    const uPlot = await library();
    if (this.#gone || !this.place.isConnected || this.#newest.points !== points) return;
    if (this.#labels !== labels.join()) {
      this.#plot?.destroy();
      this.#labels = labels.join();
      this.#plot = new uPlot(this.#options(labels), [[], ...labels.map(() => [])], this.place);
    }
    const drawn = [];
    for (const point of [...points].sort((a, b) => a.t - b.t)) {
      if (drawn.length && point.t - drawn.at(-1).t > BREAK_S) drawn.push({ t: (point.t + drawn.at(-1).t) / 2, p: null });
      drawn.push(point);
    }
    this.#plot.setData([drawn.map((point) => point.t), ...labels.map((_, index) => drawn.map((point) => point.p?.[index] ?? null))], false);
    this.#plot.setScale("x", { min: this.#range[0], max: this.#range[1] });
  }

  // Which seconds are shown.
  range(from, to) {
    this.#range = [from, to];
    this.#plot?.setScale("x", { min: from, max: to });
  }

  destroy() {
    this.#gone = true;
    this.watcher.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #size() { return { width: Math.max(160, this.place.clientWidth), height: 170 }; }

  #options(labels) {
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    return {
      ...this.#size(), legend: { show: false }, cursor: { show: false },
      padding: [8, 0, 0, 0],
      scales: { x: { time: false, auto: false }, y: { range: [0, 1] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(clock), space: 70, size: 24, gap: 4 }, { ...axis, values: (_, ticks) => ticks.map((tick) => `${Math.round(100 * tick)} %`), size: () => (innerWidth > 620 ? 106 : 72), space: 36, gap: 8 }],
      series: [{}, ...labels.map((label, index) => {
        const mood = moodOf(label), ink = colour(mood in { neutral: 1, happy: 1, angry: 1, sad: 1 } ? mood : `s${(index + 4) % 8}`);
        return { label, stroke: ink, width: mood === "angry" ? 2.5 : 1.75, dash: DASHES[mood] ?? [2, 2], points: { show: true, size: 3.5, fill: ink } };
      })],
    };
  }
}
