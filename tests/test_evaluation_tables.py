"""Tables, sheets and the choice of material."""

import csv
import json
import math

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.manifest import select
from mggtalk_core.evaluation.sheets import SheetRow, contact_sheet, difference
from mggtalk_core.evaluation.tables import Table


def table() -> Table:
    return Table(
        "Self-reenactment",
        {"every": 2},
        [
            {"clip": "ä|b.mp4", "error": 1.0, "score": math.nan, "frames": 10},
            {"clip": "c.mp4", "error": 3.0, "score": 0.5, "frames": 20},
            {"clip": "d.mp4", "note": "no face"},
        ],
    )


def test_means_count_what_is_there():
    assert (table().mean("error").value, table().mean("error").n) == (2.0, 2)
    assert (table().mean("score").value, table().mean("score").n) == (0.5, 1)
    assert math.isnan(table().mean("nothing").value)
    assert table().mean("error", where=lambda row: row.get("frames", 0) > 15).value == 3.0
    assert set(table().means()) == {"error", "score", "frames"}


def test_report_is_written_three_ways(tmp_path):
    paths = table().write(tmp_path / "Bericht ü.json", extra={"x": math.inf})
    assert [path.suffix for path in paths] == [".json", ".csv", ".md"]
    report = json.loads(paths[0].read_text(encoding="utf-8"))
    assert report["means"]["error"] == {"value": 2.0, "n": 2}
    assert report["rows"][0]["score"] is None
    assert report["extra"] == {"x": None}
    rows = list(csv.DictReader(paths[1].open(encoding="utf-8")))
    assert [row["error"] for row in rows] == ["1.0", "3.0", ""]
    lines = paths[2].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Self-reenactment"
    assert lines[-1].startswith("| mean | 2 (n=2) | 0.5 (n=1) | 15 (n=2) |")
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_report_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        table().write(tmp_path / "missing" / "a.json")


def test_sheet_puts_every_picture_in_its_place():
    red, green = torch.zeros(3, 20, 40), torch.zeros(3, 40, 20)
    red[0], green[1] = 1.0, 1.0
    sheet = contact_sheet([SheetRow("first row", [red, None]), SheetRow("b", [None, green])], ("1", "2"), 100, "title")
    assert sheet.shape == (3, 2 * 16 + 2 * 102, 96 + 2 * 102)
    assert sheet[:, 32 + 25, 96 + 50].tolist() == [1.0, 0.0, 0.0]  # wide: fills the width, half the height
    assert sheet[:, 32 + 75, 96 + 50].tolist() == [1.0, 1.0, 1.0]
    assert sheet[:, 32 + 102 + 75, 96 + 102 + 25].tolist() == [0.0, 1.0, 0.0]
    assert sheet[:, 32 + 50, 96 + 102 + 25].tolist() == [1.0, 1.0, 1.0]
    assert float(sheet[:, :16, :60].min()) < 0.5  # the title


def test_difference_is_enlarged():
    assert torch.allclose(difference(torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.4)), torch.tensor(0.4))


LIST = """path,kind,split,origin,one_face,mouth_std,tags
clips/a.mp4,clip,val,real,yes,0.03,
clips/b.mp4,clip,val,real,no,0.03,
clips/c.mp4,clip,train,real,yes,0.03,
clips/d.mp4,clip,val,generated,yes,,
clips/e.mp4,clip,val,real,yes,0.01,glasses;front
portraits/f.jpg,portrait,val,real,yes,,glasses
"""


def test_selection(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(LIST)
    names = lambda *args, **kwargs: [file.name for file in select(path, *args, **kwargs)]  # noqa: E731
    assert names("clip") == ["a.mp4", "e.mp4"]
    assert names("clip", one_face=False) == ["a.mp4", "b.mp4", "e.mp4"]
    assert names("clip", least_mouth_movement=0.02) == ["a.mp4"]
    assert names("clip", split=None, origin=None) == ["a.mp4", "c.mp4", "d.mp4", "e.mp4"]
    assert names("clip", tag="glasses") == ["e.mp4"]
    assert select(path, "portrait") == [tmp_path / "portraits/f.jpg"]
    with pytest.raises(InputError, match="loosen"):
        names("audio")


def test_list_with_missing_columns_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("path,kind\na,clip\n")
    with pytest.raises(InputError, match="split"):
        select(tmp_path / "list.csv", "clip")
    with pytest.raises(InputError):
        select(tmp_path / "none.csv", "clip")
