// Workers as tiles, the plan, and what happened.

import { byId, clock, element, fillTable, number, percent, seconds } from "./dom.js";

export class CapacityPanel {
  show(state) {
    const loads = state.rows.at(-1)?.workers ?? {};
    byId("capacity-workers").replaceChildren(
      ...state.status.workers.map((worker) => this.tile(state, worker, loads[worker.id])),
    );
    this.showPlan(state);
    this.showTimeline(state);
  }

  tile(state, worker, load) {
    const index = state.tierIndex(worker.tiers[0]);
    const devices = worker.devices.map((device) =>
      device.gpu_share === undefined ? `GPU ${device.device}` : `GPU ${device.device}, ${percent(device.gpu_share)}`,
    );
    const kv = load?.kv ?? null;
    const meter =
      kv === null
        ? null
        : element("meter", { min: 0, max: 1, high: 0.9, value: kv, "aria-label": "KV memory in use" });
    const isReady = worker.state === "ready";
    return element(
      "article",
      { class: "tile", tier: index, "data-worker": worker.id, "data-state": worker.state },
      element("h3", {}, worker.id),
      element("p", { class: isReady ? "good" : "warn" }, worker.state),
      element("p", {}, `${worker.running} attempts; ${number(load?.running, 0)} run, ${number(load?.queued, 0)} wait`),
      element("p", {}, `KV memory ${percent(kv)}`),
      meter,
      element("p", {}, devices.join("; ") || "host"),
      element("p", {}, `pid ${worker.pids.join(", ")}`),
    );
  }

  showPlan(state) {
    const { plan } = state;
    const controller = plan.planner;
    const decided = [...state.events.values()].filter((event) => event.predicted_s !== null && event.predicted_s !== undefined).at(-1);
    const measured = controller?.window.seconds_p95;
    const rows = [
      ["plan", { text: String(plan.number), field: "plan number" }],
      ["state", plan.is_moving ? "moving" : "still"],
      ["thresholds", plan.thresholds.map((value) => number(value, 4)).join(", ") || "set by the escalation rate"],
      ["devices", plan.gpu_budget === null ? number(plan.gpus, 0) : `${plan.gpus} of ${plan.gpu_budget}`],
      ...Object.entries(plan.pools).map(([pool, shape]) => [`workers of ${pool}`, number(shape.replicas, 0)]),
      ["last move", plan.last_move === null ? "none" : seconds(plan.last_move.seconds)],
      ["controller", controller === null ? "off" : decisionText(controller.decision)],
    ];
    if (controller !== null) {
      rows.push(["measured p95 of a request", seconds(measured)]);
      rows.push(["predicted mean, now", decided ? seconds(decided.current_s) : "–"]);
      rows.push(["predicted mean, proposed", decided ? seconds(decided.predicted_s) : "–"]);
    }
    fillTable(byId("capacity-plan"), "The active plan", [], rows);
  }

  showTimeline(state) {
    const kind = byId("capacity-filter").value;
    const events = [...state.events.values()].filter((event) => !kind || event.kind === kind).reverse();
    byId("capacity-timeline").replaceChildren(
      ...events.slice(0, 100).map((event) =>
        element(
          "li",
          { "data-kind": event.kind, "data-worker": event.worker },
          element("time", { datetime: new Date(1000 * event.at).toISOString() }, clock(event.at)),
          eventText(event),
        ),
      ),
    );
  }
}

function decisionText(decision) {
  return decision === null ? "has not looked yet" : `${decision.verdict}: ${decision.reason}`;
}

function eventText(event) {
  if (event.kind === "worker") return `${event.worker} ${event.what}${event.why ? `: ${event.why}` : ""}`;
  if (event.kind === "plan")
    return `${event.what}${event.seconds === null ? "" : ` after ${seconds(event.seconds)}`}: ${event.steps.join(", ")}`;
  if (event.kind === "decision") {
    const times = event.count > 1 ? ` (${event.count} times since ${clock(event.first_at)})` : "";
    const worth = event.gain_s || event.cost_s ? `, gain ${seconds(event.gain_s)}, cost ${seconds(event.cost_s)}` : "";
    const changes = event.changes.length ? `, changed: ${event.changes.join(", ")}` : "";
    return `controller: ${event.what}, ${event.why}${worth}${changes}${event.outcome ? `, ${event.outcome}` : ""}${times}`;
  }
  return event.kind === "thresholds" ? `thresholds ${event.what}` : event.what;
}
