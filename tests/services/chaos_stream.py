"""What the producers of the chaos test say: every record is a function of (seed, partition, sequence). It sends nothing.

Time is real time: a record says the instant at which it is due, give or take what producers and clocks give or take. All
sorts of records are in it that a monitor may stumble over, none of them a matter of taste: what lies at a boundary
(exactly late, exactly at the horizon) is left out.
"""

import heapq
import json
import math
import random

MODEL = "chaos"
CLASSES = ("no", "yes")
REGIONS = ("eu", "us", "apac")
LEVELS = ("DE", "FR", "PL", "US")

# Event times in milliseconds, as the agents are configured with them.
LATENESS = 2_000
HORIZON = 20_000

# Most that an accepted prediction lies behind the newest of its partition, and least that a late one does.
MOST_DISORDER = 1_500
LEAST_LATENESS = 3_500
# Labels come within this, or only after the horizon.
MOST_DELAY = 8_000
TOO_LATE = (HORIZON + 10_000, HORIZON + 15_000)

# The features shift for every other of these, and every other of those the model is wrong more often: alerts come and go.
DRIFT_PHASE = 25_000
ERROR_PHASE = 35_000


class Source:
    """One partition number: its predictions, and the labels of these, each in the order in which they are sent."""

    def __init__(self, seed, partition, began, begin, step):
        """`began` is when the run began, `begin` when this partition does, `step` the time between predictions; in ms."""
        self.seed, self.partition, self.began, self.begin, self.step = seed, partition, began, begin, step
        self.number, self._labels = 0, []

    def due(self, until):
        """Takes what is due by then as (kind, due, key, value), kind being predictions or labels, value None a tombstone."""
        while True:
            prediction = self.begin + int(self.number * self.step)
            label = self._labels[0][0] if self._labels else math.inf
            if min(prediction, label) > until:
                return
            if label <= prediction:
                due, _, key, value = heapq.heappop(self._labels)
                yield "labels", due, key, value
            else:
                key, value = self._predict(prediction)
                self.number += 1
                yield "predictions", prediction, key, value

    def rest(self):
        """Takes the labels that are still to come; there are no more predictions."""
        while self._labels:
            due, _, key, value = heapq.heappop(self._labels)
            yield "labels", due, key, value

    def _predict(self, due):
        rng = random.Random(f"{self.seed}/{self.partition}/{self.number}")
        number, kind = self.number, rng.random()
        if kind < 0.01 and number >= 7:
            # The same event once more, as producers that retry send it.
            number -= 7
            due = self.begin + int(number * self.step)
            rng = random.Random(f"{self.seed}/{self.partition}/{number}")
            kind = rng.random()
            repeated = True
        else:
            repeated = False
        name = f"{self.partition}-{number}"
        if kind < 0.015:
            return name.encode(), None
        event = self._event(rng, name, due, late=0.035 <= kind < 0.045)
        if kind < 0.035:
            return name.encode(), _poison(rng, event, due)
        if not repeated:
            self._plan_labels(rng, event, due)
        return name.encode(), json.dumps(event).encode()

    def _event(self, rng, name, due, late):
        ts = due - (rng.randint(LEAST_LATENESS, 9_000) if late else rng.randint(0, MOST_DISORDER))
        shifted = (ts - self.began) // DRIFT_PHASE % 2 == 1
        score = round(rng.betavariate(2, 2), 4)
        features = {
            "amount": round(rng.gauss(60 if shifted else 50, 10), 3),
            "age": rng.randint(18, 90),
            "country": rng.choices(LEVELS, (10, 20, 30, 40) if shifted else (40, 30, 20, 10))[0],
            "member": rng.random() < 0.7,
        }
        odd = rng.random()
        if odd < 0.02:
            features["amount"] = None
        elif odd < 0.03:
            del features["amount"]
        elif odd < 0.035:
            features["amount"] = math.nan
        elif odd < 0.04:
            features["amount"] = math.inf
        elif odd < 0.045:
            features["amount"] = "12,50"
        elif odd < 0.05:
            features["amount"] = 1e9
        elif odd < 0.065:
            features["country"] = f"Z{rng.randint(0, 9)}"
        elif odd < 0.075:
            features["country"] = None
        elif odd < 0.08:
            features["new"] = 1
        return {
            "event": "prediction",
            "model": MODEL,
            "version": "2" if rng.random() < 0.1 else "1",
            "id": name,
            "ts": ts,
            "features": features,
            "prediction": CLASSES[score >= 0.5],
            "score": score,
            "tags": {"region": rng.choice(REGIONS)},
        }

    def _plan_labels(self, rng, event, due):
        """The labels of a prediction: one, none, a second one that says the same or another, one that is too late or bad."""
        kind = rng.random()
        wrong = 0.45 if (event["ts"] - self.began) // ERROR_PHASE % 2 == 1 else 0.1
        truth = event["prediction"] if rng.random() >= wrong else CLASSES[event["prediction"] == "no"]
        other = CLASSES[truth == "no"]
        ts = event["ts"] + rng.randint(200, MOST_DELAY)
        if kind < 0.10:
            return
        if kind < 0.14:
            self._plan(rng, event["id"], event["ts"] + rng.randint(*TOO_LATE), truth)
            return
        if kind < 0.18:
            # Before its prediction: clocks of two machines.
            ts = event["ts"] - rng.randint(100, 900)
        self._plan(rng, event["id"], ts, truth, first=due)
        if 0.20 <= kind < 0.24:
            self._plan(rng, event["id"], ts + rng.randint(3_000, 5_000), truth)
        elif 0.24 <= kind < 0.28:
            self._plan(rng, event["id"], ts + rng.randint(3_000, 5_000), other)
        elif 0.28 <= kind < 0.29:
            self._plan(rng, f"stranger-{event['id']}", ts, truth)
        elif 0.29 <= kind < 0.30:
            self._plan(rng, event["id"], ts, rng.choice(("maybe", None, 0)))
        elif 0.30 <= kind < 0.305:
            self._put(ts, event["id"], None)
        elif 0.305 <= kind < 0.31:
            self._put(ts, event["id"], b'{"model":"chaos","label":"yes"')

    def _plan(self, rng, name, ts, label, first=0):
        # Sent up to a second later than it says, but an early one is not sent before the prediction is due.
        due = max(ts, first - 50) + rng.randint(0, 1_000)
        self._put(due, name, json.dumps({"event": "label", "model": MODEL, "id": name, "ts": ts, "label": label}).encode())

    def _put(self, due, name, value):
        # Of two at one instant the one that was planned first is first.
        self._planned = getattr(self, "_planned", 0) + 1
        heapq.heappush(self._labels, (due, self._planned, name.encode(), value))


def _poison(rng, event, due):
    """A record that must be rejected, and that nothing else may come of."""
    kind = rng.randrange(9)
    if kind == 0:
        return json.dumps(event).encode()[:-9]
    if kind == 1:
        return b"\xff\xfe" + json.dumps(event).encode()
    if kind == 2:
        return b'["not", "an", "object"]'
    if kind == 3:
        return json.dumps({**event, "model": "another"}).encode()
    if kind == 4:
        return json.dumps({name: value for name, value in event.items() if name != "model"}).encode()
    if kind == 5:
        return json.dumps({**event, "ts": "yesterday"}).encode()
    if kind == 6:
        # Its time would close everything there is.
        return json.dumps({**event, "ts": due + 3_600_000}).encode()
    if kind == 7:
        return json.dumps({**event, "score": 1.5}).encode()
    return json.dumps({name: value for name, value in event.items() if name not in ("prediction", "score")}).encode()


def farewell(partition, ts):
    """The last records of a partition number: they move its clocks to `ts`, so that all before is closed and joined."""
    event = {"event": "prediction", "model": MODEL, "version": "1", "id": f"{partition}-last", "ts": ts, "features": {}, "score": 0.5}
    label = {"event": "label", "model": MODEL, "id": f"{partition}-nobody", "ts": ts, "label": "yes"}
    return {"predictions": json.dumps(event).encode(), "labels": json.dumps(label).encode()}


def reference(rows=4_000):
    """The training data as CSV: the stream as it is without drift."""
    rng = random.Random("reference")
    lines = ["id,amount,age,country,member,tags.region,score,prediction,label"]
    for row in range(rows):
        score = round(rng.betavariate(2, 2), 4)
        said = CLASSES[score >= 0.5]
        truth = said if rng.random() >= 0.1 else CLASSES[said == "no"]
        amount = "" if rng.random() < 0.02 else round(rng.gauss(50, 10), 3)
        country = rng.choices(LEVELS, (40, 30, 20, 10))[0]
        region, member = rng.choice(REGIONS), str(rng.random() < 0.7).lower()
        lines.append(f"{row},{amount},{rng.randint(18, 90)},{country},{member},{region},{score},{said},{truth}")
    return "\n".join(lines) + "\n"
