#!/usr/bin/python3
"""What the dashboard shows, over the control socket of real daemons: the timeline of messages, conversations, the queue, what
needs the operator, and the feed: whoever follows it has what a fresh snapshot says.
"""
import json
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib")]
from ironlab import Lab, Control, RpcError, wait_for  # noqa: E402

lab = Lab("test_data", __doc__)
alice, bob, carol = (lab.daemon(name) for name in ("alice", "bob", "carol"))
SECTIONS = ("status", "attention", "peers", "conversations", "queue", "mesh", "stats", "events")
APART = ("--trust-on-first-use", "--discovery", "off")


class Mirror:
    """What a page knows: a snapshot, and the changes since."""

    def __init__(self, daemon, limit=500):
        self.control = Control(os.path.join(daemon.home, "control.sock"))  # changes come here
        self.asks = Control(os.path.join(daemon.home, "control.sock"))
        self.limit = limit
        self.gaps = self.batches = 0
        self.reloads = set()
        self.messages = {}
        self.snapshot()

    def snapshot(self):
        self.tables, first = {}, None
        for section in SECTIONS:
            self.tables[section] = {}
            after = None
            while True:
                more = {"after": after} if after else {}
                page = self.asks.call("feed.snapshot", section=section, limit=self.limit, **more)
                first = first or page
                assert page["boot"] == first["boot"], page["boot"]
                for row in page["rows"]:
                    self.tables[section][row["key"]] = row
                after = page["next"]
                if not after:
                    break
        self.boot, self.seq = first["boot"], first["seq"]
        said = self.control.call("feed.subscribe", since=self.seq, boot=self.boot)
        assert not said["gap"], said

    def take(self, batch):
        assert batch["schema"] == "ironmesh.feed/1" and batch["boot"] == self.boot, batch
        if batch.get("gap"):
            self.gaps += 1
            self.snapshot()
            return
        assert batch["seq"] == self.seq + 1, (batch["seq"], self.seq)
        self.seq = batch["seq"]
        self.batches += 1
        if "status" in batch:
            self.tables["status"] = {"status": batch["status"]}
        for section in ("attention", "peers", "conversations", "queue", "mesh"):
            change = batch.get(section, {})
            for row in change.get("put", []):
                self.tables[section][row["key"]] = row
            for key in change.get("del", []):
                self.tables[section].pop(key, None)
        for section in ("stats", "events"):
            for row in batch.get(section, []):
                self.tables[section][row["key"]] = row
        messages = batch.get("messages", {})
        for row in messages.get("put", []):
            self.messages[row["key"]] = row
        self.reloads.update(messages.get("reload", []))

    def follow(self, seconds):
        """Takes what comes in this time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                message = self.control.read_line(end)
            except TimeoutError:
                return
            if message.get("method") == "feed":
                self.take(message["params"])

    def until(self, predicate, seconds=8, what="a change"):
        end = time.monotonic() + seconds
        while not predicate(self):
            assert time.monotonic() < end, "no %s: %s" % (what, json.dumps(self.tables)[:2000])
            self.follow(0.1)

    def close(self):
        self.control.close()
        self.asks.close()


def timeline(daemon, msg_id):
    return daemon.call("outbox.show", msg_id=msg_id)["timeline"]


def states(line):
    return [step["state"] for step in line]


def in_order(line):
    return all(a["at_ms"] <= b["at_ms"] for a, b in zip(line, line[1:]))


def two_daemons_meet():
    bob.start(*APART)
    alice.start("--peer", bob.address, *APART)
    alice.wait_online(bob.id)
    bob.wait_online(alice.id)


def a_delivered_message_has_its_steps():
    sent = alice.send(bob.id, "hello", wait_ms=8000)
    line = timeline(alice, sent["msg_id"])
    assert states(line) == ["accepted", "handed", "delivered"], line
    assert in_order(line) and line[1]["via"] == "session", line
    row = bob.inbox()[0]
    shown = bob.call("messages.show", key="in:%d" % row["seq"])
    assert states(shown["timeline"]) == ["received"] and shown["timeline"][0]["via"] == "session", shown
    bob.call("inbox.take", limit=1)
    shown = bob.call("messages.show", key="in:%d" % row["seq"])
    assert states(shown["timeline"]) == ["received", "read"], shown
    wait_for(lambda: states(timeline(alice, sent["msg_id"]))[-1] == "read", 8, what="the read receipt")
    line = timeline(alice, sent["msg_id"])
    assert states(line) == ["accepted", "handed", "delivered", "read"] and in_order(line), line
    text = alice.cli("outbox", "show", sent["msg_id"], check=True).stdout.decode()
    for word in ("accepted", "handed", "delivered", "read"):
        assert word in text, text


def feed_equals_a_fresh_snapshot():
    m = Mirror(alice)
    m.follow(2)
    n = Mirror(alice)
    for section in ("attention", "peers", "conversations", "queue", "mesh"):
        assert m.tables[section] == n.tables[section], (section, m.tables[section], n.tables[section])
    m.close()
    n.close()


if __name__ == "__main__":
    lab.run(two_daemons_meet, a_delivered_message_has_its_steps, feed_equals_a_fresh_snapshot)
