// What the server has reported so far, bounded as the server's own history is.

const MOST_ROWS = 900;
const MOST_REQUESTS = 200;
const MOST_EVENTS = 300;

export class State {
  constructor() {
    this.forget();
  }

  forget() {
    this.last = { row: 0, request: 0, event: 0 };
    this.rows = [];
    this.requests = [];
    this.events = new Map();
    this.status = null;
    this.plan = null;
    this.hasSample = false;
    this.recent = null;
    this.at = 0;
    this.intervalS = 1;
  }

  /** Take an answer of `live`. Lower numbers are those of a server that was started again. */
  take(live) {
    const { last } = live;
    const isRestarted = ["row", "request", "event"].some((name) => last[name] < this.last[name]);
    if (isRestarted) this.forget();
    this.rows = [...this.rows, ...live.rows].slice(-MOST_ROWS);
    this.requests = [...this.requests, ...live.requests].slice(-MOST_REQUESTS);
    for (const event of live.events) {
      this.events.delete(event.key);
      this.events.set(event.key, event);
    }
    while (this.events.size > MOST_EVENTS) this.events.delete(this.events.keys().next().value);
    this.last = last;
    this.status = live.status;
    this.plan = live.plan;
    this.hasSample = live.has_sample;
    this.at = live.at;
    this.intervalS = live.interval_s;
  }

  get tiers() {
    return this.status.tiers.map((tier) => tier.name);
  }

  tierIndex(name) {
    return this.status.tiers.findIndex((tier) => tier.name === name);
  }

  /** Rows of the last seconds. */
  span(seconds) {
    return this.rows.slice(-Math.ceil(seconds / this.intervalS));
  }

  /** How long these rows are, together. */
  static seconds(rows) {
    return Math.max(
      1e-3,
      rows.reduce((sum, row) => sum + row.seconds, 0),
    );
  }

  /** By flow: how many in these rows. */
  static sums(rows) {
    const sums = {};
    for (const row of rows)
      for (const [flow, count] of Object.entries(row.flows)) sums[flow] = (sums[flow] ?? 0) + count;
    return sums;
  }

  /** How many in `sums` have labels that begin so: `total(sums, "answer", "small")`. */
  static total(sums, ...labels) {
    const start = labels.join("/");
    let total = 0;
    for (const [flow, count] of Object.entries(sums))
      if (flow === start || flow.startsWith(`${start}/`)) total += count;
    return total;
  }
}
