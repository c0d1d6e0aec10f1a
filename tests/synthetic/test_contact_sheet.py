from pathlib import Path

import cv2

from lgad_pipeline.synthetic.contact_sheet import write_contact_sheet


def test_the_contact_sheet_shows_every_scenario_once_a_row(tmp_path: Path) -> None:
    write_contact_sheet(tmp_path / "world.jpg", columns=1)
    sheet = cv2.imread(str(tmp_path / "world.jpg"))
    assert sheet is not None and sheet.shape == (9 * 144, 400, 3)
