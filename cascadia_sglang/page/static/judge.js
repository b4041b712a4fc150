// Scores against those of the calibration, agreement with the last tier, drift, errors.

import { byId, element, number, percent, svg, tierName } from "./dom.js";

const WIDTH = 360;
const HEIGHT = 150;
const BASE = HEIGHT - 18;

export class JudgePanel {
  show(state) {
    if (state.recent === null) return;
    const cards = state.recent.judge.map((shape, index) => {
      const tier = state.status.tiers[index];
      return element(
        "article",
        { tier: index },
        element("h3", {}, tierName(tier.name, index), ` ${shape.calibrated ? "calibrated" : "ranked, not calibrated"}`),
        ...this.facts(tier, shape),
        this.histogram(shape, tier),
        shape.labels ? this.reliability(shape) : null,
      );
    });
    byId("judge-tiers").replaceChildren(
      ...(cards.length ? cards : [element("p", {}, "One tier: nothing is judged.")]),
    );
  }

  facts(tier, shape) {
    const total = shape.counts.reduce((sum, count) => sum + count, 0);
    const drift = tier.drift;
    const drifted =
      drift === null
        ? "too few scores to tell of drift"
        : `drift ${number(drift.distance, 3)}, alarm above ${number(drift.limit, 3)}`;
    const shadow = tier.shadow;
    const lines = [
      [`threshold ${number(tier.threshold, 4)}, ${number(total)} scores`, ""],
      [drifted, drift !== null && drift.distance > drift.limit ? "bad" : ""],
      [`${tier.judge_errors} judge errors`, tier.judge_errors ? "warn" : ""],
    ];
    const features = drift?.features ?? null;
    if (features !== null) {
      lines.push([
        `kinds of prompts: distance ${number(features.distance)}, alarm above ${number(features.limit)}`,
        features.alarm ? "bad" : "",
      ]);
    }
    if (shadow !== null) {
      const expected =
        shadow.expected === null ? "" : `, ${percent(shadow.expected[0] / shadow.expected[1])} expected`;
      lines.push([
        `${percent(shadow.agreed / shadow.answers)} of ${shadow.answers} accepted answers equal the last tier's${expected}`,
        shadow.alarm ? "bad" : "",
      ]);
    }
    if (tier.escalation_rate !== null) {
      lines.push([
        `${percent(tier.recent_escalation_rate)} of the last escalated, ${percent(tier.escalation_rate)} asked for`,
        "",
      ]);
    }
    return lines.map(([text, css]) => element("p", { class: `note ${css}` }, text));
  }

  histogram(shape, tier) {
    const total = shape.counts.reduce((sum, count) => sum + count, 0);
    const shares = shape.counts.map((count) => (total ? count / total : 0));
    const most = Math.max(...shares, ...(shape.expected ?? []), 0.01);
    const x = (score) => 8 + score * (WIDTH - 16);
    const y = (share) => BASE - (share / most) * (BASE - 10);
    const wide = (WIDTH - 16) / shares.length;
    const bars = shares.map((share, bin) =>
      svg("rect", {
        x: x(bin / shares.length) + 1,
        y: y(share),
        width: wide - 2,
        height: BASE - y(share),
        fill: "var(--tier)",
      }),
    );
    const outline = (shape.expected ?? []).flatMap((share, bin) => [
      `${bin ? "L" : "M"} ${x(bin / shares.length)} ${y(share)}`,
      `L ${x((bin + 1) / shares.length)} ${y(share)}`,
    ]);
    const expected = outline.length ? svg("path", { class: "expected", d: outline.join(" ") }) : null;
    const mark =
      tier.threshold === null
        ? null
        : svg("line", { class: "mark", x1: x(tier.threshold), x2: x(tier.threshold), y1: 6, y2: BASE });
    return svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": `Scores of ${tier.name} in twentieths: ${shape.counts.join(", ")}`,
        "data-counts": shape.counts.join(","),
      },
      ...bars,
      expected,
      mark,
      svg("line", { class: "axis", x1: x(0), x2: x(1), y1: BASE, y2: BASE }),
      svg("text", { class: "soft", x: x(0), y: HEIGHT - 4 }, "0"),
      svg("text", { class: "soft", x: WIDTH / 2, y: HEIGHT - 4, "text-anchor": "middle" }, shape.expected === null ? "score" : "score; dashed: the calibration's"),
      svg("text", { class: "soft", x: x(1), y: HEIGHT - 4, "text-anchor": "end" }, "1"),
    );
  }

  reliability(shape) {
    const x = (value) => 8 + value * (WIDTH - 16);
    const y = (value) => BASE - value * (BASE - 10);
    const points = shape.reliability.flatMap((bin) => {
      const share = bin.agreed / bin.answers;
      const title = `score ${bin.score}: ${bin.agreed} of ${bin.answers} agree`;
      return [
        svg("line", { class: "axis", x1: x(bin.score), x2: x(bin.score), y1: y(bin.interval[0]), y2: y(bin.interval[1]) }),
        svg("circle", { cx: x(bin.score), cy: y(share), r: 4, fill: "var(--tier)" }, svg("title", {}, title)),
      ];
    });
    const spoken = shape.reliability.map((bin) => `score ${bin.score}: ${bin.agreed} of ${bin.answers}`);
    return svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Agreement with the last tier. ${spoken.join("; ")}` },
      svg("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
      ...points,
      svg("text", { class: "soft", x: WIDTH / 2, y: HEIGHT - 4, "text-anchor": "middle" }, `agreement by score, ${shape.labels} labels`),
    );
  }
}
