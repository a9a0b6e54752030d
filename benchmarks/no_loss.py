"""Does speed cost quality? Test cases of the reference run, segmented by the engine and by other ways.

    python benchmarks/no_loss.py [--cases 3] [--seeds 3]

engine    `wmhqc.uncertainty.monte_carlo`
loop      whole passes of the paper's layers, one call each
bfloat16  the engine with Keras' policy mixed_bfloat16: half the memory, numbers of 8 bits' precision
"""

from __future__ import annotations

import argparse

import pandas as pd

COLUMNS = ("lesion_dice", "mean_entropy", "vs_uncertainty")


def compare(cases: int = 3, seeds: int = 3, passes: int = 20) -> pd.DataFrame:
    """One row for each case, way and seed, with Dice, mean entropy in the mask, and VS."""
    import keras

    from wmhqc import networks, preprocess, reference, scores, uncertainty
    from wmhqc.sources import synthetic

    size = reference.manifest()["settings"]["size"]
    test = reference.cases("test").query("fold == 0").sort_values("true_ml")
    prepared = []
    for row in test.iloc[[len(test) * (i + 1) // (cases + 1) for i in range(cases)]].itertuples():
        made = synthetic.make_case(row.case, row.site)
        prepared.append(preprocess.prepare(row.case, made.t1, made.flair, made.lesion, made.brainmask, size))
    fast, plain = reference.network("mc_unet"), networks.mc_unet(size, fused=False)
    networks.copy_weights(fast, plain)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = networks.mc_unet(size)
    keras.config.set_dtype_policy("float32")
    half.set_weights(fast.get_weights())

    def loop(volume, seed):
        uncertainty._seed_dropout(plain, seed)
        return uncertainty.summarise(plain.predict_on_batch(volume[None])[0, ..., 1] for _ in range(passes))

    ways = {
        "engine": lambda volume, seed: uncertainty.monte_carlo(fast, volume, passes, seed),
        "loop": loop,
        "bfloat16": lambda volume, seed: uncertainty.monte_carlo(half, volume, passes, seed),
    }
    rows = []
    for case in prepared:
        for way, segment in ways.items():
            for seed in range(seeds):
                found = scores.row(case, segment(case.volume, seed))
                rows.append({"case": case.case, "way": way, "seed": seed} | {name: found[name] for name in COLUMNS})
    return pd.DataFrame(rows)


def by_way(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over cases and seeds, and the spread (standard deviation) between seeds of one case."""
    groups = table.groupby(["way", "case"], sort=False)[list(COLUMNS)]
    return pd.concat(
        {"mean": groups.mean().groupby("way").mean(), "between seeds": groups.std().groupby("way").mean()}, axis=1
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(by_way(compare(given.cases, given.seeds)).round(4).to_string())
