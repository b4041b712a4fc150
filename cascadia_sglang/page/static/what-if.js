// What other thresholds would do: replayed on the planner's sample, as it looks like the window.

import { api } from "./api.js";
import { byId, element, fillTable, number, percent } from "./dom.js";

const PAUSE_MS = 150;

export class WhatIfPanel {
  constructor() {
    this.sliders = [];
    this.timer = null;
    this.asked = "";
    this.dried = "";
    this.hasSample = false;
    byId("what-if-form").addEventListener("submit", (event) => event.preventDefault());
    byId("what-if-dry").addEventListener("click", () => this.send(true));
    byId("what-if-apply").addEventListener("click", () => this.send(false));
  }

  show(state) {
    const below = state.status.tiers.slice(0, -1);
    this.hasSample = state.hasSample;
    if (!this.hasSample) {
      byId("what-if-basis").textContent =
        "No prediction: the cascade file names no planner.sample, which `cascadia calibrate` writes.";
    }
    if (this.sliders.length !== below.length) this.build(below);
  }

  build(tiers) {
    byId("what-if-sliders").replaceChildren();
    this.sliders = tiers.map((tier, index) => {
      const slider = element("input", {
        type: "range",
        id: `what-if-slider-${index}`,
        min: 0,
        max: 1,
        step: 0.005,
        value: tier.threshold ?? 1,
      });
      const shown = element("output", { for: slider.id }, number(tier.threshold, 3));
      slider.addEventListener("input", () => {
        shown.textContent = number(Number(slider.value), 3);
        this.ask(PAUSE_MS);
      });
      const label = element("label", { for: slider.id }, `threshold of ${tier.name}`);
      byId("what-if-sliders").append(element("div", { class: "slider" }, label, slider, shown));
      return slider;
    });
    if (tiers.length) this.ask(0);
  }

  get thresholds() {
    return this.sliders.map((slider) => Number(slider.value));
  }

  ask(pauseMs) {
    clearTimeout(this.timer);
    byId("what-if-apply").disabled = this.dried !== String(this.thresholds);
    if (this.hasSample) this.timer = setTimeout(() => this.predict(), pauseMs);
  }

  async predict() {
    const thresholds = this.thresholds;
    this.asked = String(thresholds);
    try {
      const comparison = await api.whatIf(thresholds);
      if (this.asked === String(thresholds)) this.showPrediction(comparison);
    } catch (error) {
      byId("what-if-basis").textContent = `No prediction: ${error.message}.`;
    }
  }

  showPrediction(comparison) {
    const basis = comparison.is_weighted
      ? `weighted to look like the last ${comparison.window} requests`
      : `not weighted: ${comparison.window} judged requests are too few, or too unlike it`;
    byId("what-if-basis").textContent =
      `${comparison.rows} prompts that every tier answered, ${basis}; worth ${number(comparison.effective_rows, 0)} rows.`;
    const { now, then } = comparison;
    const last = comparison.attempt_s.at(-1);
    const cost = (prediction) =>
      prediction.cost === null ? "unknown" : `${number(prediction.cost, 3)} s${last ? `, ${percent(prediction.cost / last)} of the last tier alone` : ""}`;
    const row = (name, of) => [name, of(now), { text: of(then), field: `then ${name}` }];
    fillTable(byId("what-if-table"), "Expected of such requests", ["measure", "now", "then"], [
      row("quality", (prediction) => percent(prediction.quality, 2)),
      row("95 % interval", (prediction) => `${percent(prediction.interval[0])} to ${percent(prediction.interval[1])}`),
      ...now.shares.slice(1).map((_, index) => row(`reach tier ${index + 2}`, (prediction) => percent(prediction.shares[index + 1]))),
      row("worker seconds per request", cost),
    ]);
    const [low, high] = comparison.difference_interval;
    const signed = (value) => `${value > 0 ? "+" : ""}${number(100 * value, 2)}`;
    byId("what-if-difference").textContent =
      `Quality changes by ${signed(comparison.difference)} percentage points (95 %: ${signed(low)} to ${signed(high)}).`;
  }

  async send(isDry) {
    const message = byId("what-if-result");
    const thresholds = this.thresholds;
    message.className = "";
    message.textContent = "asking";
    try {
      const plan = await api.plan(byId("what-if-key").value, { thresholds, dry_run: isDry });
      if (isDry) {
        this.dried = String(thresholds);
        byId("what-if-apply").disabled = this.dried !== String(this.thresholds);
        const steps = plan.actions.map((action) => action.type).join(", ");
        message.textContent = `Dry run: ${steps || "nothing to do"}. Apply sets ${thresholds.join(", ")}.`;
      } else {
        this.dried = "";
        byId("what-if-apply").disabled = true;
        message.textContent = `Applied: plan ${plan.number}, thresholds ${plan.thresholds.join(", ")}.`;
        this.ask(0);
      }
    } catch (error) {
      message.className = "bad";
      message.textContent = `Refused: ${error.message}`;
    }
  }
}
