"""What the windows must be, by brute force over the records of the topics and the promises of the project's contract.

It shares no line with the agent: it reads the baseline's document for the bins, and everything else by itself, one record
after the other, in the order of the offsets. It knows nothing of panes, batches or restarts.
"""

import bisect
import collections
import dataclasses
import json
import math

# A record may say a time that lies at most this far after its own, in milliseconds.
FUTURE = 300_000
# Smallest share that enters a logarithm of psi.
FLOOR = 1e-4
# How far a label may lie before its prediction, besides the lateness, in milliseconds.
EARLY = 300_000


@dataclasses.dataclass
class Settings:
    """The model as the agents are configured with it; times in milliseconds."""

    model: str
    classes: tuple
    threshold: float
    windows: list  # (name, size, slide)
    lateness: int
    horizon: int
    regions: tuple  # Those measured by themselves; the rest is `other`.
    baseline: dict


@dataclasses.dataclass
class Prediction:
    ts: int
    version: str
    region: str
    predicted: str
    features: dict
    score: float


class Oracle:
    def __init__(self, settings, predictions, labels):
        """`predictions` and `labels` by partition number: lists of (offset, milliseconds, key, value)."""
        self.settings = settings
        self.outcomes = {"predictions": collections.Counter(), "labels": collections.Counter()}
        self.rejected = {"predictions": collections.Counter(), "labels": collections.Counter()}
        self.counted, self.late, self.watermarks = [], [], {}
        self.truths = {}
        self._first = {}
        for partition, records in predictions.items():
            self._predictions(partition, records)
        for partition, records in labels.items():
            self._labels(partition, records)
        self.clock = min(self.watermarks.values())

    def _decode(self, kind, at, value):
        """The event, or None after it was counted as rejected."""

        def reject(reason):
            self.outcomes[kind]["rejected"] += 1
            self.rejected[kind][reason] += 1

        if not value:
            return reject("empty")
        try:
            event = json.loads(value.decode())
        except ValueError:
            return reject("not_json")
        if not isinstance(event, dict):
            return reject("not_an_object")
        if "model" not in event:
            return reject("missing_model")
        if event["model"] != self.settings.model:
            return reject("unknown_model")
        if not isinstance(event["ts"], int):
            return reject("bad_time")
        if event["ts"] > at + FUTURE:
            return reject("future")
        if kind == "labels":
            if event["label"] is None:
                return reject("missing_label")
            if event["label"] not in self.settings.classes:
                return reject("bad_label")
        else:
            if "prediction" not in event and "score" not in event:
                return reject("missing_prediction")
            if not 0 <= event["score"] <= 1:
                return reject("bad_prediction")
        return event

    def _predictions(self, partition, records):
        watermark = -math.inf
        for _, at, _, value in records:
            event = self._decode("predictions", at, value)
            if event is None:
                continue
            ts = event["ts"]
            reached = watermark - self.settings.lateness
            if ts < reached:
                self.outcomes["predictions"]["late"] += 1
                self.late.append((ts, reached))
                continue
            watermark = max(watermark, ts)
            self.outcomes["predictions"]["counted"] += 1
            said = event.get("prediction", self.settings.classes[event["score"] >= self.settings.threshold])
            region = event.get("tags", {}).get("region")
            region = region if region in self.settings.regions else "other"
            prediction = Prediction(ts, event["version"], region, said, event["features"], event["score"])
            self.counted.append(prediction)
            # A label belongs to the first event of its id.
            self._first.setdefault((partition, event["id"]), prediction)
        self.watermarks[partition] = watermark

    def _labels(self, partition, records):
        for _, at, _, value in records:
            event = self._decode("labels", at, value)
            if event is None:
                continue
            prediction = self._first.get((partition, event["id"]))
            distance = None if prediction is None else event["ts"] - prediction.ts
            if distance is None or not -(self.settings.lateness + EARLY) <= distance <= self.settings.horizon:
                # Unmatched at once or later, or still waiting: that is a matter of how long one looks.
                self.outcomes["labels"]["without"] += 1
            elif self.truths.get(id(prediction)) == event["label"]:
                self.outcomes["labels"]["duplicate"] += 1
            else:
                self.truths[id(prediction)] = event["label"]
                self.outcomes["labels"]["counted"] += 1

    def windows(self, until):
        """The windows that end at or before `until`: for each (name, start) what its last results must say."""
        expected = {}
        first = min(prediction.ts for prediction in self.counted)
        # By slice of the greatest common divisor of the slides, as nothing finer can matter.
        step = math.gcd(*(slide for _, _, slide in self.settings.windows))
        slices = collections.defaultdict(list)
        for prediction in self.counted:
            slices[prediction.ts // step * step].append(prediction)
        for name, size, slide in self.settings.windows:
            start = (first // step * step - size) // slide * slide + slide
            while start + size <= until:
                end = start + size
                inside = [prediction for at in range(start // step * step, end, step) for prediction in slices.get(at, ()) if start <= prediction.ts < end]
                late = sum(1 for ts, reached in self.late if start <= ts < end and reached < end)
                expected[(name, start)] = self._window(inside, late, complete=first <= start)
                start += slide
        return expected

    def _window(self, inside, late, complete):
        matched = [prediction for prediction in inside if id(prediction) in self.truths]
        measurements = {}
        for version in sorted({prediction.version for prediction in inside}):
            of_version = [prediction for prediction in inside if prediction.version == version]
            parts = {"": of_version}
            for prediction in of_version:
                parts.setdefault(prediction.region, []).append(prediction)
            for region, part in parts.items():
                for (subject, metric), number in self._measure(part, region).items():
                    measurements[(version, region, subject, metric)] = number
        return {"n": len(inside), "late": late, "complete": complete, "matched": len(matched), "measurements": measurements}

    def _measure(self, part, region):
        """(n, value) by subject and metric."""
        measured = {}
        columns = zip(self.settings.baseline["columns"], self._reference(region)["columns"])
        for column, reference in columns:
            subject = column["subject"]
            kind, name = subject.partition(":")[::2]
            if kind == "feature":
                values = [prediction.features.get(name, _MISSING) for prediction in part]
            elif kind == "prediction":
                values = [prediction.predicted for prediction in part]
            else:
                values = [prediction.score for prediction in part]
            measured.update({(subject, metric): number for metric, number in _column(column["bins"], reference, values).items()})
        joined = [(prediction.predicted, self.truths[id(prediction)]) for prediction in part if id(prediction) in self.truths]
        hits = sum(said == truth for said, truth in joined)
        measured[("model", "accuracy")] = (len(joined), hits / len(joined) if joined else None)
        return measured


    def _reference(self, region):
        if not region:
            return self.settings.baseline["reference"]
        return next(part["reference"] for part in self.settings.baseline["segments"] if list(part["segment"].values()) == [region])


_MISSING = object()


def _column(bins, reference, values):
    nulls = sum(value is None or value is _MISSING for value in values)
    data = [value for value in values if value is not None and value is not _MISSING]
    numbers = [value for value in data if isinstance(value, (int, float)) and not isinstance(value, bool)]
    measured = {"null_rate": (len(values), nulls / len(values))}
    if "numeric" in bins:
        bins = bins["numeric"]
        valid = [float(value) for value in numbers if math.isfinite(value)]
        measured["invalid_rate"] = (len(values), (len(data) - len(valid)) / len(values))
        coarse, edges = bins["coarse_edges"], bins["edges"]
        current, before = [0] * (len(coarse) + 1), [0] * (len(coarse) + 1)
        for value in valid:
            current[bisect.bisect_left(coarse, value)] += 1
        for place, count in enumerate(reference["counts"]):
            before[bisect.bisect_left(coarse, edges[place]) if place < len(edges) else len(coarse)] += count
        outside = sum(value <= edges[0] or value > edges[-1] for value in valid)
        measured["out_of_range_rate"] = (len(valid), outside / len(valid) if valid else None)
    else:
        levels = bins["categorical"]["levels"]
        folded = bins["categorical"].get("folded", [])
        valid = [_text(value) for value in data if not (isinstance(value, float) and not math.isfinite(value))]
        measured["invalid_rate"] = (len(values), (len(data) - len(valid)) / len(values))
        counts = collections.Counter(valid)
        current = [counts.pop(level, 0) for level in levels]
        current.append(sum(counts.pop(level, 0) for level in folded))
        strangers = sum(counts.values())
        current.append(strangers)
        before = reference["counts"]
        measured["new_category_rate"] = (len(valid), strangers / len(valid) if valid else None)
    measured["psi"] = (len(valid), _psi(before, current))
    return measured


def _text(value):
    """A level as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _psi(before, current):
    n, m = sum(before), sum(current)
    if not n or not m:
        return None
    shares = [(max(r / n, FLOOR), max(c / m, FLOOR)) for r, c in zip(before, current)]
    return sum((c - r) * math.log(c / r) for r, c in shares)
