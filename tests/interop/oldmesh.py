"""oldmesh -- the mesh of an old daemon, for peer09: the table of routes, its announcements, and how it passes frames on.

Written from the description of the wire alone (wire 4.5 and 5), with the habits of the old software: a table entry per
destination, no triggered updates, no memory of who sent what to whom but (source, msg_id), frames bounced to where they came
from. `lies` and `loses` make it a bad neighbour.
"""
import copy
import json
import os
import threading
import time

from wire09 import USER_TYPES, Drop, compact, seal_frame

INFINITY = 16
LIFE = 90.0


class Mesh:
    def __init__(self, peer, relays=True):
        self.peer = peer
        peer.mesh = self
        self.relays = relays
        self.lock = threading.RLock()
        self.table = {}                # destination -> [next hop, cost, learned from, at]
        self.seen = set()
        self.sequence = 0
        self.lies = None               # function(list of routes) -> list of routes, before they are told
        self.loses = lambda m: False   # frames that vanish here
        self.passed = []               # what went on, as it came
        self.dropped = []              # (reason, message)
        self.unreachable = []          # payloads of ROUTE_UNREACHABLE
        self.told = []                 # (neighbour, announcement)

    @property
    def id(self):
        return self.peer.id

    def session(self, node):
        for session in self.peer.sessions:
            if session.remote.id == node and not session.over.is_set():
                return session
        return None

    # --- announcements
    def routes_for(self, neighbour):
        out = [{"destination": self.id, "cost": 0}]
        for destination, (_, cost, learned, _at) in self.table.items():
            if destination != neighbour:
                out.append({"destination": destination, "cost": INFINITY if learned == neighbour else cost})
        return out

    def announce(self, *only):
        """To every neighbour, or to these."""
        with self.lock:
            for session in self.peer.sessions:
                if session.over.is_set() or (only and session.remote.id not in only):
                    continue
                routes = self.routes_for(session.remote.id) if self.relays else [{"destination": self.id, "cost": 0}]
                if self.lies:
                    routes = self.lies(routes)
                self.tell(session, routes)

    def tell(self, session, routes, **more):
        with self.lock:
            self.sequence += 1
            payload = dict({"origin": self.id, "routes": routes, "sequence_number": self.sequence}, **more)
        session.send("ROUTE_ANNOUNCE", compact(payload), msg_id=os.urandom(16).hex(), ttl=3)

    def control(self, session, m):
        got = json.loads(m.payload)
        if m.type == "ROUTE_UNREACHABLE":
            self.unreachable.append(got)
            return
        with self.lock:
            self.told.append((session.remote.id, got))
            self.hear(session.remote.id, got["routes"])

    def hear(self, neighbour, routes):
        for one in routes:
            destination, cost = one["destination"], int(one.get("cost", INFINITY))
            if destination == self.id:
                continue
            mine, entry = cost + 1, self.table.get(destination)
            if mine <= 0 or mine >= INFINITY:
                if entry and entry[2] == neighbour:
                    del self.table[destination]
            elif not entry or entry[2] == neighbour or mine < entry[1]:
                self.table[destination] = [neighbour, mine, neighbour, time.monotonic()]

    def last_told_by(self, neighbour):
        """{destination: cost} of the newest announcement of this neighbour."""
        with self.lock:
            mine = [got for who, got in self.told if who == neighbour]
        return {r["destination"]: r["cost"] for r in mine[-1]["routes"]} if mine else {}

    # --- frames of others
    def next_hop(self, destination):
        direct = self.session(destination)
        if direct:
            return direct
        entry = self.table.get(destination)
        return self.session(entry[0]) if entry else None

    def transit(self, session, m):
        with self.lock:
            try:
                self._transit(session, m)
            except Drop as reason:
                self.dropped.append((str(reason), m))

    def _transit(self, session, m):
        if not self.relays:
            raise Drop("passive")
        if (m.source, m.msg_id) in self.seen:
            raise Drop("duplicate")
        self.seen.add((m.source, m.msg_id))
        if m.ttl <= 0:
            raise Drop("ttl")
        if self.id in m.hops:
            raise Drop("loop")
        if self.loses(m):
            raise Drop("swallowed")
        hop = self.next_hop(m.destination)
        if hop is None:
            self.say_unreachable(m)
            raise Drop("no-route")
        self.passed.append(copy.copy(m))
        on = copy.copy(m)
        on.ttl, on.hops = m.ttl - 1, m.hops + [self.id]
        self.hand(hop, on)

    @staticmethod
    def hand(session, m, **frame):
        """This very message, under the keys of `session`."""
        with session.lock:
            session.sequence += 1
            m.sequence = session.sequence
            session.channel.send(seal_frame(m, session.key, session.me, **frame))

    def say_unreachable(self, m):
        back = self.next_hop(m.source)
        if back:
            payload = {"destination": m.destination, "original_msg_id": m.msg_id, "reason": "no_route"}
            back.send("ROUTE_UNREACHABLE", compact(payload), destination=m.source, msg_id=os.urandom(16).hex(), ttl=3)

    def clear_texts(self):
        """Every clear payload of a user message that came by here."""
        with self.lock:
            return [m.payload for m in self.passed + [m for _, m in self.dropped] if m.type in USER_TYPES and m.payload]
