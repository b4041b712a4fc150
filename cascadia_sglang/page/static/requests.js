// The last requests without their content; one opens as a waterfall of its attempts.

import { byId, clock, element, fillSelect, fillTable, number, seconds, svg, tierColour, tierName } from "./dom.js";

const WIDTH = 900;
const LEFT = 150;
const ROW = 26;

export class RequestsPanel {
  constructor() {
    this.shown = -1;
    this.filters = "";
  }

  show(state) {
    const sorted = (key) => [...new Set(state.requests.map((request) => request[key]))].sort();
    fillSelect(byId("requests-path"), [["", "all"], ...sorted("path").map((path) => [path, path || "none"])]);
    fillSelect(byId("requests-reason"), [["", "all"], ...sorted("reason").map((reason) => [reason, reason])]);
    const path = byId("requests-path").value;
    const reason = byId("requests-reason").value;
    const filters = `${path}\n${reason}`;
    // A table that is rebuilt under a reader's fingers loses the focus.
    const isHeld = byId("requests-hold").checked || byId("requests-table").contains(document.activeElement);
    if (filters === this.filters && (isHeld || this.shown === state.last.request)) return;
    this.filters = filters;
    this.shown = state.last.request;
    const found = state.requests
      .filter((one) => (!path || one.path === path) && (!reason || one.reason === reason))
      .reverse();
    fillTable(
      byId("requests-table"),
      `${found.length} requests, newest first`,
      ["id", "came", "path", "why", "scores", "prompt", "written", "first token", "whole"],
      found.map((one) => [
        this.opener(state, one),
        clock(one.at),
        { text: one.path || "none", class: "text" },
        { text: one.reason, class: one.tier === null ? "text bad" : "text" },
        one.attempts.map((attempt) => number(attempt.score, 3)).join(", "),
        number(one.input_tokens, 0),
        number(one.attempts.reduce((sum, attempt) => sum + attempt.tokens, 0), 0),
        seconds(one.ttft_s),
        seconds(one.seconds),
      ]),
    );
  }

  opener(state, request) {
    const button = element("button", { type: "button", "data-request": request.number }, request.rid.slice(0, 24));
    button.addEventListener("click", () => this.open(state, request));
    return button;
  }

  open(state, request) {
    const scale = (at) => LEFT + (Math.min(at, request.seconds) / Math.max(request.seconds, 1e-6)) * (WIDTH - LEFT - 60);
    const bars = request.attempts.flatMap((attempt, line) => {
      const y = 24 + ROW * line;
      const index = state.tierIndex(attempt.tier);
      const label = svg("text", { x: 4, y: y + 14 }, `${attempt.tier}: ${attempt.reason || "no result"}`);
      if (attempt.start_s === null) return [label, svg("text", { class: "soft", x: LEFT, y: y + 14 }, "did not run")];
      const from = scale(attempt.start_s);
      const to = Math.max(from + 2, scale(attempt.start_s + attempt.seconds));
      const kept = attempt.kept === null ? "" : `, ${attempt.kept} kept of the draft`;
      const told = `${seconds(attempt.seconds)}, ${attempt.tokens} tokens${kept}, ${attempt.cached_tokens} cached, score ${number(attempt.score, 3)}`;
      const isLeft = to > WIDTH / 2 + LEFT / 2;
      return [
        label,
        svg("rect", { x: from, y: y, width: to - from, height: 18, rx: 3, fill: tierColour(index) }, svg("title", {}, told)),
        svg("text", { x: isLeft ? from - 6 : to + 6, y: y + 14, "text-anchor": isLeft ? "end" : "start" }, told),
      ];
    });
    const height = 34 + ROW * request.attempts.length;
    const first = scale(request.ttft_s);
    const close = element("button", { type: "button" }, "Close");
    close.addEventListener("click", () => byId("requests-open").replaceChildren());
    const tier = request.tier === null ? "no tier" : tierName(request.tier, state.tierIndex(request.tier));
    byId("requests-open").replaceChildren(
      element("h3", {}, request.rid, " ", tier, `, ${request.reason}, ${seconds(request.seconds)} `, close),
      svg(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `Attempts of ${request.rid} over time` },
        ...bars,
        svg("line", { class: "mark", x1: first, x2: first, y1: 10, y2: height - 8 }, svg("title", {}, `first token after ${seconds(request.ttft_s)}`)),
        svg("text", { class: "soft", x: LEFT, y: 14 }, "0"),
        svg("text", { class: "soft", x: WIDTH - 60, y: 14, "text-anchor": "end" }, seconds(request.seconds)),
      ),
    );
    close.focus();
  }
}
