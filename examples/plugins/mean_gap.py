"""A metric: how far the mean of samples lies from that of unseen examples."""

import trilemma as tl


def mean_gap(context) -> tl.Score:
    test = context.data.test.x.flatten(1).double()
    spread = test.std(0).clamp(min=test.std().item() / 100)

    def gap(x) -> float:
        return float(((x.flatten(1).double().mean(0) - test.mean(0)) / spread).abs().mean())

    return tl.Score(
        gap(context.samples),
        floor=gap(context.data.train.x[: context.n]),
        n=context.n,
        protocol=f"{context.n} samples, {len(test)} test examples, all coordinates alike",
    )


tl.METRICS["mean_gap"] = tl.Metric(
    name="mean_gap",
    label="mean gap",
    better="lower",
    unit="spreads",
    meaning="How far samples lie from unseen data in the mean, in spreads of a coordinate.",
    failure="It sees the means alone: one grey image, the mean of all, has almost none.",
    kinds=("image", "points"),
    least=0.0,
    measure=mean_gap,
)
