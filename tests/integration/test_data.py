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
    assert in_order(line) and line[1]["via"] == "direct", line
    row = bob.inbox()[0]
    shown = bob.call("messages.show", key="in:%d" % row["seq"])
    assert states(shown["timeline"]) == ["received"] and shown["timeline"][0]["via"] == "direct", shown
    bob.call("inbox.take", limit=1)
    shown = bob.call("messages.show", key="in:%d" % row["seq"])
    assert states(shown["timeline"]) == ["received", "read"], shown
    wait_for(lambda: states(timeline(alice, sent["msg_id"]))[-1] == "read", 8, what="the read receipt")
    line = timeline(alice, sent["msg_id"])
    assert states(line) == ["accepted", "handed", "delivered", "read"] and in_order(line), line
    text = alice.cli("outbox", "show", sent["msg_id"], check=True).stdout.decode()
    for word in ("accepted", "handed", "delivered", "read"):
        assert word in text, text


def queued_and_cancelled_ones_have_theirs():
    bob.stop()
    alice.wait_offline(bob.id)
    sent = alice.send(bob.id, "later")
    assert states(timeline(alice, sent["msg_id"])) == ["accepted"]
    dead = alice.send(bob.id, "never")
    alice.call("outbox.cancel", msg_id=dead["msg_id"])
    line = timeline(alice, dead["msg_id"])
    assert states(line) == ["accepted", "cancelled"] and "operator" in line[1]["detail"], line
    queue = alice.call("queue.list")
    assert queue["depth"] == 1 and queue["queue"][0]["peer"] == bob.id and queue["queue"][0]["queued"] == 1 and queue["oldest_ms"], queue
    bob.start(*APART)
    alice.wait_online(bob.id)
    wait_for(lambda: "delivered" in states(timeline(alice, sent["msg_id"])), 15, what="the delivery")
    assert states(timeline(alice, sent["msg_id"])) == ["accepted", "handed", "delivered"]
    assert alice.call("queue.list")["queue"] == []
    # Sent again after it was cancelled is not possible; after it expired it is, and the old end stays in the list.
    brief = None
    bob.stop()
    alice.wait_offline(bob.id)
    brief = alice.send(bob.id, "brief", ttl_ms=300)
    wait_for(lambda: states(timeline(alice, brief["msg_id"]))[-1] == "expired", 10, what="the expiry")
    again = alice.call("outbox.retry", msg_id=brief["msg_id"])
    assert states(timeline(alice, again["msg_id"])) == ["accepted", "expired", "queued"], timeline(alice, again["msg_id"])
    bob.start(*APART)
    alice.wait_online(bob.id)
    wait_for(lambda: states(timeline(alice, again["msg_id"]))[-1] == "delivered", 15, what="the second life")
    assert states(timeline(alice, again["msg_id"])) == ["accepted", "expired", "queued", "handed", "delivered"]


def a_relayed_one_names_its_relay():
    """carol has a link to bob alone; alice reaches her through him."""
    carol.start("--peer", bob.address, *APART)
    carol.wait_online(bob.id)
    for one, other in ((alice, carol), (carol, alice)):
        key = json.loads(other.cli("keys", "show", "--json", check=True).stdout)["public_key"]
        one.cli("trust", "pin", other.name, key, check=True)
    bob.restart("--routing", "relay", *APART)
    alice.wait_online(bob.id)
    carol.wait_online(bob.id)
    wait_for(lambda: [r for r in alice.call("routes.list")["routes"] if r["to"]["id"] == carol.id and r["best"]], 20,
             what="a route to carol")
    sent = alice.send(carol.id, "around the corner", wait_ms=15000)
    assert sent["state"] == "delivered", sent
    line = timeline(alice, sent["msg_id"])
    assert states(line) == ["accepted", "handed", "delivered"], line
    assert line[1]["via"] == "relay" and line[1]["detail"] == "through bob, 2 hops", line
    row = carol.inbox()[-1]
    shown = carol.call("messages.show", key="in:%d" % row["seq"])
    assert shown["via"] == bob.id and shown["timeline"][0]["via"] == "relay", shown
    graph = alice.call("mesh.graph")
    assert {n["id"]: n["dist"] for n in graph["nodes"]} == {alice.id: "self", bob.id: "direct", carol.id: "relayed"}, graph
    assert ["session", "route"] == sorted((e["known"] for e in graph["edges"]), reverse=True), graph


a_relayed_one_names_its_relay.needs_im2 = True


def conversations_have_both_directions():
    for i in range(5):
        alice.send(bob.id, "a%d" % i, wait_ms=8000)
        time.sleep(0.005)  # of one millisecond, ours would come first
        bob.send(alice.id, "b%d" % i, wait_ms=8000)
        time.sleep(0.005)
    heads = alice.call("conversations.list", preview=True)
    assert heads["conversations"][0]["peer"] == bob.id and heads["conversations"][0]["preview"] == "b4", heads
    assert heads["conversations"][0]["unread"] == 5, heads
    page = alice.call("conversations.show", peer="bob", limit=4, bodies=True)
    assert [m["dir"] for m in page["messages"]] == ["in", "out", "in", "out"], page
    assert page["messages"][0]["body"] == "b4" and page["newer"] is None and page["older"], page
    older = alice.call("conversations.show", peer=bob.id, limit=4, before=page["older"])
    back = alice.call("conversations.show", peer=bob.id, limit=4, after=older["newer"])
    assert [m["key"] for m in back["messages"]] == [m["key"] for m in page["messages"]], (back, page)
    assert "body" not in older["messages"][0], older
    every, before = [], None
    while True:
        got = alice.call("conversations.show", peer="bob", limit=3, **({"before": before} if before else {}))
        every += [m["key"] for m in got["messages"]]
        before = got["older"]
        if not before:
            break
    assert len(every) == len(set(every)) == heads["conversations"][0]["total"], every
    body = alice.call("messages.body", key=page["messages"][0]["key"])
    assert body["body"] == "b4", body
    assert alice.refused("messages.show", "usage", key="sideways:1")
    assert alice.refused("messages.show", "not-found", key="in:999999")
    said = alice.send(bob.id, "in a conversation", conversation="new", wait_ms=8000)
    only = alice.call("conversations.show", peer="bob", conversation=said["conversation"])
    assert [m["msg_id"] for m in only["messages"]] == [said["msg_id"]], only
    assert b"b4" in alice.cli("conversations", "bob", check=True).stdout
    assert b"bob" in alice.cli("conversations", check=True).stdout


def same(m, n):
    for section in ("attention", "peers", "conversations", "queue", "mesh"):
        told, now = m.tables[section], n.tables[section]
        for key in set(told) | set(now):
            if told.get(key) != now.get(key):
                return "%s %s: told %s, is %s" % (section, key, told.get(key), now.get(key))
    return None


def whoever_follows_has_what_a_fresh_snapshot_says():
    dice = random.Random(7)
    m = Mirror(alice, limit=2)
    ids = []

    def act():
        what = dice.randrange(10)
        if what < 3:
            ids.append(alice.send(bob.id, "x" * dice.randrange(2000))["msg_id"])
        elif what < 5:
            bob.send(alice.id, "y")
        elif what == 5:
            alice.call("inbox.take", limit=3)
        elif what == 6:
            alice.call("peers.alias", peer=bob.id, alias="bob-%d" % dice.randrange(1000))
        elif what == 7 and ids:
            try:
                alice.call("outbox.cancel", msg_id=dice.choice(ids))
            except RpcError:
                pass
        elif what == 8 and dice.randrange(4) == 0:
            bob.restart("--routing", "relay", *APART)
        else:
            m.follow(0.2)

    for _ in range(120):
        act()
    alice.wait_online(bob.id)
    alice.call("peers.alias", peer=bob.id, alias="")
    m.follow(11)  # what is looked at seldom has been looked at
    for _ in range(20):
        n = Mirror(alice)
        m.follow(0.3)
        wrong = same(m, n)
        n.close()
        if not wrong:
            break
    assert not wrong, wrong
    assert m.gaps == 0 and m.batches > 5, (m.gaps, m.batches)
    assert m.messages, "no message was told"
    m.close()


def a_feed_goes_on_after_a_break():
    m = Mirror(alice)
    m.follow(1)
    boot, seq = m.boot, m.seq
    m.close()
    alice.send(bob.id, "meanwhile", wait_ms=8000)
    c = Control(os.path.join(alice.home, "control.sock"))
    assert c.call("feed.subscribe", boot=boot, since=seq)["gap"] is False
    assert c.call("feed.subscribe", boot="00" * 8, since=seq)["gap"] is True
    assert c.call("feed.subscribe", boot=boot, since=seq + 1000)["gap"] is True
    c.close()
    alice.restart("--peer", bob.address, *APART)
    c = Control(os.path.join(alice.home, "control.sock"))
    assert c.call("feed.subscribe", boot=boot, since=seq)["gap"] is True
    c.close()


def static_peers_with_long_names_are_told_apart():
    dave = lab.daemon("dave")
    long = "x" * 60 + "." + "y" * 60 + "."
    dave.start("--peer", long + "one.invalid:1", "--peer", long + "two.invalid:1")
    m = Mirror(dave)
    keys = set(m.tables["peers"])
    assert len(keys) == 2, keys
    m.close()
    c, last, again = dave.connect(), {}, 0
    c.call("feed.subscribe")
    end = time.monotonic() + 4
    while time.monotonic() < end:
        try:
            batch = c.read_line(time.monotonic() + 1).get("params", {})
        except TimeoutError:
            continue
        for row in batch.get("peers", {}).get("put", []):
            assert row["key"] in keys, row
            again += last.get(row["key"]) == row
            last[row["key"]] = row
    assert not again, "%d rows were told as they had been told" % again
    c.close()
    dave.stop()


def what_needs_the_operator_has_a_button():
    mallory = lab.daemon("mallory")
    alice.restart("--peer", bob.address, "--discovery", "off")
    mallory.start("--peer", alice.address, "--discovery", "off")
    wait_for(lambda: [i for i in alice.call("attention.list")["items"] if i["kind"] == "peer-pending"], 15, what="the pending peer")
    item = [i for i in alice.call("attention.list")["items"] if i["kind"] == "peer-pending"][0]
    assert item["subject"]["peer"] == mallory.id and item["severity"] == "warning" and item["action"]["confirm"], item
    alice.call(item["action"]["method"], **item["action"]["params"])
    assert not [i for i in alice.call("attention.list")["items"] if i["kind"] == "peer-pending"]
    mallory.stop()


def a_refused_reload_stands_until_one_succeeds():
    path = os.path.join(alice.home, "ironmesh.conf")

    def kinds():
        return [i["kind"] for i in alice.call("attention.list")["items"]]

    with open(path, "w") as out:
        out.write("[log]\nlevel = nonsense\n")
    try:
        alice.call("config.reload")
        raise AssertionError("nonsense was taken")
    except RpcError:
        pass
    item = [i for i in alice.call("attention.list")["items"] if i["kind"] == "config-reload-failed"][0]
    assert item["severity"] == "error" and "nonsense" in item["means"], item
    m = Mirror(alice)
    assert m.tables["status"]["status"]["health"]["word"] == "error", m.tables["status"]
    os.unlink(path)
    alice.call("config.reload")
    assert "config-reload-failed" not in kinds()
    m.until(lambda x: "config-reload-failed" not in x.tables["attention"], what="the end of the alarm")
    m.close()


if __name__ == "__main__":
    sys.exit(lab.run(two_daemons_meet, a_delivered_message_has_its_steps, queued_and_cancelled_ones_have_theirs,
                     a_relayed_one_names_its_relay, conversations_have_both_directions,
                     whoever_follows_has_what_a_fresh_snapshot_says, a_feed_goes_on_after_a_break,
                     static_peers_with_long_names_are_told_apart, what_needs_the_operator_has_a_button, a_refused_reload_stands_until_one_succeeds))
