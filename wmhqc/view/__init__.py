"""Explorers: small interactive figures that compute in the reader's browser.

Each explorer is one widget in three places. In JupyterLab and in Colab it is an
ordinary Jupyter widget (anywidget). On a page of the book, where no Python runs, its
`text/html` view mounts the same JavaScript module with a few lines of script: no
request, no kernel, and it works from a file that was opened with a double click.
"""

from wmhqc.view.artefacts import ArtefactExplorer, artefacts
from wmhqc.view.brains import QuizExplorer, quiz
from wmhqc.view.dropout import PassesExplorer, passes, running
from wmhqc.view.guarantee import GuaranteeExplorer, guarantee
from wmhqc.view.looks import TraysExplorer, trays, trays_numbers
from wmhqc.view.pictures import CaseExplorer, SliceExplorer, cases, slices
from wmhqc.view.predictions import CalibrationExplorer, CommitExplorer, calibration, calibration_numbers, commit
from wmhqc.view.tables import TableExplorer, table
from wmhqc.view.tertiles import BurdenExplorer, burden
from wmhqc.view.thresholds import ThresholdExplorer, threshold, threshold_numbers
from wmhqc.view.volume import HoldExplorer, hold, hold_numbers
from wmhqc.view.widget import Explorer
