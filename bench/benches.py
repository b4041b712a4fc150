"""Every bench, in the order in which `python -m bench run` takes them.

Those of real models: `bench.real.benches`.
"""

from __future__ import annotations

from bench.real.benches import REAL_BENCHES
from bench.registry import CHECKOUT, FILES, GPU, LITELLM, REAL_MODELS, Bench

BENCHES: tuple[Bench, ...] = (
    Bench(
        name="router.overhead",
        question="What does the cascade cost a request that its first tier answers?",
        writes=("results/router.csv", "results/router.md"),
    ),
    Bench(
        name="router.page",
        question="What does an open page cost in requests per second?",
        writes=("results/page.csv", "results/page.md"),
    ),
    Bench(
        name="router.versions",
        question="What does this version of the cascade cost against another?",
        writes=("results/versions.csv", "results/versions.md"),
        needs=(CHECKOUT,),
        inputs=("before",),
        smoke=("--before . --smoke",),
        is_in_all=False,
    ),
    Bench(
        name="router.start",
        question="How long do a start and one more worker take?",
        writes=("results/start.csv", "results/start.md"),
    ),
    Bench(
        name="router.fuzz",
        question="Does a body end a worker, get a 500, or cost another request its answer?",
        writes=("results/fuzz.csv",),
        minutes=11,
        runs=("--bodies 20000",),
        is_in_all=False,
    ),
    Bench(
        name="soak.run",
        question="Does each request end once and rightly, and does anything grow or stay, while "
        "processes are killed, stopped and moved?",
        writes=("results/soak.csv", "results/soak.md"),
        is_in_all=False,
    ),
    Bench(
        name="router.judge_cost",
        question="What does the judge cost in requests per second, and in host time of a step?",
        writes=("results/judge.csv", "results/judge.md"),
    ),
    Bench(
        name="router.fold_cost",
        question="What does folding a step cost the host, and a state on the device?",
        writes=("results/judge.csv",),
    ),
    Bench(
        name="router.step_cost",
        question="What does the judge's step on an accelerator cost the host, without launches?",
        writes=("results/judge.csv",),
    ),
    Bench(
        name="router.guard_cost",
        question="What does the check of a request before dispatch cost?",
        writes=("results/guard.csv",),
    ),
    Bench(
        name="serving.compare",
        question="What is the demo worth beside its tiers alone, and how near is its ceiling?",
        writes=("results/serving*.csv", "results/serving*.md"),
    ),
    Bench(
        name="serving.picture",
        question="How does accuracy go with requests per second? Drawn from those rows.",
        writes=("results/serving.svg",),
        smoke=(),
    ),
    Bench(
        name="serving.first_token",
        question="When does the first token come with `stream: commit`, and how right is it?",
        writes=("results/first_token.csv",),
    ),
    Bench(
        name="planner.solver",
        question="How long do the planner's deployment level and its parts take?",
        writes=("results/planner.csv", "results/planner_solver.md"),
    ),
    Bench(
        name="planner.routing",
        question="How far from the proved best do searches of thresholds end?",
        writes=("results/planner*.csv", "results/planner_routing.md"),
        before=("bench.planner.sample",),
        runs=("--demo",),
    ),
    Bench(
        name="calibration.quality",
        question="How good are the demo's scores on prompts that nothing has used?",
        writes=("results/calibration.csv",),
        before=(
            "demo.calibrate.answers --split calibration --chunks 5",
            "demo.calibrate.answers --split test --chunks 10",
        ),
        smoke=(),
    ),
    Bench(
        name="calibration.coverage",
        question="Do the promises of 200 fresh calibrations hold?",
        writes=("results/calibration.csv",),
        smoke=(),
    ),
    Bench(
        name="calibration.share",
        question="Does the asked share climb while the traffic changes, and which answers climb?",
        writes=("results/share.csv",),
    ),
    Bench(
        name="calibration.rank",
        question="How well does the built-in rank order the demo's answers, beside other weights?",
        writes=("results/rank.csv",),
    ),
    Bench(
        name="calibration.probe",
        question="What does a probe of the hidden state add to the scores?",
        writes=("results/calibration.csv",),
        before=(
            "bench.calibration.hidden --split calibration --chunks 5",
            "bench.calibration.hidden --split test --chunks 5",
        ),
        smoke=(),
    ),
    Bench(
        name="calibration.self_calibration",
        question="What does a server learn from its own labels, and does its bound hold?",
        writes=("results/self_calibration.csv",),
        is_in_all=False,
    ),
    Bench(
        name="entry.latency",
        question="How long does the entry model take for one prompt?",
        writes=("results/entry.csv",),
    ),
    Bench(
        name="entry.routing",
        question="How well does the entry model route on RouteLLM's evaluation sets?",
        writes=("results/entry.csv", "results/entry.md"),
        needs=(FILES,),
        inputs=("gsm8k", "mmlu"),
        smoke=("--smoke", "--router encoder --smoke"),
    ),
    Bench(
        name="entry.demo",
        question="What is a predicted entry worth in the demo?",
        writes=("results/entry.csv",),
        runs=("fit", "serve"),
        smoke=(),
    ),
    Bench(
        name="planner.speed",
        question="How many request-steps does the simulator do in a second?",
        writes=("results/planner.csv",),
    ),
    Bench(
        name="planner.whole",
        question="How long does a whole plan take from a trace, simulations included?",
        writes=("results/planner.csv",),
    ),
    Bench(
        name="planner.objectives",
        question="What does each objective of a plan give on a trace, simulated whole?",
        may_take=("trace",),
    ),
    Bench(
        name="planner.published_steps",
        question="How far is the roofline from decoding steps that engines publish?",
    ),
    Bench(
        name="planner.paper",
        question="What do the paper's experiments give, simulated? Nothing there is measured.",
        writes=("results/paper_simulated.csv", "planner/paper.md"),
    ),
    Bench(
        name="planner.simulator",
        question="How near do simulated latencies come to those of the real server?",
        writes=("results/simulator.csv",),
        runs=("--emulated", ""),
        smoke=("--emulated --smoke",),
    ),
    Bench(
        name="reallocation.moves",
        question="What does a move of capacity cost the requests under way?",
        writes=("results/moves.csv",),
        runs=("", "--unpaced"),
    ),
    Bench(
        name="reallocation.drift",
        question="What are re-planning and gears worth where the traffic changes?",
        writes=("results/drift.csv", "results/drift.md"),
        minutes=45,
    ),
    Bench(
        name="rivals.shift",
        question="How good is re-planning beside gears by rate, on traffic that shifts?",
        writes=("results/rivals_shift.csv", "results/rivals_shift.md"),
        minutes=23,
    ),
    Bench(
        name="prefix.index",
        question="How large and how fast is the prefix index?",
        writes=("results/prefix_index.csv",),
    ),
    Bench(
        name="prefix.moved",
        question="Do a tier's prefixes survive a move of capacity?",
        writes=("results/prefix_moved.csv",),
    ),
    Bench(
        name="prefix.warming",
        question="What is warming the next tier's cache worth, and what does it cost?",
        writes=("results/prefix_warming.csv",),
        runs=("", "--emulate"),
        smoke=("--smoke", "--emulate --smoke"),
    ),
    Bench(
        name="prefix.replay",
        question="Which worker should take a prompt, and where should it begin?",
        writes=("results/prefix_replay.csv", "results/prefix_replay.md"),
        needs=(FILES,),
        inputs=("trace",),
        smoke=(),
    ),
    Bench(
        name="drafts.rate",
        question="What is it worth that the next tier reads the answer before it?",
        writes=("results/verify.csv",),
    ),
    Bench(
        name="drafts.equal",
        question="Is an answer that began with a draft the tier's own?",
        writes=("results/verify.csv",),
    ),
    Bench(
        name="drafts.replay",
        question="How many steps per token does a draft save of real models' answers? From their "
        "records.",
        writes=("results/drafts_replay.csv",),
        needs=(REAL_MODELS,),
        inputs=("large",),
    ),
    Bench(
        name="drafts.second_judge",
        question="What is a second judge of drafts worth in the demo?",
        writes=("results/verify.csv",),
        is_in_all=False,
    ),
    Bench(
        name="rivals.compare",
        question="How does Cascadia compare with its tiers alone, a proxy that reads "
        "log-probabilities, that proxy behind LiteLLM, and routers, in closed and open loops?",
        writes=("results/rivals.csv", "results/rivals.md"),
        needs=(LITELLM,),
        minutes=41,
        may_take=("litellm",),
    ),
    Bench(
        name="rivals.longer",
        question="How does Cascadia compare with the proxy in rounds three times as long?",
        writes=("results/rivals_longer.csv", "results/rivals_longer.md"),
        minutes=7,
    ),
    Bench(
        name="rivals.parts",
        question="What is each part of the demo worth? The demo in turn with itself without it.",
        writes=("results/rivals_parts.csv", "results/rivals_parts.md"),
        minutes=3,
    ),
    Bench(
        name="rivals.picture",
        question="Which share of requests is in time over SLO scales, and how does accuracy go "
        "with latency? Drawn from the rows of `rivals.compare`.",
        writes=("results/rivals.svg", "results/rivals_curves.svg"),
        smoke=(),
    ),
    *REAL_BENCHES,
    Bench(
        name="kernel.run",
        question="How long do the judge's kernels take, beside PyTorch and others? Not run yet.",
        writes=("results/kernels.csv",),
        needs=(GPU,),
        smoke=(),
    ),
    Bench(
        name="kernel.compiled",
        question="How many registers and instructions does a kernel take? Printed, without a GPU.",
        smoke=(),
        is_in_all=False,
    ),
    Bench(
        name="gpu_check",
        question="What does a CUDA device show: kernels, engine, drafts, recovery, step times?",
        needs=(GPU,),
        minutes=8,
        smoke=(),
    ),
)
