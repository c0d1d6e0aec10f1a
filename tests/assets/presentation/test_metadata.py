import numpy as np

from assets.presentation.metadata import markdown_table, table


def test_names_of_files_become_no_pictures_links_or_html():
    rows = [{"file": "![x](http://198.51.100.1/x.png)", "reason": "<img src=x> `a` *b* a|b\n\nc\x1b[31m"}]
    text = markdown_table(rows)
    assert "\\!\\[x\\](http" in text and "\\<img src=x\\>" in text and "a\\|b c" in text
    assert "\x1b" not in text and len(text.split("\n")) == 3


def test_missing_line_is_a_dash():
    text = markdown_table([{"line": None, "share": np.nan, "value": 0.12345}])
    assert text.split("\n")[2] == "| – | – | 0.123 |"
    assert "nan" not in text


def test_long_table_is_no_markdown_and_keeps_its_texts():
    value = table([{"file": "[a](b)", "reason": "x" * 1000}])
    assert value.value.records[0].data["file"] == "[a](b)"  # pyright: ignore
