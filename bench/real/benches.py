"""The benches of real models: what they are asked, and what their records show."""

from __future__ import annotations

from bench.registry import LITELLM, REAL_LADDER, REAL_MODELS, Bench

REAL_BENCHES: tuple[Bench, ...] = (
    Bench(
        name="real.observe",
        question="What do two real models answer to 1,800 questions, with which features?",
        writes=("real/records.jsonl",),
        needs=(REAL_MODELS,),
        inputs=("small", "large"),
    ),
    Bench(
        name="real.record",
        question="What do two real models answer to 3,314 questions, token by token?",
        writes=("real/answers.jsonl.gz",),
        needs=(REAL_MODELS,),
        inputs=("small", "large"),
    ),
    Bench(
        name="real.share",
        question="Without a calibration: what share of three mixes climbs, and how well chosen?",
        writes=("results/real.csv", "results/real.md"),
        needs=(REAL_MODELS,),
        inputs=("small", "large"),
    ),
    Bench(
        name="real.rank",
        question="How well does the built-in rank order real models' answers, beside the least "
        "log-probability of a token? From their records.",
        writes=("results/real.csv",),
        is_in_all=False,
    ),
    Bench(
        name="real.judge_quality",
        question="How good is the judge's score on real answers: in domain, in other wordings, on "
        "a kind it never saw, across sets? From their records.",
        writes=("results/real_judge.csv", "results/real_judge.md"),
        smoke=(),
        is_in_all=False,
    ),
    Bench(
        name="real.hidden",
        question="Which hidden states gave the last tokens of real answers? Kept outside git.",
        needs=(REAL_MODELS,),
        smoke=(),
        inputs=("small", "large"),
    ),
    Bench(
        name="real.probe",
        question="What does a probe of hidden states add to the judge's score on real answers?",
        writes=("results/real_judge.csv",),
        smoke=(),
        is_in_all=False,
    ),
    Bench(
        name="real.gain",
        question="What share of real answers must climb, by doubt and by expected gain? From "
        "their records.",
        writes=("results/real_gain.csv", "results/real_gain.md"),
        smoke=(),
        is_in_all=False,
    ),
    Bench(
        name="real.judge_model",
        question="How well does the larger model judge the smaller one's answers over HTTP?",
        writes=("results/real_judge.csv",),
        needs=(REAL_MODELS,),
        inputs=("small", "large"),
    ),
    Bench(
        name="real.drafts",
        question="What do drafts save a real model: answers written anew, read as a prefix, found "
        "again after each difference?",
        writes=("results/real_drafts.csv",),
        needs=(REAL_MODELS,),
        inputs=("small", "large"),
    ),
    Bench(
        name="real.live",
        question="How does a cascade of two real models compare with each alone, a proxy that "
        "reads log-probabilities, that proxy behind LiteLLM, and a router, at equal accuracy?",
        writes=("results/real_live.csv", "results/real_live.md"),
        needs=(REAL_MODELS, LITELLM),
        # In one piece; by itself it ends after 40 minutes, and goes on when it is run again.
        runs=("--minutes 240",),
        smoke=(),
        inputs=("small", "large"),
        may_take=("litellm",),
    ),
    Bench(
        name="real.early_aborts",
        question="How many tokens does it save to end hopeless answers early, and which are ended "
        "wrongly? From real records.",
        writes=("results/real_early_aborts.csv",),
        smoke=(),
        is_in_all=False,
    ),
    Bench(
        name="real.calibrations.pair",
        question="Which calibration do the two Qwen models in `examples/` get from their records?",
        writes=("../examples/qwen2.5-coder/*",),
        is_in_all=False,
    ),
    Bench(
        name="drafts.ladder",
        question="Across tokenizers: do answers with drafts differ from those without only at "
        "near ties?",
        writes=("results/drafts_ladder.csv",),
        needs=(REAL_LADDER,),
        inputs=("tiny", "small", "large"),
    ),
    Bench(
        name="real.calibrations.ladder",
        question="What calibrations does a ladder of two tokenizers get on 300 short questions?",
        writes=("../examples/smollm2-qwen2.5-coder/*.json",),
        needs=(REAL_LADDER,),
        inputs=("tiny", "small", "large"),
    ),
    Bench(
        name="real.alarm",
        question="Does the drift alarm ring where a kind of question is new? From real records.",
        writes=("results/real_alarm.csv",),
        smoke=(),
        is_in_all=False,
    ),
)
