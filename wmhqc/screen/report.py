"""The report of a judged scan: one self-contained HTML page, readable offline."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel as nib
import numpy as np

from wmhqc import preprocess
from wmhqc.screen.inputs import INPUTS
from wmhqc.screen.labels import KINDS, LABELS
from wmhqc.screen.render import at_most, render

#: Longest edge of the pictures in a report, in voxels.
EDGE = 112


def case(judgement) -> str:
    """The report of one scan as HTML.

    Parameters
    ----------
    judgement : wmhqc.screen.judge.Judgement
        With a record that `wmhqc.screen.batch` has completed (inputs, files, software, notes).
    """
    record = judgement.record
    return render(
        "case.html",
        title=f"Can you trust this mask? {record['case']}",
        record=record,
        explorer=viewer(judgement).to_html(),
        labels=LABELS,
        kinds=KINDS,
        inputs=INPUTS,
        outside=outside,
        share_or_chance=share_or_chance,
    )


def share_or_chance(record: Mapping) -> str:
    """What tells the guarantee of a record from its chance of failure; empty where there are not both."""
    promised, failed = record["guarantee"], record["failure"]
    if not promised["possible"] or failed["chance"] is None:
        return ""
    made = f", {failed['synthetic']} of them synthetic" if failed["synthetic"] else ""
    return (
        f"That is not the guarantee: “at most {at_most(promised['risk'])}” is the share of failures among accepted "
        f"scans like the calibration cases, and {promised['cases']} cases stand behind it; the chance is that of this "
        f"one mask, read off a curve over all {failed['cases']} labelled cases{made}."
    )


#: In a page: the frame is as high as the report's first part, and light or dark with the page.
FITTED = """
const inside = this.contentDocument.documentElement, page = document.documentElement;
const fit = () => { this.style.height = inside.querySelector('#rest').offsetTop + 'px'; };
const tint = () => { if (page.dataset.theme) inside.dataset.theme = page.dataset.theme; };
new ResizeObserver(fit).observe(inside.querySelector('body'));
new MutationObserver(tint).observe(page, {attributes: true, attributeFilter: ['data-theme']});
tint();
"""
OPENED = """
const report = this.parentElement.querySelector('iframe').srcdoc;
window.open(window.URL.createObjectURL(new Blob([report], {type: 'text/html'})));
"""


def frame(html: str, title: str):
    """A report within a page of the book, as IPython shows it: its first part, and a button that opens it whole."""
    from html import escape

    from IPython.display import HTML

    style = "width: 100%; height: 900px; border: 1px solid #8a95a4; border-radius: 10px"
    framed = (
        f'<iframe srcdoc="{escape(html)}" title="{escape(title)}" style="{style}" onload="{escape(FITTED)}"></iframe>'
    )
    style = "padding: 0.25em 0.9em; border: 1px solid; border-radius: 9em; background: none; font: inherit"
    style += "; color: var(--pst-color-text-base, inherit)"
    button = f'<button type="button" style="{style}" onclick="{escape(OPENED)}">Open the whole report</button>'
    # within a div, as IPython warns of what begins with an iframe; its class keeps the page's dark ground
    return HTML(f'<div class="wmhqc-report">{framed}{button}</div>')


def viewer(judgement):
    """Slice explorer of the scan and its maps, on the scan's own axes."""
    from wmhqc import view

    images, prepared = judgement.images, judgement.prepared
    crop = tuple(slice(*edge) for edge in prepared.box)
    edges = np.sqrt((prepared.affine[:3, :3] ** 2).sum(axis=0))
    lengths = edges * [stop - start for start, stop in prepared.box]
    # In plane not finer than EDGE voxels over the longest edge; thick slices stay as they are.
    shape = tuple(np.maximum(1, np.round(lengths / np.maximum(edges, lengths.max() / EDGE))).astype(int).tolist())
    brain = np.asanyarray(images["brainmask"].dataobj)[crop] > 0 if "brainmask" in images else None

    def cut(name: str) -> np.ndarray:
        array = np.asanyarray(images[name].dataobj)[crop].astype(np.float32)
        if name in ("t1", "flair"):
            array = preprocess.scale(array, array > 0 if brain is None else brain)
        return preprocess.resize(array, shape, 1)

    volumes = {
        "T1": "t1",
        "FLAIR": "flair",
        "Prediction (probability)": "prediction",
        "Uncertainty (bit)": "uncertainty",
        "Error (FLAIR − rebuilt)": "error",
    }
    contours = {"our segmentation": "mask", "given segmentation": "segmentation", "manual mask": "lesion"}
    judged = "segmentation" if "segmentation" in images else "mask"
    contours = dict(sorted(contours.items(), key=lambda item: item[1] != judged))  # the judged one first
    return view.slices(
        {label: cut(name) for label, name in volumes.items()},
        {label: cut(name) >= 0.5 for label, name in contours.items() if name in images},
        colors={"Uncertainty (bit)": "cividis", "Error (FLAIR − rebuilt)": "diverging"},
        axes="".join(nib.aff2axcodes(prepared.affine)),
        spacing=tuple(lengths / shape),
        size=max(shape),
        caption=f"Slices of {judgement.record['case']}, with the outlines of the masks.",
    )


def outside(value, usual) -> str:
    """▲ above the range, ▼ below it, nothing within it or where either is unknown."""
    if value is None or not usual or None in usual:
        return ""
    return "▲" if value > usual[1] else "▼" if value < usual[0] else ""
