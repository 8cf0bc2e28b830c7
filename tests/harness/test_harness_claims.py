import numpy as np
import pytest
from harness_toys import toy_rows

from steppe.core import KindError
from steppe.harness import (
    AbsentColumnError,
    AtLeast,
    AtMost,
    Control,
    Equal,
    Invariant,
    Judgement,
    Ordered,
    PowerLaw,
    Predicate,
    Row,
    Rows,
    Settles,
    Share,
    SlopesOrdered,
    Within,
)

SEEDS = range(6)
SIZES = (16, 64, 256, 1024)
GENERATOR = np.random.default_rng(0)


def table(value, **axes):
    """Rows whose column `y` is value(**cell), over a product of axes."""
    from steppe.harness import Grid

    return toy_rows([(cell, {"y": value(**cell)}) for cell in Grid(**axes).cells()])


NOISE = {
    (n, d, s): float(np.exp(0.1 * GENERATOR.normal())) for n in (16, 64, 256, 1024) for d in (1, 2, 3) for s in SEEDS
}
LAW = table(lambda n, d, seed: n ** (-0.25 * d) * NOISE[n, d, seed], n=SIZES, d=(1, 2, 3), seed=SEEDS)
LEVEL = table(lambda seed: 2.0 + 0.01 * seed, seed=SEEDS)


def test_rows_are_mappings_over_axes_and_columns():
    row = Row(
        cell={"d": 5, "name": "it's"}, result={"y": 1.5}, absent={"z": "no such thing"}, run="steppe run toy --quick"
    )
    assert dict(row) == {"d": 5, "name": "it's", "y": 1.5}
    assert row.label == "d=5, name=it's"
    assert row.command == "steppe run toy --quick --where 'd==5 and name==\"it'\"'\"'s\"'"
    with pytest.raises(AbsentColumnError, match=r"column `z` has no value at d=5.*no such thing"):
        row["z"]
    assert "z" not in row
    with pytest.raises(KeyError, match="neither an axis nor a column"):
        row["w"]


def test_a_rows_command_selects_exactly_its_cell():
    import shlex

    from steppe.harness import Grid

    grid = Grid(x=(0.1, 1e-7, 3.0), name=('a"b', "c'd", "e\\f"), flag=(True, False), none=(None, 1))
    for cell in grid.cells():
        condition = shlex.split(Row(cell=cell).command)[-1]
        assert grid.where(condition).cells() == [cell]


def test_rows_select_group_and_read():
    assert len(LAW.where(d=(1, 2), n=16)) == 12
    assert len(LAW.where(lambda row: row["y"] < 0, d=1)) == 0
    assert list(LAW.by("d")) == [(1,), (2,), (3,)]
    assert LAW.values("n") == [16, 64, 256, 1024]
    assert LEVEL.column("y").tolist() == [2.0 + 0.01 * s for s in SEEDS]
    assert LEVEL[1:3].slug == "toy"


@pytest.mark.parametrize(
    ("claim", "rows", "state"),
    [
        (AtMost("c", "", left="y", right=2.05), LEVEL, "holds"),
        (AtMost("c", "", left="y", right=2.049), LEVEL, "fails"),
        (AtMost("c", "", left="y", right=2.049, slack=0.002), LEVEL, "holds"),
        (AtMost("c", "", left="y", right=2.049, rtol=0.001), LEVEL, "holds"),
        (AtMost("c", "", left=lambda row: row["seed"] / 10, right="y"), LEVEL, "holds"),
        (AtLeast("c", "", left="y", right=2), LEVEL, "holds"),
        (AtLeast("c", "", left="y", right=2.001), LEVEL, "fails"),
        (Equal("c", "", left="y", right=lambda row: 2 + row["seed"] / 100, rtol=1e-12), LEVEL, "holds"),
        (Equal("c", "", left="y", right=2, atol=0.04), LEVEL, "fails"),
        (AtMost("c", "", left="y", right=0, scope={"seed": 99}), LEVEL, "not judged"),
        (AtMost("c", "", left="y", right=2.005, scope={"seed": [0]}), LEVEL, "holds"),
        (AtMost("c", "", left="y", right=2.005, scope=lambda row: row["seed"] == 0), LEVEL, "holds"),
        (AtMost("c", "", left="nope", right=1), LEVEL, "inconclusive"),
        (Within("c", "", column="y", low=1.9, high=2.1), LEVEL, "holds"),
        (Within("c", "", column="y", low=2.1, high=2.2), LEVEL, "fails"),
        (Within("c", "", column="y", low=2.02, high=2.1), LEVEL, "inconclusive"),
        (Within("c", "", column="y", low=1.9, high=2.1), LEVEL[:1], "inconclusive"),
        (Within("c", "", column="y", low=2.0, high=2.049, statistic="each"), LEVEL, "fails"),
        (Within("c", "", column="y", low=2.0, high=2.05, statistic="each"), LEVEL, "holds"),
        (Within("c", "", column="y", low=lambda g: g["d"], high=lambda g: g["d"] + 1, by="d"),
         table(lambda d, seed: d + 0.5 + seed / 100, d=(1, 7), seed=SEEDS), "holds"),
        (Settles("c", "", column="y", at=2.0, within=0.1), LEVEL, "holds"),
        (Settles("c", "", column="y", at=3.0, within=0.1), LEVEL, "fails"),
        (PowerLaw("c", "", x="n", y="y", low=-0.3, high=-0.2, scope={"d": 1}), LAW, "holds"),
        (PowerLaw("c", "", x="n", y="y", low=-0.3, high=-0.2, by="d"), LAW, "fails"),
        (PowerLaw("c", "", x="n", y="y", low=lambda g: -g["d"] / 4 - 0.1, high=lambda g: -g["d"] / 4 + 0.1, by="d"),
         LAW, "holds"),
        (PowerLaw("c", "", x="n", y="y", low=-0.25, high=0, scope={"d": 1}), LAW, "inconclusive"),
        (PowerLaw("c", "", x="n", y="y", low=-1, high=0), LAW.where(n=(16, 64)), "not judged"),
        (Ordered("c", "", column="y", along="d", direction="decreasing"), LAW, "holds"),
        (Ordered("c", "", column="y", along="d", direction="increasing"), LAW, "fails"),
        (Ordered("c", "", column="y", along="d"), LAW.where(seed=0), "inconclusive"),
        (Ordered("c", "", column="y", along="d"), LAW.where(d=1), "not judged"),
        (SlopesOrdered("c", "", x="n", y="y", along="d", direction="increasing"), LAW, "holds"),
        (SlopesOrdered("c", "", x="n", y="y", along="d", direction="decreasing"), LAW, "fails"),
        (Invariant("c", "", column="y", across="seed", rtol=0.03), LEVEL, "holds"),
        (Invariant("c", "", column="y", across="seed", rtol=0.02), LEVEL, "fails"),
        (Invariant("c", "", column="y", across="d"), LEVEL, "not judged"),
        (Share("c", "", condition=lambda row: row["y"] < 2.045, at_least=0.8), LEVEL, "holds"),
        (Share("c", "", condition=lambda row: row["y"] < 2.045, at_least=0.9), LEVEL, "fails"),
        (Share("c", "", condition=lambda row: row["y"] > 2.045, at_most=0.1), LEVEL, "fails"),
        (Predicate("c", "", function=lambda rows: Judgement(state="fails" if rows[6:] else "holds")), LEVEL, "holds"),
    ],
)  # fmt: skip
def test_states(claim, rows, state):
    assert claim.judge(rows).state == state


def test_inequality_reports_the_worst_row_and_how_to_see_it():
    verdict = AtMost("c", "y small", left="y", right=2.2, kind="theorem", source="Thm 1").judge(LEVEL)
    assert verdict.id == "toy/c"
    assert verdict.worst == "seed=5"
    assert verdict.worst_command == "steppe run --where seed==5"
    assert np.isclose(verdict.margin, 0.15)
    assert np.isclose(verdict.value, 2.05 / 2.2)
    assert verdict.rows == 6


def test_curves_are_compared_entry_by_entry():
    rows = toy_rows([({"seed": 0}, {"curve": [1.0, 3.0, 2.0], "limit": 2.5})])
    verdict = AtMost("c", "", left="curve", right="limit").judge(rows)
    assert (verdict.state, verdict.margin) == ("fails", -0.5)


def test_what_is_left_out_is_counted():
    rows = Rows(
        [
            Row(cell={"seed": 0}, result={"y": 1.0}),
            Row(cell={"seed": 1}, absent={"y": "undefined here"}),
            Row(cell={"seed": 2}, absent={"y": "diverged"}, status="diverged"),
            Row(cell={"seed": 3}, status="failed"),
        ]
    )
    verdict = AtMost("c", "", left="y", right=2).judge(rows)
    assert (verdict.state, verdict.rows) == ("holds", 1)
    assert "1 rows where a side is undefined" in verdict.note
    assert "1 diverged left out; 1 failed left out" in verdict.note
    both = Share("c", "", condition=lambda row: row.status == "diverged", at_most=0.5, statuses=("done", "diverged"))
    assert both.judge(rows).measured == "1 of 3 rows (33%)"


def test_a_claim_that_raises_is_inconclusive_and_says_why():
    verdict = AtMost("c", "", left=lambda row: 1 / 0, right=1, kind="theorem").judge(LEVEL)
    assert verdict.state == "inconclusive"
    assert "ZeroDivisionError" in verdict.note
    nan = AtMost("c", "", left=lambda row: float("nan"), right=1).judge(LEVEL)
    assert nan.state == "inconclusive"
    assert "NaN" in nan.note


def test_words_follow_the_kind():
    def words(kind, right):
        return AtMost("c", "", left="y", right=right, kind=kind).judge(LEVEL).words

    assert [words(kind, 3) for kind in ("theorem", "figure", "ours")] == ["holds", "reproduced", "observed"]
    assert words("theorem", 1) == "violated"
    assert words("figure", 1) == "not reproduced at this size"


def test_control_is_rejected_iff_its_false_statement_fails():
    def control(right, **scope):
        return Control(AtMost("near", "", left="y", right=right, **scope), "c", "a factor").judge(LEVEL)

    assert control(1.0).rejected is True
    assert np.isclose(control(1.0).margin, 1.05)
    assert control(1.0).of == "toy/c"
    assert control(3.0).rejected is False
    assert "no power" in control(3.0).words
    assert control(1.0, scope={"seed": 99}).rejected is None


def test_a_law_that_bends_out_of_its_band_is_not_said_to_hold():
    def plateau(n, seed):
        return max(n**-0.5, 0.06) * NOISE[16, 1, seed]

    rows = table(plateau, n=(16, 32, 64, 128, 256, 512, 1024), seed=SEEDS)
    claim = PowerLaw("c", "", x="n", y="y", low=-0.55, high=-0.3)
    verdict = claim.judge(rows)
    assert verdict.state == "inconclusive"
    assert "drifts" in verdict.note
    assert claim.judge(rows.where(n=(16, 32, 64, 128))).state == "holds"


def test_zero_error_makes_a_power_law_inconclusive_with_a_reason():
    rows = table(lambda n, seed: 0.0, n=(1, 2, 3), seed=SEEDS)
    verdict = PowerLaw("c", "", x="n", y="y", low=-1, high=0).judge(rows)
    assert verdict.state == "inconclusive"
    assert "positive" in verdict.note


def test_a_third_of_false_alarms_is_not_hidden_by_pooling_seeds():
    # Six rows of one seed are one replicate, not six.
    rows = table(lambda d, seed: 1.0 + d / 100, d=range(6), seed=0)
    assert Within("c", "", column="y", low=0, high=2).judge(rows).state == "inconclusive"


@pytest.mark.door
@pytest.mark.parametrize("make", [
    lambda: AtMost("c", "", left=None, right=1),
    lambda: Predicate("c", "", function=None),
])  # fmt: skip
def test_wrong_kinds_are_refused(make):
    with pytest.raises(KindError, match="must be"):
        make()
