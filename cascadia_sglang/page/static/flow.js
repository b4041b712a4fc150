// Requests per second: from entry over the tiers, with escalations and their reasons, to the answer.

import { LineChart } from "./charts.js";
import { byId, fillTable, number, svg, tierColour, tierName } from "./dom.js";
import { State } from "./state.js";

const WIDTH = 1000;
const ROW = 92;
const TOP = 46;
const NODE = 14;
const THICKEST = 46;

/** Where a curved band of this thickness goes, from one point to another. */
function band(x1, y1, x2, y2) {
  const middle = (x1 + x2) / 2;
  return `M ${x1} ${y1} C ${middle} ${y1}, ${middle} ${y2}, ${x2} ${y2}`;
}

export class FlowPanel {
  constructor() {
    this.chart = new LineChart(byId("flow-chart"), { unit: " per second", leastTop: 1 });
  }

  show(state) {
    const rows = state.span(Number(byId("flow-span").value));
    const span = State.seconds(rows);
    const sums = State.sums(rows);
    const rate = (...labels) => State.total(sums, ...labels) / span;
    this.showLanes(state.tiers, rate, sums, span);
    fillTable(
      byId("flow-tiers"),
      "Per second, by tier",
      ["tier", "began here", "escalated to it", "escalated from it", "answered", "answered since the start"],
      state.status.tiers.map((tier, index) => [
        tierName(tier.name, index),
        number(rate("entry", tier.name), 2),
        number(this.climbedIn(sums, tier.name) / span, 2),
        number(rate("climb", tier.name), 2),
        number(rate("answer", tier.name), 2),
        { text: String(tier.answered), field: `answered ${tier.name}` },
      ]),
    );
    const reasons = Object.entries(sums)
      .filter(([flow]) => flow.startsWith("climb/"))
      .map(([flow, count]) => [...flow.split("/").slice(1), count])
      .sort((left, right) => right[3] - left[3]);
    const errors = Object.entries(sums).filter(([flow]) => flow.startsWith("error/"));
    fillTable(byId("flow-climbs"), "Escalations and errors", ["from", "to", "why", "per second"], [
      ...reasons.map(([from, to, why, count]) => [
        tierName(from, state.tierIndex(from)),
        { text: to, class: "text" },
        { text: why, class: "text" },
        number(count / span, 2),
      ]),
      ...errors.map(([flow, count]) => [
        "–",
        { text: "client", class: "text" },
        { text: `error ${flow.split("/")[1]}`, class: "text bad" },
        number(count / span, 2),
      ]),
    ]);
    this.chart.update(
      state.rows.map((row) => row.at),
      state.tiers.map((name, index) => ({
        name,
        colour: `--tier-${index % 6}`,
        values: state.rows.map((row) => State.total(row.flows, "answer", name) / Math.max(1e-3, row.seconds)),
      })),
    );
  }

  climbedIn(sums, name) {
    return Object.entries(sums)
      .filter(([flow]) => flow.startsWith("climb/") && flow.split("/")[2] === name)
      .reduce((total, [, count]) => total + count, 0);
  }

  showLanes(tiers, rate, sums, span) {
    const height = TOP + ROW * tiers.length;
    const most = Math.max(rate("arrived"), ...tiers.map((name) => rate("answer", name)), 1e-9);
    const thick = (value) => (value > 0 ? Math.max(1.5, (THICKEST * value) / most) : 0);
    const x = (index) => 260 + (index * (WIDTH - 520)) / Math.max(1, tiers.length - 1);
    const y = (index) => TOP + ROW * index + ROW / 2;
    const links = [];
    const labels = [];
    const link = (x1, y1, x2, y2, value, colour, title) => {
      if (value <= 0) return;
      const path = svg("path", {
        d: band(x1, y1, x2, y2),
        fill: "none",
        stroke: colour,
        "stroke-width": thick(value).toFixed(1),
        "stroke-opacity": 0.45,
      });
      path.append(svg("title", {}, `${title}: ${number(value, 2)} per second`));
      links.push(path);
    };
    const text = (px, py, content, anchor = "start", css = null) =>
      labels.push(svg("text", { x: px, y: py, "text-anchor": anchor, class: css }, content));

    text(10, 20, `arrived ${number(rate("arrived"), 2)}/s`);
    text(WIDTH - 10, 20, "answered", "end");
    tiers.forEach((name, index) => {
      link(90, y(0), x(index), y(index), rate("entry", name), "var(--soft)", `begins at ${name}`);
      link(x(index) + NODE, y(index), WIDTH - 130, y(index), rate("answer", name), tierColour(index), `answered by ${name}`);
      tiers.slice(index + 1).forEach((to, offset) => {
        const target = index + 1 + offset;
        const climbs = rate("climb", name, to);
        link(x(index) + NODE, y(index) + 6, x(target), y(target) - 6, climbs, tierColour(index), `${name} to ${to}`);
        if (climbs > 0 && offset === 0) {
          const whys = Object.entries(sums)
            .filter(([flow]) => flow.startsWith(`climb/${name}/${to}/`))
            .sort((left, right) => right[1] - left[1])
            .slice(0, 2)
            .map(([flow, count]) => `${flow.split("/")[3]} ${number(count / span, 2)}/s`);
          whys.forEach((why, line) => text(x(index) + NODE + 8, y(index) + 30 + 14 * line, why, "start", "soft"));
        }
      });
      labels.push(
        svg("rect", { x: x(index), y: y(index) - 26, width: NODE, height: 52, fill: tierColour(index), rx: 3 }),
      );
      text(x(index) - 6, y(index) - 32, name, "start");
      text(WIDTH - 10, y(index) + 4, `${name} ${number(rate("answer", name), 2)}/s`, "end");
    });
    const lanes = byId("flow-lanes");
    lanes.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
    lanes.replaceChildren(...links, ...labels);
  }
}
