"""A person opens the console in a browser and reads the drift off it."""

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

import carloan
from agent import PATIENCE
from server import eventually


def test_the_drift_score_is_read_off_the_page(stream, browser, folder):
    browser.get(f"{stream.url}/")

    def shown():
        found = browser.find_elements(By.CSS_SELECTOR, '[data-feature="car_value"][data-metric="psi"]')
        values = [float(element.text.split()[0]) for element in found if element.text.strip()]
        newest = stream.measured("feature:car_value", "psi")
        assert values and values[0] == pytest.approx(newest[max(newest)]["value"], abs=0.006), (values, newest[max(newest)])
        return values[0]

    try:
        value = eventually(shown, PATIENCE, "the score of the newest window beside car_value")
    finally:
        browser.save_screenshot(str(folder / "console.png"))
    assert value > max(carloan.PSI_CAR_VALUE[22])


def test_a_drifting_feature_says_why(stream, browser):
    browser.get(f"{stream.url}/")

    def opened():
        try:
            browser.find_element(By.CSS_SELECTOR, 'tr[data-subject="feature:car_value"] button').click()
            sentence = browser.find_element(By.CSS_SELECTOR, '#detail-explanation[data-feature="car_value"]').text
        except WebDriverException as error:
            # Not filled yet, or drawn anew at this moment.
            raise AssertionError(str(error)) from None
        assert sentence.startswith("car_value rose: mean +") and " of PSI " in sentence, sentence
        bars = browser.find_elements(By.CSS_SELECTOR, "#detail-cells svg rect")
        assert len(bars) == 10, len(bars)
        return sentence

    eventually(opened, PATIENCE, "the explanation of car_value")


def test_the_page_runs_without_errors_and_asks_nobody_else(stream, browser):
    browser.get(f"{stream.url}/")
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, '[data-feature="car_value"]'), PATIENCE, "the page is filled")
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    names = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith(stream.url)] == []
