"""From records in a real Kafka to numbers: windows close, and what they say is what the reference libraries say."""

import pytest

import carloan

# Between the two goldens (bins closed to the right, to the left) and this far beside them lies nothing else that is right.
TOLERANCE = 1e-3


@pytest.mark.parametrize("number", sorted(carloan.PSI_CAR_VALUE))
def test_psi_is_the_golden_number(stream, number):
    start, count = carloan.week(number)
    result = stream.wait_for_week(start)
    assert result["status"] == "ok", result
    assert result["n"] == count, result
    golden = carloan.PSI_CAR_VALUE[number]
    assert min(golden) * (1 - TOLERANCE) <= result["value"] <= max(golden) * (1 + TOLERANCE), (result, golden)


def test_what_did_not_shift_is_quiet(stream):
    for feature in ("debt_to_income_ratio", "driver_tenure"):
        result = stream.wait_for_week(carloan.week(24)[0], f"feature:{feature}")
        assert result["status"] == "ok" and result["value"] < 0.1, result


def test_every_closed_window_counts_each_event_once(stream):
    windows = stream.windows()
    for number in range(20, 26):
        start, count = carloan.week(number)
        assert windows[start]["n"] == count, windows[start]
        assert windows[start]["late"] == 0, windows[start]


@pytest.mark.parametrize("number", sorted(carloan.ACCURACY))
def test_accuracy_is_the_golden_number_once_the_horizon_has_passed(stream, number):
    start, _ = carloan.week(number)
    golden, count = carloan.ACCURACY[number]

    def final():
        result = stream.measured("model", "accuracy").get(start)
        assert result and result["n"] == count, result
        return result

    result = stream.wait_for(final, f"accuracy over all labels in time of the window from {start}")
    assert result["status"] == "ok" and result["value"] == pytest.approx(golden, abs=1e-12), result


def test_the_model_and_its_features_are_listed(stream):
    assert "car_loan" in stream.text("/api/v1/models")
    features = stream.text("/api/v1/features?model=car_loan")
    for name in ("car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car", "size_of_downpayment", "driver_tenure"):
        assert name in features, name


def test_all_events_are_accounted_for(stream):
    def settled():
        status = stream.status()
        return status if status["outcomes"].get("counted", 0) >= len(stream.sent) else None

    status = stream.wait_for(settled, "all predictions counted")
    assert status["received"] == sum(status["outcomes"].values()) + status["waiting"], status
    assert not {"late", "duplicate", "rejected", "shed"} & {outcome for outcome, count in status["outcomes"].items() if count}, status
    assert status["unknown_feature"] == 0 and status["timestamp_fallback"] == 0 and status["nonstandard_json"] == 0
