import math

import pytest

from steppe.cli.progress import in_words
from steppe.cli.values import axis_values, numbers
from steppe.core import InputError, ParameterError
from steppe.harness import TimeLeft


def test_settings_become_json_scalars_and_text():
    found = axis_values("--set", ["width=64,128", "inputs=donut, ball", "width=256", "clip=null,0.5", "skip=true"])
    assert found == {"width": [64, 128, 256], "inputs": ["donut", "ball"], "clip": [None, 0.5], "skip": [True]}
    assert [type(v) for v in found["width"]] == [int, int, int]


def test_a_quoted_number_and_a_bare_nan_are_text():
    assert axis_values("--set", ['name="64"', "x=NaN"]) == {"name": ["64"], "x": ["NaN"]}


@pytest.mark.parametrize("setting", ["width", "=3", "width=", "width=1,,2"])
def test_a_setting_without_name_or_value_is_refused(setting):
    with pytest.raises(
        InputError, match=r"`--add` must be axis=value\[,value…\], got .*; write for example --add seed"
    ):
        axis_values("--add", [setting])


def test_numbers_say_what_is_wrong():
    assert numbers("alpha", "0.1, 5") == [0.1, 5.0]
    assert numbers("alpha", "") == []
    with pytest.raises(ParameterError, match=r"`--d` must be integers separated by commas, got '2\.5'"):
        numbers("d", "1,2.5", integer=True)


def test_time_left_is_the_median_pace_times_what_remains():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    assert left.seconds(10) is None
    for step in (2.0, 2.0, 100.0, 2.0, 2.0):  # one slow cell does not shift the promise
        now[0] += step
        left.finished(1)
    assert math.isclose(left.seconds(10), 20.0)


def test_cells_that_finish_together_share_their_time():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    now[0] = 8.0
    for _ in range(4):  # a group is committed at once
        left.finished(1)
    now[0] += 8.0
    for _ in range(4):
        left.finished(1)
    assert math.isclose(left.seconds(3), 6.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "time left unknown"), (12.4, "12 s left"), (200, "3 min 20 s left"), (3900, "1 h 05 min left")],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words


def test_time_left_follows_the_work_and_not_the_number_of_cells():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    for work, seconds in ((100.0, 10.0), (100.0, 10.0), (1.0, 0.1)):
        now[0] += seconds
        left.finished(work)
    assert math.isclose(left.seconds(50.0), 5.0)
