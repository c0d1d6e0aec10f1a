"""Dagster's pages of a small project, opened one after the other."""

from playwright.sync_api import Page, expect

import definitions
from assets.keys import asset_name
from tests_ui.conftest import LARGE, Shoot, Site, is_drawn

PARTITION = "synthetic|enet"


def assets_by_group() -> dict[str, list[str]]:
    """Return the assets of each group, as the code defines them."""
    groups: dict[str, list[str]] = {}
    for node in definitions.defs.resolve_asset_graph().asset_nodes:
        groups.setdefault(node.group_name, []).append(asset_name(node.key))
    return groups


def open_value(page: Page, key: str) -> None:
    """Open the dialog of a long entry among an asset's metadata."""
    page.get_by_role("row").filter(has=page.get_by_text(key, exact=True)).get_by_text(
        "[Show Markdown]"
    ).click()


def test_graph_shows_every_asset_in_its_group(site: Site, page: Page, shoot: Shoot):
    page.set_viewport_size(LARGE)  # the graph is drawn to fit
    page.goto(f"{site.dagster}/asset-groups")
    page.get_by_text("Hide navigation").click()
    expect(page.get_by_text("evaluation").first).to_be_visible()
    page.keyboard.press("Alt+e")  # expand all groups
    expect(page.locator("svg").get_by_text("recordings", exact=True)).to_be_visible()
    page.reload()  # fits the graph to the window
    expect(page.locator("svg").get_by_text("recordings", exact=True)).to_be_visible()
    shoot("assets")
    for group, names in assets_by_group().items():
        page.goto(f"{site.dagster}/locations/lgad/asset-groups/{group}")
        for name in names:
            expect(page.locator("svg").get_by_text(name, exact=True).first).to_be_visible()


def test_data_pages_show_tables_and_pictures(site: Site, page: Page, shoot: Shoot):
    page.goto(f"{site.dagster}/assets/lgad/frames")
    expect(
        page.get_by_text("BLAKE2b-128 of the image file's bytes")
    ).to_be_visible()  # a column's description
    expect(page.get_by_role("cell", name="train", exact=True)).to_be_visible()
    page.goto(f"{site.dagster}/assets/lgad/shards")
    open_value(page, "labels on frames")
    assert is_drawn(page.get_by_alt_text("training frames with their label maps"))
    shoot("shards")


def test_training_page_shows_its_curve_and_attention(site: Site, page: Page, shoot: Shoot):
    page.goto(f"{site.dagster}/assets/lgad/student_lgad")
    for caption in ("loss of the student with LGAD", "attention maps"):
        assert is_drawn(page.get_by_alt_text(caption))  # MLflow serves them
    page.get_by_alt_text("attention maps").scroll_into_view_if_needed()
    shoot("student")


def test_pictures_and_tables_fit_the_page(site: Site, page: Page):
    for width in (1280, 1600, 1920):
        page.set_viewport_size({"width": width, "height": 1200})
        page.goto(f"{site.dagster}/assets/lgad/student_lgad")
        table = page.locator("[class*=assetEventMetadataScroll]")
        for caption in ("loss of the student with LGAD", "attention maps"):
            picture = page.get_by_alt_text(caption)
            assert is_drawn(picture)
            drawn, space = picture.bounding_box(), table.bounding_box()
            assert drawn is not None and space is not None
            assert drawn["x"] + drawn["width"] <= space["x"] + space["width"], (caption, width)


def test_grid_shows_which_models_are_there(site: Site, page: Page, shoot: Shoot):
    page.goto(f"{site.dagster}/assets/lgad/lane_scores?view=partitions&partition={PARTITION}")
    for name in ("more-roads", "enet-weak"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text("Missing (2)")).to_be_visible()
    expect(page.get_by_text("F1 student alone").first).to_be_visible()
    shoot("grid")


def test_recipes_are_compared(site: Site, page: Page, shoot: Shoot):
    page.goto(f"{site.dagster}/assets/lgad/recipe_comparison")
    expect(page.get_by_role("cell", name="distillation.weight", exact=True)).to_be_visible()
    open_value(page, "F1 and gain, 95 %")
    assert is_drawn(page.get_by_alt_text("recipes on synthetic"))
    shoot("comparison")


def test_partition_is_materialized(site: Site, page: Page):
    page.goto(f"{site.dagster}/assets/lgad/recipe_comparison")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("dialog").get_by_text("Select a partition").click()
    page.get_by_role("menuitem", name="synthetic").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.goto(f"{site.dagster}/runs")
    expect(page.get_by_text("lgad / recipe_comparison", exact=True).first).to_be_visible()
    page.get_by_role("link", name="View", exact=True).first.click()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=900_000)


def test_schedule_can_be_turned_on(site: Site, page: Page, shoot: Shoot):
    page.goto(f"{site.dagster}/automation")
    row = page.locator("[class*=ListItem_listItem]").filter(
        has=page.get_by_text("retrain_synthetic", exact=True)
    )
    switch = row.locator("label[class*=Switch]")
    switches = len(list(definitions.defs.sensors or ())) + 2  # schedules of two data sets
    expect(page.locator("label[class*=Switch]")).to_have_count(switches)
    expect(switch.locator("input")).to_be_enabled()  # off and locked until its state is known
    expect(switch.locator("input")).not_to_be_checked()
    switch.click()
    expect(switch.locator("input")).to_be_checked()
    shoot("automation")
    page.reload()
    expect(switch.locator("input")).to_be_checked()


def test_launchpad_has_defaults(site: Site, page: Page):
    page.goto(f"{site.dagster}/locations/lgad/jobs/gain/playground")
    for setting in ("methods", "seeds", "workers", "device"):
        expect(page.get_by_text(f"{setting}:").first).to_be_visible()
