// Ask a prompt and watch the answer, in the colour of its tier.

import { api } from "./api.js";
import { byId, element, number } from "./dom.js";

export class PlaygroundPanel {
  constructor() {
    this.state = null;
    this.control = null;
    byId("playground-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.control === null) this.ask();
    });
    byId("playground-stop").addEventListener("click", () => this.control?.abort());
  }

  show(state) {
    this.state = state;
  }

  setBusy(isBusy) {
    byId("playground-ask").disabled = isBusy;
    byId("playground-stop").disabled = !isBusy;
    if (!isBusy) this.control = null;
  }

  async ask() {
    const answer = byId("playground-answer");
    const message = byId("playground-state");
    const admin = byId("playground-admin").value;
    const rid = `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    this.control = new AbortController();
    this.setBusy(true);
    answer.replaceChildren();
    answer.style.removeProperty("--tier");
    byId("playground-discarded").replaceChildren();
    message.className = "";
    message.textContent = "asking";
    try {
      if (admin) await api.discarded(admin, rid, true);
      await this.stream(rid, answer, message);
      if (admin) this.showDiscarded((await api.discarded(admin, rid, false)).attempts);
    } catch (error) {
      message.className = "bad";
      message.textContent = error.name === "AbortError" ? "Stopped." : `No answer: ${error.message}`;
    } finally {
      this.setBusy(false);
    }
  }

  async stream(rid, answer, message) {
    const begun = performance.now();
    const body = {
      model: "cascadia",
      messages: [{ role: "user", content: byId("playground-prompt").value }],
      max_tokens: Number(byId("playground-tokens").value),
      stream: true,
      rid,
    };
    const response = await api.chat(byId("playground-key").value, body, this.control.signal);
    if (!response.ok) throw new Error(await errorText(response));
    const tier = response.headers.get("x-cascadia-tier");
    if (tier !== null) this.colour(answer, tier);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      held += value;
      const lines = held.split("\n");
      held = lines.pop();
      for (const line of lines) this.takeLine(line, answer);
    }
    const score = response.headers.get("x-cascadia-score");
    const known = [
      tier === null ? null : `answered by ${tier}`,
      score === null ? null : `score ${number(Number(score), 3)}`,
      response.headers.get("x-cascadia-reason"),
      `${number((performance.now() - begun) / 1000, 2)} s`,
    ];
    message.textContent = known.filter((part) => part !== null).join(", ");
  }

  takeLine(line, answer) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") return;
    const event = JSON.parse(line.slice(6));
    if (event.error) throw new Error(event.error.message ?? "the stream ended with an error");
    const delta = event.choices?.[0]?.delta ?? {};
    answer.append(delta.reasoning_content ?? "", delta.content ?? "");
  }

  colour(target, tier) {
    target.style.setProperty("--tier", `var(--tier-${this.state.tierIndex(tier) % 6})`);
  }

  showDiscarded(attempts) {
    byId("playground-discarded").replaceChildren(
      ...attempts.map((attempt) => {
        const head = `${attempt.tier}, ${attempt.reason}, score ${number(attempt.score, 3)}`;
        const text = element("p", {}, attempt.text);
        this.colour(text, attempt.tier);
        return element("div", {}, element("span", { class: "soft" }, head), text);
      }),
    );
  }
}

async function errorText(response) {
  try {
    const body = await response.json();
    const { error } = body;
    return error?.message ?? body.message ?? error ?? `status ${response.status}`;
  } catch {
    return `status ${response.status}`;
  }
}
