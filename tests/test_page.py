import numpy as np
import pandas as pd

from wmhqc import page


def test_credit_names_each_source_once():
    table = pd.DataFrame(
        {
            "case": ["a", "b", "c"],
            "licence": ["CC BY", "CC BY", np.nan],
            "citation": ["One et al.", "One et al.", np.nan],
        }
    )
    assert page.credit(table) == "Real scans: One et al. (licence CC BY)."


def test_synthetic_scans_say_so():
    assert page.credit(pd.DataFrame({"case": ["a"]})).startswith("Synthetic scans")


def test_glue_needs_no_page():
    page.glue(number=np.float64(0.5), text="x")
