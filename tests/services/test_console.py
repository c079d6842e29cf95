"""A person opens the console in a browser and reads the drift off it."""

import pytest
from selenium.webdriver.common.by import By

import carloan
from agent import PATIENCE
from server import eventually


def test_the_drift_score_is_read_off_the_page(stream, browser, folder):
    browser.get(f"{stream.url}/")

    def shown():
        found = browser.find_elements(By.CSS_SELECTOR, '[data-feature="car_value"][data-metric="psi"]')
        return next((float(element.text.strip().split()[0]) for element in found if element.text.strip()), None)

    value = eventually(shown, PATIENCE, "a number beside car_value")
    browser.save_screenshot(str(folder / "console.png"))
    newest = stream.measured("feature:car_value", "psi")
    assert value == pytest.approx(newest[max(newest)]["value"], abs=0.006), "the page shows the newest window"
    assert value > min(carloan.PSI_CAR_VALUE[22])


def test_the_page_runs_without_errors_and_asks_nobody_else(stream, browser):
    browser.get(f"{stream.url}/")
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, '[data-feature="car_value"]'), PATIENCE, "the page is filled")
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    names = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith(stream.url)] == []
