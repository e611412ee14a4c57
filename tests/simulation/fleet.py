"""
Three nodes over one server, what is done to them, and what must be left in the end.

Who decides what happens is somebody else: a seed (`play.py`) or a search (`machine.py`).
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from redis.crc import key_slot

from stillfresh.services.current import registry

from .cluster import ClusterModel, Place, Shard
from .conditions import LASTING, Conditions
from .history import History
from .network import Network
from .nodes import KEYS, WAYS, Node, far_node, node_threads
from .server import ServerModel
from .virtual import NodeLoop, Stuck, World

SIZE = 3
HEALED_SECONDS = 90.0
"""Longer than everything that may be waited for: a lease, a function that seems to hang."""


class Fleet(World):
    """A world with its nodes, and what may happen in it."""

    def __init__(self, seed: int, conditions: Conditions, *, talk: bool = False) -> None:
        super().__init__(seed)
        self.talk = talk
        self.conditions = conditions
        self.way, lives = WAYS[conditions.way]
        self.history = History(lives, KEYS)
        self.history.tell = self.tell
        self.history.calm = conditions.calm
        self.cluster = ClusterModel(self) if conditions.cluster else None
        servers = self.cluster.shards if self.cluster else [ServerModel(self)]
        self.net = Network(self, {one.place: one for one in servers})
        self.failing = conditions.failing
        self.preempting = conditions.preempting
        self.history.preempting = conditions.preempting > 0
        self.save()
        self.nodes: list[Node] = []
        self.dead: list[Node] = []
        self.born = 0
        self.healed = False

    @property
    def servers(self) -> list[ServerModel]:
        """The primaries."""
        return [one for one in self.net.servers.values() if one.role == b"master"]

    def save(self) -> None:
        """Note what servers would bring back from their disks, or a replica that is behind."""
        self.saved = {one.place: one.save() for one in self.servers}

    @property
    def lateness(self) -> float:
        return self.conditions.lateness

    def takes(self) -> float:
        """Draw how long a computation takes."""
        rng, conditions = self.rng, self.conditions
        if self.healed:
            return 0.0
        if rng.random() < conditions.hanging:
            return rng.uniform(8.0, 40.0)
        longest = conditions.longest
        return rng.uniform(0.0, longest) if longest and rng.random() < 0.8 else 0.0

    def tell(self, text: str) -> None:
        """Say what happens, when somebody listens."""
        if self.talk:
            print(f"{self.now:10.4f} {text}")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Replace what this process has only one of by what the world has, for a while."""
        with self.installed(), node_threads(self), warnings.catch_warnings():
            warnings.simplefilter("error")
            yield

    def add_node(self) -> None:
        """Start one more node."""
        self.born += 1
        options = {"after_restart": "discard"} if self.conditions.strict else {}
        url = "redis+cluster://far:6379,far:6380,far:6381" if self.cluster else "redis://far:6379"
        node = far_node(f"n{self.born}", self, self.history, self.way, url, **options)
        self.finish(node.loop, node.start())
        self.nodes.append(node)

    # What happens

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(lambda: False, until=self.now + seconds)

    def deed(
        self, name: str, node: Node, key: str, pattern: str, *, threaded: bool = False
    ) -> None:
        """Begin something."""
        match name:
            case "call" | "refresh":
                self.tell(f"{name} {key} on {node.name}{' (thread)' if threaded else ''}")
                node.begin(name, key, threaded=threaded)
            case "cancel":
                # An invalidation that nobody waits for any more has an unknown outcome: a fault.
                if tasks := node.cancellable(calls_only=self.history.calm):
                    task = self.rng.choice(tasks)
                    self.tell(f"cancel {task.get_coro().__qualname__} on {node.name}")
                    task.cancel()
                    node.loop.call_soon(lambda: None)
            case "move a slot":
                self.move_a_slot()
            case _:
                self.tell(f"{name} {key} {pattern} on {node.name}")
                node.begin_change(name, key, pattern, threaded=threaded)

    def fault(self, name: str, node: Node, lasts: float) -> None:
        """Let something break, and mend by itself after a while."""
        rng, net, server = self.rng, self.net, self.rng.choice(self.servers)
        self.tell(f"{name} {node.name} {server.place}")
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
                self.call_later(lasts, lambda: net.refused.discard(node))
            case "slow":
                net.slow = rng.choice([0.05, 0.5, 1.5])
                self.call_later(lasts, lambda: setattr(net, "slow", 0.0))
            case "hold server":
                server.paused = True
                self.call_later(lasts, server.resume)
            case "restart server":
                server.restart()
            case "bring old data back":
                server.restart(self.saved[server.place])
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
                self.call_later(lasts, lambda: setattr(server, "full", False))
            case "fail over":
                self.fail_over(server)
            case "pause":
                node.loop.paused_until = self.now + lasts
            case "kill":
                self.kill(node)
                self.add_node()

    def fail_over(self, server: ServerModel) -> None:
        """
        Let a server die, and its replica take its place.

        It is behind where what it brings back is not trusted; else it has everything.
        """
        saved = self.saved[server.place] if self.conditions.strict else server.save()
        if self.cluster is None:
            server.restart(saved)  # at the same address
            return
        assert isinstance(server, Shard)
        made = self.cluster.fail_over(server, saved)
        if made is None:
            return
        del self.net.servers[server.place]
        if (replica := self.net.servers.get(made.place)) is not None:
            replica.die()
        self.net.servers[made.place] = made
        self.saved[made.place] = saved
        server.die()
        self.call_later(self.rng.choice(LASTING), lambda: self.come_back(server.place))

    def come_back(self, place: Place) -> None:
        """Let a server that has died be a replica, at the same place."""
        assert self.cluster is not None
        if place in self.cluster.dead:
            self.net.servers[place] = self.cluster.come_back(place)

    def move_a_slot(self) -> None:
        """Let the names of a slot move from one server to another, one after the other."""
        cluster, rng = self.cluster, self.rng
        if cluster is None:
            return
        names = sorted(name for shard in cluster.shards for name in shard.keys.data)
        if not names:
            return
        slot, target = key_slot(rng.choice(names)), rng.choice(cluster.shards)
        self.tell(f"slot {slot} moves to {target.place}")
        cluster.begin(slot, target)
        self.history.moves(
            [name for name in names if key_slot(name) == slot], strict=self.conditions.strict
        )
        self.call_later(rng.uniform(0.0, 0.02), lambda: self._move_on(slot))

    def _move_on(self, slot: int) -> None:
        cluster = self.cluster
        if cluster is None or slot not in cluster.moving:
            return  # one of the two has died
        names = cluster.names(slot)
        self.history.moves(names, strict=self.conditions.strict)
        if names:
            cluster.move(slot, self.rng.choice(names))
            self.call_later(self.rng.uniform(0.0, 0.02), lambda: self._move_on(slot))
        else:
            cluster.end(slot)

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

    # The end

    def see_the_end(self) -> None:
        """Mend everything, and see that what must hold in the end holds."""
        try:
            self.heal()
            self.agree()
            self.end()
        except Stuck as stuck:
            self.history.wrong(f"(e) {stuck}")

    def heal(self) -> None:
        """Let all faults end, and everything that was begun."""
        self.net.refused.clear()
        self.net.slow = 0.0
        if self.cluster is not None:
            for place in list(self.cluster.dead):
                self.come_back(place)
            # With one server the next command finds out that a connection is half open. Here it may
            # be one that is not used again before the end.
            for wire in self.net.wires:
                if wire.stalled:
                    wire.cut()
        for server in self.servers:
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
        for node in self.nodes:
            task = node.begin("call", key)
            self.run(task.done)
            seen.append(task.result())
        return seen

    def agree(self) -> None:
        """See that each node makes up for what it owes, and that all come to agree (d)."""
        self.failing, self.healed = 0.0, True
        keys = self.conditions.keys
        for _ in range(1 if self.history.calm else 2):  # a breaker tries again after a second
            self.wait(3.0)
            for key in keys:
                self.each(key)
        for node in self.nodes:
            self.history.replayed(node.name)
        for key in keys:
            self.each(key)
            task = self.rng.choice(self.nodes).begin_change("invalidate", key, "*")
            self.run(task.done)
            task.result()
            self.wait(3.1)  # near tiers are told, or do not serve
            seen = self.each(key)
            if len(set(seen)) > 1:
                self.history.wrong(f"(d) after all faults the nodes see {seen} for {key}")

    def end(self) -> None:
        """Stop the nodes, and see that nothing is left (e)."""
        self.wait(1.0)
        # A thread cannot be ended from outside: one that is past its timeout runs on.
        self.run(lambda: not self.history.computing, until=self.now + HEALED_SECONDS)
        for node in self.nodes:  # what refreshes behind an answer may wait for another's lease
            settled = node.do(node.app.settled())
            self.run(settled.done, until=self.now + HEALED_SECONDS)
            if not settled.done():
                self.history.wrong(f"(e) {node.name} never settles")
        self.wait(3.0)  # what was timed out gives its lease back
        # One whose end was not answered may arrive late, and is asked about for so long.
        self.run(
            lambda: not any(node.left() for node in self.nodes), until=self.now + HEALED_SECONDS
        )
        for node in self.nodes:
            for what in node.left():
                self.history.wrong(f"(e) {node.name} keeps {what}")
        left: list[bytes] = []
        for server in self.servers:
            leases = [name for name in server.keys.data if name.startswith(b"sim:l:")]
            server.keys.expire_due()
            left += [name for name in leases if name in server.keys.data]
        if left and self.history.calm:
            self.history.wrong(f"(e) leases are left: {left}")
        for node in self.nodes:
            self.statistics(node)
            self.finish(node.loop, node.stop())
            self.wait(0.1)
            if tasks := asyncio.all_tasks(node.loop):
                self.history.wrong(f"(e) {node.name} leaves {tasks}")
            if threads := [one for one in node.threads if not one.over]:
                self.history.wrong(f"(e) {node.name} leaves {threads}")
        for server in self.servers:
            if server.unknown:
                self.history.wrong(f"the model lacks {server.unknown[0]!r}")

    def statistics(self, node: Node) -> None:
        """See that each call is counted, and once (f)."""
        total = node.counted()
        if total != self.history.calls[node.name]:
            self.history.wrong(
                f"(f) {node.name} counts {total} calls of {self.history.calls[node.name]}"
            )

    def bury(self) -> None:
        """Take the nodes apart: whatever is still there must not speak up later."""
        for node in (*self.nodes, *self.dead):
            node.alive = False
            node.history = History(self.history.lives, KEYS)
            loop = node.loop
            loop.set_exception_handler(lambda *_: None)
            loop.paused_until = 0.0
            for thread in list(node.threads):
                thread.kill()
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
