// The last requests without their content; one opens as a waterfall of its attempts.

import { byId, clock, element, fillSelect, fillTable, number, seconds, svg, tierColour, tierName } from "./dom.js";

const WIDTH = 900;
const LEFT = 150;
const ROW = 26;

export class RequestsPanel {
  constructor() {
    this.shown = -1;
    this.opened = 0;
    this.filters = "";
    byId("requests-open").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
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
    const shown = state.requests
      .filter((request) => (!path || request.path === path) && (!reason || request.reason === reason))
      .reverse();
    fillTable(
      byId("requests-table"),
      `${shown.length} requests, newest first`,
      ["id", "came", "path", "why", "scores", "prompt", "written", "first token", "whole"],
      shown.map((request) => [
        this.opener(state, request),
        clock(request.at),
        { text: request.path || "none", class: "text" },
        { text: request.reason, class: request.tier === null ? "text bad" : "text" },
        request.attempts.map((attempt) => number(attempt.score, 3)).join(", "),
        number(request.input_tokens, 0),
        number(request.attempts.reduce((sum, attempt) => sum + attempt.tokens, 0), 0),
        seconds(request.ttft_s),
        seconds(request.seconds),
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
      const label = svg("text", { x: 4, y: y + 14 }, nameOf(attempt));
      if (attempt.start_s === null) return [label, svg("text", { class: "soft", x: LEFT, y: y + 14 }, "did not run")];
      const from = scale(attempt.start_s);
      const to = Math.max(from + 2, scale(attempt.start_s + attempt.seconds));
      const facts = factsOf(attempt);
      const isLeft = to > WIDTH / 2 + LEFT / 2;
      return [
        label,
        svg("rect", { x: from, y: y, width: to - from, height: 18, rx: 3, fill: tierColour(index) }, svg("title", {}, facts)),
        svg("text", { x: isLeft ? from - 6 : to + 6, y: y + 14, "text-anchor": isLeft ? "end" : "start" }, facts),
      ];
    });
    const height = 34 + ROW * request.attempts.length;
    const first = scale(request.ttft_s);
    const close = element("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.close());
    this.opened = request.number;
    const spoken = request.attempts.map((attempt) => `${nameOf(attempt)}, ${factsOf(attempt)}`);
    const tier = request.tier === null ? "no tier" : tierName(request.tier, state.tierIndex(request.tier));
    byId("requests-open").replaceChildren(
      element("h3", {}, request.rid, " ", tier, `, ${request.reason}, ${seconds(request.seconds)} `, close),
      svg(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `Attempts over time. ${spoken.join("; ")}` },
        ...bars,
        svg("line", { class: "mark", x1: first, x2: first, y1: 10, y2: height - 8 }, svg("title", {}, `first token after ${seconds(request.ttft_s)}`)),
        svg("text", { class: "soft", x: LEFT, y: 14 }, "0"),
        svg("text", { class: "soft", x: WIDTH - 60, y: 14, "text-anchor": "end" }, seconds(request.seconds)),
      ),
    );
    close.focus();
  }

  /** The focus goes back to where it came from, if that is still there. */
  close() {
    byId("requests-open").replaceChildren();
    byId("requests-table").querySelector(`[data-request="${this.opened}"]`)?.focus();
  }
}

const nameOf = (attempt) => `${attempt.tier}: ${attempt.reason || "no result"}`;

function factsOf(attempt) {
  const kept = attempt.kept === null ? "" : `, ${attempt.kept} kept of the draft`;
  return `${seconds(attempt.seconds)}, ${attempt.tokens} tokens${kept}, ${attempt.cached_tokens} cached, score ${number(attempt.score, 3)}`;
}
