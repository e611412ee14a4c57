"""
One schedule: three nodes, one server, four keys, and a seed that decides everything else.

    PYTHONPATH=tests python -m simulation.play SEED     replays one and tells what happened
"""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from typing import Any

from stillfresh.services.current import registry

from .history import History
from .network import Network
from .nodes import KEYS, PATTERNS, WAYS, Node, far_node, simulated_threads
from .server import ServerModel
from .virtual import NodeLoop, Stuck, World

FLEET = 3
HEALED_SECONDS = 90.0
"""Longer than everything that may be waited for: a lease, a function that seems to hang."""

DEEDS = {
    "call": 30,
    "invalidate": 3,
    "delete": 1,
    "store": 3,
    "tag": 3,
    "tag here": 1,
    "late tag": 3,
    "all tag": 1,
    "pattern": 3,
    "clear": 1,
    "expire": 2,
    "refresh": 2,
    "cancel": 4,
    "time": 3,
}
"""What is done how often, against each other."""
FAULTS = {
    "cut": 3,
    "stall": 2,
    "part": 2,
    "slow": 2,
    "hold server": 2,
    "restart server": 1,
    "bring old data back": 4,
    "flush": 1,
    "forget scripts": 1,
    "lose": 4,
    "full": 1,
    "pause": 2,
    "kill": 1,
}


class Schedule(World):
    """A world with its nodes, and what happens in it."""

    def __init__(self, seed: int, *, talk: bool = False) -> None:
        super().__init__(seed)
        rng = self.rng
        self.talk = talk
        self.way, lives = rng.choice(WAYS)
        self.history = History(lives, KEYS)
        self.history.tell = self.tell
        self.net = Network(self, ServerModel(self))
        self.failing = rng.choice([0.0, 0.0, 0.2])
        self.lateness = rng.choice([0.0, 0.3])
        self.longest = rng.choice([0.0, 0.004, 0.03, 2.0])
        self.hanging = rng.choice([0.0, 0.0, 0.05])
        self.pause = rng.choice([0.0005, 0.002, 0.01, 0.2])
        self.focus = rng.choice([KEYS, KEYS[:1], KEYS[:2]])
        self.strict = rng.random() < 0.3
        self.saved = self.net.server.save()
        self.nodes: list[Node] = []
        self.dead: list[Node] = []
        self.born = 0
        # Each schedule has some of all deeds: two that never meet in a crowd meet in one of those.
        self.deeds = {
            name: weight for name, weight in DEEDS.items() if name == "call" or rng.random() < 0.5
        }
        if rng.random() < 0.6:
            faults = {name: weight for name, weight in FAULTS.items() if rng.random() < 0.35}
            if not self.strict:  # what a server brings back is trusted
                faults.pop("bring old data back", None)
            self.history.calm = not faults
            self.deeds |= faults

    def takes(self) -> float:
        """Draw how long a computation takes."""
        rng = self.rng
        if rng.random() < self.hanging:
            return rng.uniform(8.0, 40.0)
        return rng.uniform(0.0, self.longest) if self.longest and rng.random() < 0.8 else 0.0

    def tell(self, text: str) -> None:
        """Say what happens, when somebody listens."""
        if self.talk:
            print(f"{self.now:10.4f} {text}")

    def add_node(self) -> None:
        """Start one more node."""
        self.born += 1
        options = {"after_restart": "discard"} if self.strict else {}
        node = far_node(f"n{self.born}", self, self.history, self.way, **options)
        self.finish(node.loop, node.start())
        self.nodes.append(node)

    # What happens

    def deed(self) -> None:
        """Let something happen."""
        rng = self.rng
        if rng.random() < 0.1:
            self.saved = self.net.server.save()
        name = rng.choices(list(self.deeds), list(self.deeds.values()))[0]
        node, key = rng.choice(self.nodes), rng.choice(self.focus)
        if name in FAULTS:
            self.tell(f"{name} {node.name}")
            self.fault(name, node)
            return
        match name:
            case "call":
                self.tell(f"call {key} on {node.name}")
                node.do(node.call(key))
            case "refresh":
                self.tell(f"refresh {key} on {node.name}")
                node.do(node.refresh(key))
            case "cancel":
                # An invalidation that nobody waits for any more has an unknown outcome: a fault.
                tasks = [task for task in node.tasks if not task.done()]
                if self.history.calm:
                    tasks = [
                        task for task in tasks if task.get_coro().__name__ in {"call", "refresh"}
                    ]
                if tasks:
                    task = rng.choice(tasks)
                    self.tell(f"cancel {task.get_coro().__qualname__} on {node.name}")
                    task.cancel()
                    node.loop.call_soon(lambda: None)
            case "time":
                self.run(lambda: False, until=self.now + rng.choice([0.5, 2.0, 6.0, 11.0, 25.0]))
            case _:
                pattern = rng.choice(list(PATTERNS))
                self.tell(f"{name} {key} {pattern} on {node.name}")
                node.do(node.changes(key, pattern)[name]())

    def fault(self, name: str, node: Node) -> None:
        """Let something break, and mend by itself after a while."""
        rng, net, server = self.rng, self.net, self.net.server
        while_ = rng.choice([0.01, 0.3, 1.5, 12.0])
        match name:
            case "cut":
                for wire in net.wires_of(node):
                    wire.cut()
            case "stall":
                for wire in net.wires_of(node):
                    wire.stalled = True
            case "part":
                net.refused.add(node)
                for wire in net.wires_of(node):
                    if rng.random() < 0.5:
                        wire.cut()
                    else:
                        wire.stalled = True
                self.call_later(while_, lambda: net.refused.discard(node))
            case "slow":
                net.slow = rng.choice([0.05, 0.5, 1.5])
                self.call_later(while_, lambda: setattr(net, "slow", 0.0))
            case "hold server":
                server.paused = True
                self.call_later(while_, server.resume)
            case "restart server":
                server.restart()
            case "bring old data back":
                server.restart(self.saved)
            case "flush":
                server.do_flushall()
            case "forget scripts":
                server.scripts.clear()
            case "lose":
                if names := sorted(server.keys.data):
                    lost = rng.choice(names)
                    self.tell(f"  {lost!r}")
                    server.lose(lost)
            case "full":
                server.full = True
                self.call_later(while_, lambda: setattr(server, "full", False))
            case "pause":
                node.loop.paused_until = self.now + while_
            case "kill":
                self.kill(node)
                self.add_node()

    def kill(self, node: Node) -> None:
        """End a process: what it has sent still arrives, nothing else of it happens."""
        node.alive = False
        self.nodes.remove(node)
        self.dead.append(node)
        self.loops.remove(node.loop)
        for wire in self.net.wires_of(node):
            wire.close()
            wire.protocol = None
        self.history.died(node.name)
        node.history = History(self.history.lives, KEYS)

    # From the beginning to the end

    def play(self) -> list[str]:
        """Run it; return what went wrong."""
        with self.installed(), simulated_threads(), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                for _ in range(FLEET):
                    self.add_node()
                for _ in range(self.rng.randint(10, 60)):
                    self.deed()
                    if self.rng.random() < 0.8:
                        pause = self.rng.expovariate(1 / self.pause)
                        self.run(lambda: False, until=self.now + pause)
                self.heal()
                self.agree()
                self.end()
            except Stuck as stuck:
                self.history.wrong(f"(e) {stuck}")
            finally:
                self.bury()
        return self.history.problems

    def heal(self) -> None:
        """Let all faults end, and everything that was begun."""
        server = self.net.server
        self.net.refused.clear()
        self.net.slow = 0.0
        server.full = False
        if server.paused:
            server.resume()
        for node in self.nodes:
            node.loop.paused_until = 0.0
        tasks = [task for node in self.nodes for task in node.tasks]
        end = self.now + HEALED_SECONDS
        self.run(lambda: all(task.done() for task in tasks), until=end)
        for node in self.nodes:
            for task in node.tasks:
                if not task.done():
                    self.history.wrong(f"(e) {task.get_coro()} on {node.name} waits for ever")
                elif not task.cancelled() and (error := task.exception()) is not None:
                    self.history.wrong(f"{task.get_coro()} on {node.name} raised {error!r}")
            node.tasks.clear()

    def each(self, key: str) -> list[int | None]:
        """Call the function on each node, one after the other."""
        seen: list[int | None] = []
        self.failing = self.hanging = self.longest = 0.0
        for node in self.nodes:
            task = node.do(node.call(key))
            self.run(task.done)
            seen.append(task.result())
        return seen

    def agree(self) -> None:
        """See that each node makes up for what it owes, and that all come to agree (d)."""
        for _ in range(1 if self.history.calm else 2):  # a breaker tries again after a second
            self.run(lambda: False, until=self.now + 3.0)
            for key in self.focus:
                self.each(key)
        for node in self.nodes:
            self.history.replayed(node.name)
        for key in self.focus:
            self.each(key)
            node = self.rng.choice(self.nodes)
            task = node.do(node.changes(key, "*")["invalidate"]())
            self.run(task.done)
            task.result()
            self.run(lambda: False, until=self.now + 3.1)  # near tiers are told, or do not serve
            seen = self.each(key)
            if len(set(seen)) > 1:
                self.history.wrong(f"(d) after all faults the nodes see {seen} for {key}")

    def end(self) -> None:
        """Stop the nodes, and see that nothing is left (e)."""
        self.run(lambda: False, until=self.now + 1.0)
        for node in self.nodes:  # what refreshes behind an answer may wait for another's lease
            settled = node.do(node.app.settled())
            self.run(settled.done, until=self.now + HEALED_SECONDS)
            if not settled.done():
                self.history.wrong(f"(e) {node.name} never settles")
        self.run(lambda: False, until=self.now + 3.0)  # what was timed out gives its lease back
        for node in self.nodes:
            regions = {id(one): one for one in node.regions()}
            for region in regions.values():
                if len(region.flights):
                    self.history.wrong(f"(e) {node.name} keeps {len(region.flights)} flights")
            if node.app.background._running:
                self.history.wrong(f"(e) {node.name} keeps {node.app.background._running}")
            renewals = node.provider._wires.renewals if node.provider._wires else None
            if renewals is not None and renewals._held:
                self.history.wrong(f"(e) {node.name} keeps leases {renewals._held}")
        server = self.net.server
        leases = [name for name in server.keys.data if name.startswith(b"sim:l:")]
        server.keys.expire_due()
        left = [name for name in leases if name in server.keys.data]
        if left and self.history.calm:
            self.history.wrong(f"(e) leases are left: {left}")
        for node in self.nodes:
            self.statistics(node)
            self.finish(node.loop, node.stop())
            self.run(lambda: False, until=self.now + 0.1)
            if tasks := asyncio.all_tasks(node.loop):
                self.history.wrong(f"(e) {node.name} leaves {tasks}")
        if server.unknown:
            self.history.wrong(f"the model lacks {server.unknown[0]!r}")

    def statistics(self, node: Node) -> None:
        """See that each call is counted, and once (f)."""
        stats = node.read.stats
        total = (
            stats.hits + stats.misses + stats.stale + stats.coalesced + stats.fallbacks
            + stats.bypasses
        )  # fmt: skip
        if total != self.history.calls[node.name]:
            self.history.wrong(
                f"(f) {node.name} counts {total} calls of {self.history.calls[node.name]}: {stats}"
            )

    def bury(self) -> None:
        """Take the nodes apart: whatever is still there must not speak up later."""
        for node in (*self.nodes, *self.dead):
            node.alive = False
            node.history = History(self.history.lives, KEYS)
            loop = node.loop
            loop.set_exception_handler(lambda *_: None)
            loop.paused_until = 0.0
            for wire in self.net.wires_of(node):
                wire.abort()
            for _ in range(50):
                tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
                if not tasks and not loop._ready:
                    break
                for task in tasks:
                    task.cancel()
                for _ in range(20):
                    loop.turn(self.rng, shuffled=False)
            if node.app.running:
                loop.create_task(node.stop())
                self.alone(loop)
            registry.forget_running(node.app)  # this process is not to take it for one of its own
            loop.end()

    def alone(self, loop: NodeLoop) -> None:
        """Let *loop* turn, and time pass, until nothing on it has anything to do."""
        for _ in range(500):
            if not loop._ready:
                due = loop.next_due()
                if due is None:
                    return
                self.now = max(self.now, due)
            loop.turn(self.rng, shuffled=False)


def play(seed: int, *, talk: bool = False) -> list[str]:
    """Run the schedule of a seed; return what went wrong."""
    return [f"seed {seed}: {problem}" for problem in Schedule(seed, talk=talk).play()]


def main(arguments: list[str]) -> int:
    """Replay."""
    problems: list[Any] = []
    for seed in arguments:
        problems += play(int(seed), talk=True)
    gc.collect()
    print("\n".join(problems) or "no promise was broken")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
