"""No file that somebody hands over ends in a traceback, however it is broken."""

from pathlib import Path

import pytest

from sim_platform_tests.fuzz import Format, formats, fuzzed

A_FEW = 40  # all of it: python -m sim_platform_tests.fuzz


@pytest.mark.parametrize("form", list(formats()), ids=lambda form: form.name)
def test_a_broken_file_is_read_counted_or_refused_by_name(form: Format, tmp_path: Path) -> None:
    became, faults = fuzzed(form, tmp_path, A_FEW, seed=7)
    assert not faults
    assert became.total() == A_FEW
    (tmp_path / form.name).write_bytes(form.good)
    taken, counted = form.read(tmp_path / form.name)
    assert (taken > 0, counted) == (True, 0), "a good file is read whole"
