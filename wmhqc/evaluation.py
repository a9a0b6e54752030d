"""The paper's experiment, the part that measures: maps, scores, predicted Dice, stress, one table of results.

The stages follow those of `wmhqc.experiment`, which says where each file lies. What a stage has found for a case is
kept with a key of what it was found from (the networks' weights, the case's fingerprint, the passes), and found
again where the key differs.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc import cohort, experiment, preprocess, regression, scores, training
from wmhqc.assess import assess, on_scan, predicted_dice
from wmhqc.experiment import fold_folder, load_case, parts, progress, settings
from wmhqc.files import load_maps, read_json, save_maps, sha256, write_json, write_table
from wmhqc.images import load_image

#: Artefacts of the stress test (`augment.ARTEFACTS`) and their severities.
STRESS = ("motion", "ghosting", "bias_field", "spike", "gaussian_noise", "low_resolution")
SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
#: Raise it with every change of what `infer` or `stress` finds, so that what was found before is found anew.
RECIPE = 2


def unseen(run, case: str) -> list[int]:
    """The folds whose networks have not learnt from a case: the one that tests it, then the one that validates it."""
    row = pd.read_csv(Path(run) / "folds.csv").set_index("case").loc[case]
    folds = {name: int(name.removeprefix("fold_")) for name in row.index}
    return [folds[name] for part in ("test", "validation") for name in row.index[row == part]]


def infer(run, fold: int) -> None:
    """Maps and scores of the test and validation cases of a fold, by its networks, which have not seen them.

    The ensemble of a case is the two networks that have not seen it: of the fold that tests it and of the fold
    that validates it.
    """
    chosen, part = settings(run), parts(run, fold)
    asked, table = part[part != "train"], cohort.read_csv(Path(run) / "cohort.csv").set_index("case", drop=False)
    network, rows = functools.cache(functools.partial(experiment.network, run)), []
    for case, role in progress(asked.items(), f"fold {fold}, maps", len(asked)):
        prepared, place = load_case(run, case), fold_folder(run, fold) / "maps" / f"{case}.npz"
        others = [other for other in unseen(run, case) if other != fold and _weights(run, other, "mc_unet").exists()]
        key = _key(run, [fold, *others], ("mc_unet", "rec_unet"), prepared, chosen["passes"])
        found = read_json(place.with_suffix(".json"), {})
        if found.get("key") != key or not place.exists():
            maps, row = assess(
                prepared,
                {name: [network(fold, name)] for name in ("mc_unet", "rec_unet")},
                passes=chosen["passes"],
            )
            row |= _on_scan(table.loc[case], prepared, maps["mean"])
            row |= _ensemble(prepared, [network(other, "mc_unet") for other in (fold, *others)])
            save_maps(place, mean=maps["mean"], error=maps["error"].astype(np.float32))
            found = {"key": key, "row": row}
            write_json(found, place.with_suffix(".json"))
        rows.append({"case": case, "split": role, **found["row"]})
    table = table[["case", "database", "site", "synthetic"]].reset_index(drop=True)
    write_table(table.merge(pd.DataFrame(rows)).assign(fold=fold), fold_folder(run, fold) / "maps.csv")


def _weights(run, fold, name) -> Path:
    return fold_folder(run, fold) / name / training.WEIGHTS


def _key(run, folds, names, prepared, passes) -> str:
    """What the result of a case depends on, as one hash."""
    weights = [sha256(path) for fold in folds for name in names if (path := _weights(run, fold, name)).exists()]
    return hashlib.sha256(json.dumps([RECIPE, weights, prepared.made_from, passes]).encode()).hexdigest()


def _on_scan(row, prepared, mean) -> dict:
    """As `wmhqc qc` measures it: its verdict reads the contrast, so its calibration cases have it too."""
    images = {name: load_image(row[name]) for name in ("t1", "flair", "brainmask") if cohort.given(row.get(name))}
    probability = np.asanyarray(preprocess.to_scan(mean, prepared).dataobj)
    found, truth = on_scan(images | {"lesion": cohort.load_lesion(row)}, probability >= 0.5)
    return found | truth


def _ensemble(prepared, models) -> dict:
    from wmhqc import uncertainty

    if len(models) < 2:
        return {"ensemble_pairwise_dice": np.nan, "ensemble_vs_uncertainty": np.nan}
    return scores.of_samples(
        "ensemble", uncertainty.summarise(uncertainty.ensemble(models, prepared.volume)), prepared.voxel_mm3
    )


def predict(run, fold: int) -> None:
    """Add what is learnt from training or validation cases: predicted Dice, VS residual, scaled expected Dice.

    The line of the VS residual and the temperature are fitted on validation cases, judged as the test cases are.
    """
    table = pd.read_csv(fold_folder(run, fold) / "maps.csv")
    table["vs_residual"] = scores.vs_residual(table, table["split"] == "validation")
    maps = {case: load_maps(fold_folder(run, fold) / "maps" / f"{case}.npz") for case in table["case"]}
    temperature, diagrams = _reliability(run, table, maps)
    write_table(diagrams.assign(fold=fold), fold_folder(run, fold) / "reliability.csv")
    nets = {f"reg_net_{pair}": [experiment.network(run, fold, f"reg_net_{pair}")] for pair in regression.PAIRS}
    rows = []
    for case in table["case"]:
        prepared, found = load_case(run, case), regression.with_entropy(maps[case])
        scaled = scores.expected_dice(found["mean"][prepared.brain > 0], temperature)
        predicted = predicted_dice(nets, found, prepared.volume[..., 1])
        rows.append({"case": case, "expected_dice_scaled": scaled, **predicted})
    table = table.merge(pd.DataFrame(rows)).assign(temperature=temperature)
    write_table(table, fold_folder(run, fold) / "cases.csv")


def _reliability(run, table, maps):
    """Temperature fitted on the validation voxels, and the reliability diagrams before and after."""
    voxels = []
    for case in table.loc[table["split"] == "validation", "case"]:
        prepared = load_case(run, case)
        inside = prepared.brain > 0
        voxels.append((maps[case]["mean"][inside], prepared.lesion[inside] > 0))
    p, lesion = (np.concatenate(values) for values in zip(*voxels, strict=True))
    temperature = scores.fit_temperature(p, lesion)
    diagrams = {1.0: p, temperature: scores.scale(p, temperature)}
    return temperature, pd.concat(scores.reliability(q, lesion).assign(temperature=t) for t, q in diagrams.items())


def stress(run, fold: int = 0, cases: int = 6) -> None:
    """Spoil test cases by artefacts of growing severity, and judge each: does trust fall as the Dice does?

    Writes the fold's `stress.csv`, one row for each case, artefact and severity (0: the scan as it is), with all
    scores that need no other samples. T1 and FLAIR are spoilt, the manual mask stays.
    """
    from wmhqc import augment

    chosen, part = settings(run), parts(run, fold)
    names = ("mc_unet", "rec_unet", *(f"reg_net_{pair}" for pair in regression.PAIRS))
    networks = {name: [experiment.network(run, fold, name)] for name in names}
    loads = pd.read_csv(fold_folder(run, fold) / "maps.csv").set_index("case")["true_ml"]
    test = loads[part.index[part == "test"]].sort_values().index
    # spread over the lesion loads
    test = [test[round(i)] for i in np.linspace(0, len(test) - 1, min(cases, len(test)))]
    rows = []
    for case in progress(test, "stress"):
        clean, place = load_case(run, case), fold_folder(run, fold) / "stress" / f"{case}.json"
        key = _key(run, [fold], names, clean, chosen["passes"])
        kept = read_json(place, {})
        if kept.get("key") != key:
            found = []
            for artefact, severity in [("none", 0.0), *((a, s) for a in STRESS for s in SEVERITIES)]:
                spoilt = dataclasses.replace(clean)
                if severity:
                    rng = np.random.default_rng([chosen["seed"], *case.encode(), *artefact.encode()])
                    spoilt.volume = augment.ARTEFACTS[artefact](clean.volume, severity, rng)
                _, row = assess(spoilt, networks, passes=chosen["passes"], other_samples=False)
                found.append({"artefact": artefact, "severity": severity, **row})
            kept = {"key": key, "rows": found}
            write_json(kept, place)
        rows += kept["rows"]
    write_table(pd.DataFrame(rows).assign(fold=fold), fold_folder(run, fold) / "stress.csv")


def gather(run) -> None:
    """Put the folds that are finished together, with a manifest of how they were made.

    `seen.csv` is read from the lineage of each network: the cases that it really drew.
    """
    run = Path(run)
    done = sorted(int(path.parent.name.removeprefix("fold_")) for path in run.glob("fold_*/cases.csv"))
    if not done:
        raise FileNotFoundError(f"{run} has no finished fold (fold_*/cases.csv)")
    for name in ("cases.csv", "reliability.csv", "stress.csv"):
        tables = [pd.read_csv(path) for fold in done if (path := fold_folder(run, fold) / name).exists()]
        if tables:
            write_table(pd.concat(tables), run / name)
    histories, seen = [], []
    for fold in done:
        for path in sorted(fold_folder(run, fold).glob("*/history.csv")):
            name = {"fold": fold, "network": path.parent.name}
            histories.append(training.read_history(path.parent).assign(**name))
            drawn = training.read_lineage(path.parent)["drawn"]
            seen += [name | {"case": case, "times": times} for case, times in sorted(drawn.items())]
    write_table(pd.concat(histories), run / "histories.csv")
    write_table(pd.DataFrame(seen), run / "seen.csv")
    table, prepared = pd.read_csv(run / "cohort.csv"), pd.read_csv(run / "prepared.csv")
    manifest = {
        "settings": settings(run),
        "cases": len(table),
        "synthetic": int(table["synthetic"].astype(bool).sum()),
        "cohort_sha256": hashlib.sha256("".join(sorted(prepared["made_from"])).encode()).hexdigest(),
        "folds": done,
        "training_minutes": round(float(pd.concat(histories)["seconds"].sum()) / 60, 1),
        "versions": {name: _version(name) for name in ("wmhqc", "keras", "tensorflow", "numpy", "scipy")}
        | {"python": platform.python_version()},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "created": time.strftime("%Y-%m-%d"),
    }
    write_json(manifest, run / "manifest.json")


def _version(name: str) -> str:
    """Version of a package; some are installed under another name (tensorflow-cpu), or run from a checkout."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
