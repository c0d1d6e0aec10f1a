from assets.presentation.pictures import evenly_spread, indices_by_scenario


def test_spread_reaches_both_ends():
    assert evenly_spread(100, 3) == [0, 50, 99] or evenly_spread(100, 3) == [0, 49, 99]
    assert evenly_spread(2, 5) == [0, 1] and evenly_spread(0, 5) == []


def test_every_scenario_comes_before_a_second_of_one():
    scenarios = ["normal"] * 8 + ["night", "normal", "curve"]
    assert set(indices_by_scenario(scenarios, 3)) == {0, 8, 10}
    assert len(indices_by_scenario(scenarios, 6)) == 6


def test_frames_without_scenario_are_spread():
    assert len(indices_by_scenario([None] * 20, 4)) == 4
