// Prefix caches, warming, drafts, and tokens that a step brings.

import { byId, fillTable, number, percent, tierName } from "./dom.js";
import { State } from "./state.js";

export class CachesPanel {
  show(state) {
    const sums = State.sums(state.rows);
    const of = (kind, name) => State.total(sums, kind, name);
    const share = (part, whole) => (whole ? percent(part / whole) : "–");
    fillTable(
      byId("caches-table"),
      "The last 15 minutes; warming and drafts since the start",
      ["tier", "prompt tokens cached", "warmed", "used", "wasted", "drafts read", "draft tokens kept", "steps per token", "tokens discarded"],
      state.status.tiers.map((tier, index) => {
        const { warm, drafts } = tier;
        const written = of("tokens", tier.name);
        const kept = of("kept_tokens", tier.name);
        return [
          tierName(tier.name, index),
          share(of("cached_tokens", tier.name), of("prompt_tokens", tier.name)),
          warm === null ? "off" : number(warm.warmed_tokens, 0),
          warm === null ? "off" : number(warm.used_tokens, 0),
          warm === null ? "off" : number(Math.max(0, warm.warmed_tokens - warm.used_tokens), 0),
          drafts === null ? "off" : number(drafts.read, 0),
          drafts === null ? "off" : share(drafts.kept_tokens, drafts.read_tokens),
          written + kept ? number(written / (written + kept), 2) : "–",
          share(State.total(sums, "tokens", tier.name, "discarded"), written),
        ];
      }),
    );
    const { prefixes } = state.status;
    fillTable(
      byId("caches-workers"),
      `Prefix index: ${number(prefixes.blocks, 0)} blocks, ${number(prefixes.bytes / 1e6, 2)} MB, of 1,000 predictions ${number(prefixes.told.stale_per_1000)} stale by events, ${number(prefixes.guessed.stale_per_1000)} guessed`,
      ["worker", "prefix tokens held"],
      Object.entries(prefixes.held_tokens).map(([worker, tokens]) => [worker, number(tokens, 0)]),
    );
  }
}
