"""What is done to agents and brokers, and when: a function of the seed, as far as the machine lets it be."""

import random
import signal
import time

# Rest between two harms, in seconds: from within a start to well into the work.
REST = (0.3, 2.5)
# How much longer than asked for the harm may take: brokers start slowly on a machine that does much else.
PATIENCE = 300


class Harm:
    def __init__(self, seed, agents, brokers, add_partitions, spare, say):
        """`add_partitions` is called for each addition there is to be, and says whether it did one; `spare` before each harm, and
        returns when there may be one."""
        self.rng = random.Random(f"harm/{seed}")
        self.agents, self.brokers, self.add_partitions, self.spare, self.say = agents, brokers, add_partitions, spare, say
        self.done = {}
        self.began = time.monotonic()

    @property
    def kills(self):
        return self.done.get("kill agent", 0) + self.done.get("kill broker", 0)

    def run(self, seconds, kills):
        """Goes on for so long, until so many were killed and each harm was done, then leaves everything running."""
        end = time.monotonic() + seconds
        harms = {
            "kill agent": (50, self.kill_agent),
            "stop agent": (10, self.stop_agent),
            "end agent": (8, self.end_agent),
            "kill broker": (14, self.kill_broker),
            "stop broker": (6, self.stop_broker),
            "add partitions": (5, self.add_partitions),
        }
        # Whatever the dice say, each of them happens, and brokers die twice.
        planned = [*harms, "kill broker"]
        self.rng.shuffle(planned)
        while time.monotonic() < end or self.kills < kills or planned:
            now = time.monotonic()
            assert now < end + PATIENCE, f"only {self.kills} kills within {now - self.began:.0f} s, and not yet {planned}"
            time.sleep(self.rng.uniform(*REST))
            self.spare()
            if planned and (self.rng.random() < 0.3 or now > end):
                name = planned.pop()
            else:
                name = self.rng.choices(list(harms), [weight for weight, _ in harms.values()])[0]
            detail = harms[name][1]()
            if detail is None:
                continue
            self.done[name] = self.done.get(name, 0) + 1
            self.say(f"{time.monotonic() - self.began:6.1f} s  {name}: {detail}")
        for agent in self.agents:
            if not agent.is_running():
                agent.start(ready=False)

    def kill_agent(self):
        agent = self.rng.choice(self.agents)
        pause = self.rng.choice((0, 0, self.rng.uniform(0, 4)))
        agent.kill()
        time.sleep(pause)
        agent.start(ready=False)
        return f"{agent.name}, away for {pause:.1f} s"

    def stop_agent(self):
        agent = self.rng.choice(self.agents)
        # Within its session, or so long that its partitions and its models are somebody else's when it goes on.
        pause = self.rng.uniform(*self.rng.choice([(0.5, 8), (11, 16)]))
        agent.server.signal(signal.SIGSTOP)
        time.sleep(pause)
        # Half of them die while they stand still.
        if self.rng.random() < 0.5:
            agent.server.signal(signal.SIGCONT)
            return f"{agent.name}, for {pause:.1f} s"
        agent.kill()
        agent.start(ready=False)
        self.done["kill agent"] = self.done.get("kill agent", 0) + 1
        return f"{agent.name}, for {pause:.1f} s, then killed"

    def end_agent(self):
        agent = self.rng.choice(self.agents)
        status = agent.drain()
        assert status == 0, f"{agent.name} ended with {status} when it was asked to:\n{agent.server.tail()}"
        agent.start(ready=False)
        return agent.name

    def kill_broker(self):
        node = self.rng.randrange(self.brokers.count)
        pause = self.rng.uniform(0, 4)
        self.whole()
        self.brokers.kill(node)
        time.sleep(pause)
        if self.rng.random() < 0.3:
            # An agent that starts while the broker is away.
            agent = self.rng.choice(self.agents)
            agent.kill()
            agent.start(ready=False)
            self.done["kill agent"] = self.done.get("kill agent", 0) + 1
        self.brokers.restart(node)
        return f"{node + 1}, away for {pause:.1f} s and its start"

    def stop_broker(self):
        node = self.rng.randrange(self.brokers.count)
        pause = self.rng.uniform(1, 8)
        self.whole()
        self.brokers.servers[node].signal(signal.SIGSTOP)
        time.sleep(pause)
        self.brokers.servers[node].signal(signal.SIGCONT)
        return f"{node + 1}, for {pause:.1f} s"

    def whole(self):
        """One broker at a time: before the next is harmed, the last must have caught up. A promise of the broker, not ours."""
        self.brokers.wait_whole()
