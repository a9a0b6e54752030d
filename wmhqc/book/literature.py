"""The 29 studies that the paper's supplement reviews, and the counts of its search.

Source of the facts: supplement A of Williams, Niehaus and colleagues (arXiv:2112.03277), its
table and its text, cleaned. What was changed, and which columns are ours, stands in
`wmhqc/data/README.md`. An empty cell is what the supplement does not state.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import combinations

import pandas as pd

from wmhqc.book.figures import BLUE, GREY, ORANGE, closed

#: Columns of `studies` that hold one value or more, and the values they may have.
CATEGORIES = {
    "target": (
        "brain tumour", "MS lesion", "stroke lesion", "brain structures", "heart", "pancreas", "prostate", "lung",
        "several organs", "skin lesion", "retinal vessels", "not stated",
    ),
    "pathology": (
        "healthy", "Alzheimer's disease", "cancer", "chest", "heart", "lung", "multiple sclerosis", "pancreatic cancer",
        "prostate", "skin lesion", "stroke",
    ),
    "modality": ("MRI", "CT", "photograph"),
    "family": (
        "Monte Carlo dropout", "test-time augmentation", "ensemble", "auxiliary network", "latent-variable network",
        "other Bayesian", "shadowed sets", "reverse classification", "generative model", "quality network",
    ),
    "approach": ("map", "score of a case", "predicted quality"),
    "kind": (
        "correlation", "error", "classification", "segmentation Dice", "other number", "words", "nothing",
    ),
}  # fmt: skip
#: Kinds of number that compare the output of quality control with the true quality of the mask.
JUDGED = ("correlation", "error", "classification")
SEPARATOR = "; "
#: Columns of numbers, of which some are not known.
NUMBERS = ("year", "reference", "sample", "r", "mae")
#: Columns of `studies` for the reader, and their headings.
SHOWN = {
    "study": "Study", "reported": "Reported", "target": "Target", "pathology": "Pathology", "qc_method": "QC method",
    "family": "Family", "approach": "Approach", "modality": "Images", "kind": "Kind of result", "r": "r", "mae": "MAE",
    "sample": "Sample", "year": "Year", "segmentation_quality": "Segmentation", "note": "Our note",
}  # fmt: skip

#: Studies left after each step of the search in Web of Science, as supplement A.C prints them;
#: the second is the difference of the first and the 6 duplicates.
WEB_OF_SCIENCE = {
    "found in Web of Science": 635,
    "without duplicates": 635 - 6,
    "chosen by abstract": 35,
    "chosen by further screening": 21,
    "relevant in full text": 14,
}
#: Studies added in other ways, from the same place.
ELSEWHERE = {
    "Google Scholar": 3,
    "reference lists": 7,
    "Google Scholar, on error maps": 1,
    "papers that cite that one": 4,
}
#: What the supplement gives as the two ends of its flow diagram.
PRINTED = {"identified": 643, "included": 29}


def studies() -> pd.DataFrame:
    """The 29 reviewed studies, one row each, in the order of the supplement.

    Returns
    -------
    DataFrame
        `key` (in the book's bibliography), `study`, `year`, `printed` (the cut-off name in the
        supplement), `reference` (number in the paper's list, NaN if it is not there); `target`,
        `pathology` of the people, `modality`, `sequences`, `sample` (size as printed; patients,
        scans or images);
        `segmentation`, `segmentation_quality`; `qc_method`, `family`, `approach`; what is
        reported for quality control: `kind`, `reported`, `r` and `mae` (correlation with the true
        quality, and mean absolute error, where printed); `note` (ours), `url`.
    """
    table = pd.read_csv(files("wmhqc") / "data" / "literature.csv")
    return table.fillna(dict.fromkeys(table.columns.difference(NUMBERS), ""))


def count(table: pd.DataFrame, column: str) -> pd.Series:
    """Studies by value of a column of `CATEGORIES`; one with two values counts for both."""
    if column not in CATEGORIES:
        raise ValueError(f"column must be one of {', '.join(CATEGORIES)}, got {column!r}")
    counted = table[column].str.split(SEPARATOR).explode().value_counts()
    return counted.reindex(CATEGORIES[column], fill_value=0).rename("studies")


def judged(table: pd.DataFrame) -> pd.Series:
    """True for studies with a number that compares quality control with the true quality."""
    return table["kind"].str.split(SEPARATOR).map(lambda kinds: any(kind in JUDGED for kind in kinds))


def prisma() -> pd.DataFrame:
    """The search as a flow, in the manner of the PRISMA statement.

    Returns
    -------
    DataFrame, one row a step
        `studies` left after it, `left_out` by it.
    """
    flow = pd.Series(WEB_OF_SCIENCE).rename_axis("step").to_frame("studies")
    flow.loc["included"] = flow["studies"].iloc[-1] + sum(ELSEWHERE.values())
    flow["left_out"] = -flow["studies"].diff().clip(upper=0).fillna(0).astype(int)
    return flow


def identified() -> dict[str, int]:
    """Sums of the supplement's own numbers that should be the studies "identified"; it prints 643."""
    web, unique = WEB_OF_SCIENCE["found in Web of Science"], WEB_OF_SCIENCE["without duplicates"]
    elsewhere = sum(ELSEWHERE.values())
    return {
        "all": web + elsewhere,
        "all, without duplicates": unique + elsewhere,
        "Web of Science without duplicates": unique,
    }


def sums_to(total: int) -> pd.DataFrame:
    """Ways to come to `total` from the supplement's numbers, if some of the papers from elsewhere are forgotten.

    Returns
    -------
    DataFrame, one row a way
        `sum`, as text; `start`: the step of Web of Science it begins with, with or without the
        duplicates; `forgotten`: the ways of `ELSEWHERE` that it leaves out.
    """
    rows = []
    for start in ("found in Web of Science", "without duplicates"):
        for size in range(len(ELSEWHERE), -1, -1):
            for counted in combinations(ELSEWHERE, size):
                numbers = [WEB_OF_SCIENCE[start], *(ELSEWHERE[way] for way in counted)]
                if sum(numbers) == total:
                    forgotten = ", ".join(way for way in ELSEWHERE if way not in counted)
                    rows.append((" + ".join(map(str, numbers)), start, forgotten))
    return pd.DataFrame(rows, columns=["sum", "start", "forgotten"])


def draw_prisma():
    """The flow of `prisma` as a diagram.

    Returns
    -------
    matplotlib.figure.Figure
        Left: what is left of Web of Science after each step. Right: what each step leaves out,
        and what comes from elsewhere.
    """
    import matplotlib.pyplot as plt

    flow = prisma()
    figure, axes = plt.subplots(figsize=(5.6, 6), layout="constrained", facecolor="white")
    axes.set(xlim=(0, 10), ylim=(-5.9, 0.5))
    axes.set_axis_off()
    face = {"boxstyle": "round,pad=0.5", "linewidth": 1.4, "facecolor": "white"}

    def box(x, y, text, colour):
        edge = face | {"edgecolor": colour}
        axes.text(x, y, text, ha="center", va="center", linespacing=1.5, fontsize=11, color="#222222", bbox=edge)

    def arrow(start, end):
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 1.3})

    places = [0, -1, -2, -3, -4, -5.2]
    for y, above, (step, row) in zip(places, [None, *places], flow.iterrows()):
        if above is not None:
            arrow((2.6, above - 0.27), (2.6, y + 0.3))
        if row["left_out"]:
            middle = (above + y) / 2
            arrow((2.6, middle), (6.15, middle))
            what = "duplicates" if step == "without duplicates" else "left out"
            axes.text(6.3, middle, f"{row['left_out']} {what}", va="center", fontsize=11, color="#222222")
        box(2.6, y, f"{row['studies']} {step}", ORANGE if step == "included" else BLUE)
    lines = [f"{sum(ELSEWHERE.values())} from elsewhere:"] + [f"{n} {way}" for way, n in ELSEWHERE.items()]
    box(7.75, -5, "\n".join(lines), GREY)
    arrow((4.95, -5.2), (3.75, -5.2))
    return closed(figure)


def draw_counts(table: pd.DataFrame, column: str, marked: tuple[str, ...] = ()):
    """Studies by value of a column of `CATEGORIES`, as bars; values in `marked` in orange, hatched.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    counted = count(table, column)[::-1]
    figure, axes = plt.subplots(figsize=(5.6, 0.6 + 0.36 * len(counted)), layout="constrained", facecolor="white")
    bars = axes.barh(counted.index, counted, color=[ORANGE if name in marked else BLUE for name in counted.index])
    for bar, name in zip(bars, counted.index, strict=True):
        if name in marked:
            bar.set(hatch="//", edgecolor="white")
    axes.bar_label(bars, padding=3)
    axes.set(xlabel="studies", xticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return closed(figure)
