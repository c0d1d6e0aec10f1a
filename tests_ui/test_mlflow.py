"""MLflow's pages of the same project."""

import re

from playwright.sync_api import Page, expect

from tests_ui.conftest import Shoot, Site, is_drawn


def enter(page: Page, site: Site) -> None:
    """Choose the pages for trainings, and close the panel of MLflow's assistant, which is open at first."""
    page.goto(f"{site.mlflow}/#/experiments")
    page.get_by_text("Model training", exact=True).click()
    new_chat = page.get_by_role("button", name="New Chat")
    expect(new_chat).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).last.click()
    expect(new_chat).not_to_be_visible()


def test_run_shows_metrics_and_pictures(site: Site, page: Page, shoot: Shoot):
    enter(page, site)
    page.get_by_role("link", name="synthetic", exact=True).click()
    name = re.compile(r"^student_lgad · enet · [0-9a-f]{6}$")  # the start of its fingerprint
    run = page.get_by_text(name).first
    expect(run).to_be_visible()
    shoot("runs")
    run.click()
    expect(page.get_by_text("test/f1/total").first).to_be_visible()
    shoot("run")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("attention.png", exact=True).first.click()
    assert is_drawn(page.get_by_alt_text("attention.png"))


def test_registered_model_has_its_alias_and_card(site: Site, page: Page, shoot: Shoot):
    enter(page, site)
    page.get_by_text("Model registry", exact=True).click()
    page.get_by_role("button", name="Try it now").click()  # of a greeting
    page.get_by_role("link", name="synthetic-enet", exact=True).click()
    alias, decision = (
        ("champion", "it becomes champion") if site.finds_lanes else ("challenger", "stays challenger")
    )
    expect(page.get_by_text(f"@ {alias}", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Version 1", exact=True).click()
    expect(page.get_by_text("Finds up to four lanes").first).to_be_visible()
    expect(page.get_by_text(re.compile(f"^Version 1 .*{decision}")).first).to_be_visible()
    shoot("model")
