"""The shipped car_loan data: a binary model with known drift from analysis row 25,000 on, labels 30 to 79 days later."""

import datetime
import gzip
import io
import json
import os
import pathlib

import zstandard

from server import TOP

# Rows of the analysis data at which Thursday weeks begin, and how many events each week has.
WEEKS = {
    19: ("2019-03-07", 21016, 1156),
    20: ("2019-03-14", 22172, 1156),
    21: ("2019-03-21", 23328, 1156),
    22: ("2019-03-28", 24484, 1156),
    23: ("2019-04-04", 25640, 1157),
    24: ("2019-04-11", 26797, 1156),
    25: ("2019-04-18", 27953, 1156),
    26: ("2019-04-25", 29109, 1156),
    27: ("2019-05-02", 30265, 1156),
    28: ("2019-05-09", 31421, 1156),
    29: ("2019-05-16", 32577, 1156),
    30: ("2019-05-23", 33733, 1156),
    31: ("2019-05-30", 34889, 1156),
    32: ("2019-06-06", 36045, 1156),
    33: ("2019-06-13", 37201, 1156),
    34: ("2019-06-20", 38357, 1156),
    35: ("2019-06-27", 39513, 1156),
}

# Golden PSI of car_value by week over the deciles of the reference (numpy.quantile, shares floored at 1e-4), with bins
# closed to the right and closed to the left: either is right, what lies between is not.
PSI_CAR_VALUE = {
    21: (0.006087086807067692, 0.006130891807610041),
    22: (0.2643189202818973, 0.26425443281649197),
    23: (1.7698622708179585, 1.769352267145699),
    24: (1.896780130601568, 1.89629811252814),
    25: (2.00190295343961, 2.0014521847185414),
}

# Golden accuracy by week, and over how many labels: those that come within the horizon of 45 days (sklearn's
# accuracy_score). The labels come after 30 to 79 days, so with those that are too late the numbers are others.
ACCURACY = {21: (0.9516864175022789, 1097), 23: (0.9206204379562044, 1096), 25: (0.9158279963403476, 1093)}

_FOLDERS = [TOP / "src/app/demo/data/car_loan", pathlib.Path(os.environ.get("DRIFTLINE_DATA", "/nonexistent")) / "car_loan"]


def path(name):
    """The file of that name, as it is or compressed."""
    for folder in _FOLDERS:
        for suffix in (".zst", ".gz", ""):
            candidate = folder / (name + suffix)
            if candidate.exists():
                return candidate
    raise RuntimeError(f"{name} is in none of {[str(folder) for folder in _FOLDERS]}")


def _lines(name):
    file = path(name)
    with open(file, "rb") as raw:
        if file.suffix == ".zst":
            raw = zstandard.ZstdDecompressor().stream_reader(raw)
        elif file.suffix == ".gz":
            raw = gzip.GzipFile(fileobj=raw)
        yield from io.TextIOWrapper(raw, encoding="utf-8")


def millis(text):
    """Epoch milliseconds of an RFC 3339 time in UTC."""
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def _record(line, model):
    event = json.loads(line)
    event["model"] = model
    return event["id"].encode(), json.dumps(event, ensure_ascii=False).encode(), millis(event["ts"])


def week(number):
    """Start of that week as results write it, and its number of events."""
    day, _, count = WEEKS[number]
    return f"{day}T00:00:00.000Z", count


def predictions(first_week, end_week, model="car_loan"):
    """Records of the weeks [first_week, end_week), as (key, value, milliseconds)."""
    low, high = WEEKS[first_week][1], WEEKS[end_week][1]
    return [_record(line, model) for row, line in enumerate(_lines("analysis.ndjson")) if low <= row < high]


def labels(predicted, model="car_loan"):
    """The label records of these predictions, in the order in which they became known."""
    wanted = {key for key, _, _ in predicted}
    return [record for record in (_record(line, model) for line in _lines("labels.ndjson")) if record[0] in wanted]
