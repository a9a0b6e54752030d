"""The catalogue of scores."""

from wmhqc import catalogue


def test_every_score_is_explained():
    for name, score in catalogue.scores().items():
        assert name == score.name and score.sign in (1, -1)
        assert score.label and score.needs and score.meaning, name


def test_no_two_scores_have_one_name_or_label():
    table = catalogue.table()
    assert table.index.is_unique and table["label"].is_unique and list(table.index) == list(catalogue.scores())


def test_what_it_says_of_the_papers_score_and_of_strangers():
    score = catalogue.scores()["vs_uncertainty"]
    assert (catalogue.sign("vs_uncertainty"), score.unit, score.needs) == (1, "mm³ bit", "passes")
    assert catalogue.sign("mean_entropy") == -1 and catalogue.sign("my_own_score") == 1
