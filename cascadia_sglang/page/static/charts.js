// Line charts over time, by uPlot. A chart follows its figure's width and the page's colours.

/* global uPlot */
import { element } from "./dom.js";

const HEIGHT = 190;

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class LineChart {
  /** `unit` is that of the values; the axes span at least `leastS` seconds, and 0 to `leastTop`. */
  constructor(figure, { unit = "", leastS = 30, leastTop = 1e-3 } = {}) {
    this.unit = unit;
    this.leastS = leastS;
    this.leastTop = leastTop;
    this.figure = figure;
    this.holder = element("div");
    figure.append(this.holder);
    this.plot = null;
    this.names = "";
    this.data = null;
    this.series = [];
    new ResizeObserver(() => this.resize()).observe(figure);
    document.addEventListener("themechange", () => this.build());
  }

  /** `times`: Unix seconds; `series`: `[{name, colour, values, dash}]` with as many values each. */
  update(times, series) {
    this.data = [times, ...series.map((line) => line.values)];
    this.series = series;
    const names = series.map((line) => line.name).join("\n");
    if (names !== this.names || this.plot === null) {
      this.names = names;
      this.build();
    } else {
      this.plot.setData(this.data);
    }
    const last = series.map((line) => `${line.name} ${line.values.at(-1) ?? "unknown"}${this.unit}`);
    this.holder.setAttribute("role", "img");
    this.holder.setAttribute("aria-label", `latest: ${last.join(", ") || "nothing yet"}`);
  }

  build() {
    if (this.data === null) return;
    this.plot?.destroy();
    const axis = {
      stroke: colourOf("--soft"),
      grid: { stroke: colourOf("--line"), width: 1 },
      ticks: { stroke: colourOf("--line"), width: 1 },
    };
    const options = {
      width: Math.max(200, this.figure.clientWidth),
      height: HEIGHT,
      cursor: { y: false },
      scales: {
        x: { range: (_, first, last) => [Math.min(first ?? 0, (last ?? 0) - this.leastS), last ?? 0] },
        y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 0, this.leastTop) * 1.08] },
      },
      axes: [axis, { ...axis, size: 60 }],
      series: [
        {},
        ...this.series.map((line) => ({
          label: line.name,
          stroke: colourOf(line.colour),
          width: 2,
          dash: line.dash,
          spanGaps: false,
          points: { show: this.data[0].length < 70, size: 4 },
        })),
      ],
    };
    this.plot = new uPlot(options, this.data, this.holder);
  }

  resize() {
    const width = Math.max(200, this.figure.clientWidth);
    if (this.plot !== null && this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
  }
}
