from lgad_pipeline.config.synthetic import SyntheticConfig, scenario_counts, scenario_plan


def test_every_test_split_of_nine_or_more_has_all_scenarios() -> None:
    for total in (9, 10, 28, 60, 300, 1000):
        counts = scenario_counts(total)
        assert sum(counts.values()) == total
        assert min(counts.values()) >= 1
    large = scenario_counts(34_680)
    assert large["normal"] == max(large.values())
    assert large["curve"] == 34_680 // 30


def test_fewer_than_nine_frames_go_to_the_commonest_scenarios() -> None:
    assert [name for name, count in scenario_counts(2).items() if count] == ["normal", "crowd"]
    assert sum(scenario_counts(0).values()) == 0


def test_splits_are_planned_apart() -> None:
    small, large = SyntheticConfig(train=20, test=30), SyntheticConfig(train=40, test=30)
    assert scenario_plan(small, "test") == scenario_plan(large, "test")
    assert scenario_plan(small, "test") != scenario_plan(SyntheticConfig(seed=1, test=30), "test")
