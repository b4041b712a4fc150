// Asks the server for its newest row as often as it makes one, while the page is visible.

import { api } from "./api.js";
import { byId, element, number, percent, seconds } from "./dom.js";
import { State } from "./state.js";
import { CachesPanel } from "./caches.js";
import { CapacityPanel } from "./capacity.js";
import { FlowPanel } from "./flow.js";
import { JudgePanel } from "./judge.js";
import { LatencyPanel } from "./latency.js";
import { PlaygroundPanel } from "./playground.js";
import { RequestsPanel } from "./requests.js";
import { WhatIfPanel } from "./what-if.js";

const RECENT_EVERY = 5;

const state = new State();
const panels = [
  new FlowPanel(),
  new JudgePanel(),
  new WhatIfPanel(),
  new LatencyPanel(),
  new CapacityPanel(),
  new CachesPanel(),
  new RequestsPanel(),
  new PlaygroundPanel(),
];
let turn = 0;
let isPaused = false;
let answeredAt = null;

/** Show whether the page follows the server; `error` says why it cannot. */
function showConnection(error) {
  if (isPaused) return;
  const message = byId("connection");
  message.dataset.state = error === null ? "live" : "lost";
  const since = answeredAt === null ? "" : ` since ${answeredAt.toLocaleTimeString("en-GB")}`;
  message.textContent = error === null ? "live" : `no answer${since}: ${error.message}`;
}

function showSummary() {
  const { status } = state;
  const rows = state.span(10);
  const sums = State.sums(rows);
  const answered = State.total(sums, "answer");
  const errors = State.total(sums, "error");
  const hour = state.recent?.latency.hour_by_tier ?? {};
  const alarms = status.tiers.filter((tier) => tier.drift?.alarm || tier.shadow?.alarm);
  const first = Object.values(state.recent?.latency.minutes.at(-1)?.paths ?? {});
  const slowest = Math.max(...first.map((path) => path.e2e_s[1]));
  const facts = [
    [number(State.total(sums, "arrived") / State.seconds(rows), 2), "requests per second, 10 s"],
    ...state.tiers.map((name, index) => [
      answered ? percent(State.total(sums, "answer", name) / answered) : "–",
      `answered by ${name}`,
      index,
    ]),
    [number(errors), "errors, 10 s"],
    [Number.isFinite(slowest) ? seconds(slowest) : "–", "p95 of the slowest path, this minute"],
    [alarms.length ? alarms.map((tier) => tier.name).join(", ") : "quiet", "judge alarms"],
    [`${status.plan_number}${status.gear ? `, gear ${status.gear}` : ""}`, "plan"],
    [number(Object.values(hour).reduce((sum, tier) => sum + tier.requests, 0)), "answers in the last hour"],
  ];
  byId("summary").replaceChildren(
    ...facts.map(([value, text, tier]) =>
      element(
        "li",
        {},
        element("b", tier === undefined ? {} : { class: "tier-name", tier }, value),
        element("span", {}, text),
      ),
    ),
  );
}

async function tick() {
  const begun = performance.now();
  try {
    if (!document.hidden && !isPaused) {
      const isTurn = turn % RECENT_EVERY === 0;
      const [live, recent] = await Promise.all([api.live(state.last), isTurn ? api.recent() : null]);
      state.take(live);
      if (recent !== null) state.recent = recent;
      turn += 1;
      answeredAt = new Date();
      showSummary();
      for (const panel of panels) panel.show(state);
      showConnection(null);
      document.documentElement.dataset.row = state.last.row;
    }
  } catch (error) {
    turn = 0;
    showConnection(error);
  }
  setTimeout(tick, Math.max(100, 1000 * state.intervalS - (performance.now() - begun)));
}

function setPaused(paused) {
  isPaused = paused;
  byId("pause").setAttribute("aria-pressed", paused);
  if (!paused) return;
  byId("connection").dataset.state = "paused";
  byId("connection").textContent = `paused at ${new Date().toLocaleTimeString("en-GB")}`;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("themechange"));
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
setTheme(prefersDark.matches ? "dark" : "light");
prefersDark.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
byId("pause").addEventListener("click", () => setPaused(!isPaused));
byId("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
tick();
