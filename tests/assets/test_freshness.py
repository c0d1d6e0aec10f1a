from assets.freshness import code_version, tree_digest


def test_tree_digest_sees_what_changes(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    before = tree_digest(tmp_path)
    assert tree_digest(tmp_path) == before
    (tmp_path / "b.txt").write_text("")
    added = tree_digest(tmp_path)
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert len({before, added, tree_digest(tmp_path)}) == 3


def test_code_version_names_what_it_is_asked_for():
    assert code_version("lanes") == code_version("lanes") != code_version("models")
    assert code_version("lanes/view.py") != code_version("lanes")
