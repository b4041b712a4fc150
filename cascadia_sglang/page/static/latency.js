// Percentiles of the last hour by path and tier; queues, thresholds and the gear of 15 minutes.

import { LineChart } from "./charts.js";
import { byId, fillSelect, fillTable, number, seconds, tierName } from "./dom.js";

const QUANTILE_COLOURS = ["--tier-0", "--tier-1", "--tier-3"];

export class LatencyPanel {
  constructor() {
    this.e2e = new LineChart(byId("latency-e2e"), { unit: " s", leastS: 600 });
    this.ttft = new LineChart(byId("latency-ttft"), { unit: " s", leastS: 600 });
    this.queue = new LineChart(byId("latency-queue"), { leastTop: 1 });
    this.thresholds = new LineChart(byId("latency-thresholds"), { leastTop: 1 });
  }

  show(state) {
    this.showQueues(state);
    if (state.recent === null) return;
    const { latency } = state.recent;
    const paths = Object.keys(latency.hour);
    fillSelect(byId("latency-path"), paths.map((path) => [path, path]));
    const chosen = byId("latency-path").value;
    const minutes = latency.minutes.filter((minute) => chosen in minute.paths);
    for (const [chart, key] of [[this.e2e, "e2e_s"], [this.ttft, "ttft_s"]]) {
      chart.update(
        minutes.map((minute) => minute.at),
        latency.quantiles.map((quantile, index) => ({
          name: `p${100 * quantile}`,
          colour: QUANTILE_COLOURS[index],
          values: minutes.map((minute) => minute.paths[chosen][key][index]),
        })),
      );
    }
    const row = (name, latencies) => [
      name,
      number(latencies.requests, 0),
      ...latencies.ttft_s.map(seconds),
      ...latencies.e2e_s.map(seconds),
    ];
    const heads = latency.quantiles.map((quantile) => `p${100 * quantile}`);
    fillTable(
      byId("latency-table"),
      "The last hour: first token, then whole request",
      ["tier or path", "requests", ...heads.map((head) => `TTFT ${head}`), ...heads.map((head) => `E2E ${head}`)],
      [
        ...Object.entries(latency.hour_by_tier).map(([name, latencies]) => row(tierName(name, state.tierIndex(name)), latencies)),
        ...paths.filter((path) => path.includes(">")).map((path) => row(path, latency.hour[path])),
      ],
    );
  }

  showQueues(state) {
    const times = state.rows.map((row) => row.at);
    const tierOf = new Map(state.status.workers.map((worker) => [worker.id, worker.tiers[0]]));
    this.queue.update(
      times,
      state.tiers.map((name, index) => ({
        name,
        colour: `--tier-${index % 6}`,
        values: state.rows.map((row) =>
          Object.entries(row.workers)
            .filter(([worker]) => tierOf.get(worker) === name)
            .reduce((sum, [, load]) => sum + (load.queued ?? 0), 0),
        ),
      })),
    );
    const below = state.tiers.slice(0, -1);
    this.thresholds.update(times, [
      ...below.map((name, index) => ({
        name: `threshold of ${name}`,
        colour: `--tier-${index % 6}`,
        values: state.rows.map((row) => row.thresholds[index]),
      })),
      { name: "gear", colour: "--bad", dash: [6, 4], values: state.rows.map((row) => row.gear) },
    ]);
  }
}
