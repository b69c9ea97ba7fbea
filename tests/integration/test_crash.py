#!/usr/bin/python3
"""kill -9 of either side while 1,000 messages run both ways, again and again.

What was answered to the sender is a promise: at the end it is in the receiver's inbox exactly once, and the
sender's outbox says delivered. Over the old wire it is there in order; over im2 the ids say the order. What was not answered may be there or not; a sender that asks
again with the same msg_id gets `exists` or a place, never a second copy.

    test_crash.py [--rounds N] [--messages N] [--seed N]
"""
import os
import random
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import Control, Lab, RpcError, body_of, wait_for  # noqa: E402

WINDOW = 8  # submissions that wait for their answer at once


def options(parser):
    parser.add_argument("--rounds", type=int, default=3, help="how often somebody is killed (3)")
    parser.add_argument("--messages", type=int, default=1000, help="in all, half in each direction (1,000)")
    parser.add_argument("--seed", type=int, default=None, help="for the moments of the kills (random)")


lab = Lab("test_crash", __doc__, options)
ROUNDS = lab.args.rounds
SEED = lab.args.seed if lab.args.seed is not None else random.SystemRandom().randrange(1 << 32)
dice = random.Random(SEED)
EACH = lab.args.messages // 2
alice, bob = lab.daemon("alice"), lab.daemon("bob")


class Submitter:
    """Submits in order through crashes: what has no answer is asked again with the same msg_id."""

    def __init__(self, daemon, to):
        self.daemon, self.to = daemon, to
        self.path = os.path.join(daemon.home, "control.sock")
        self.pace = random.Random(dice.random())
        self.answered = []      # msg_ids, in the order of submission
        self.exists = 0         # asked again and found accepted: the answer was lost, the message not
        self.again = 0
        self.allowed = 0        # how many may be submitted by now
        self.problem = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def text(self, i):
        return "%s message %04d %s" % (self.daemon.name, i, "x" * (i * 37 % 900))

    def msg_id(self, i):
        return "%s-%04d" % (self.daemon.name, i)

    def run(self):
        try:
            while len(self.answered) < EACH:
                try:
                    control = Control(self.path)
                except OSError:
                    time.sleep(0.01)
                    continue
                try:
                    self.talk(control)
                except (OSError, ConnectionError, TimeoutError):
                    self.again += 1
                finally:
                    control.close()
        except Exception as problem:
            self.problem = problem

    def talk(self, control):
        waiting, i = [], len(self.answered)
        while len(self.answered) < EACH:
            while len(waiting) < WINDOW and i < min(EACH, self.allowed):
                waiting.append((i, control.ask("send", to=self.to, body=self.text(i), msg_id=self.msg_id(i), ttl_ms=0)))
                i += 1
                if self.pace.random() < 0.5:  # else a round is over before anybody can be killed in it
                    break
            if not waiting:
                time.sleep(0.002)
                continue
            time.sleep(self.pace.random() * 0.002)
            number, request = waiting.pop(0)
            try:
                got = control.answer(request, 20)
                assert got["msg_id"] == self.msg_id(number), got
            except RpcError as error:
                if error.err != "exists":
                    raise
                self.exists += 1
            self.answered.append(self.msg_id(number))


senders = []
throughput = []


def starts_and_meets():
    print("  seed %d, %d rounds, %d messages each way" % (SEED, ROUNDS, EACH))
    alice.start("--trust-on-first-use", "--log-level", "info")
    bob.start("--trust-on-first-use", "--log-level", "info", "--peer", alice.address)
    alice.wait_online(bob.id)
    bob.wait_online(alice.id)
    senders.append(Submitter(alice, bob.id))
    senders.append(Submitter(bob, alice.id))
    for s in senders:
        s.thread.start()


def kills_at_random_points():
    for turn in range(ROUNDS):
        goal = EACH * (turn + 1) // ROUNDS if turn < ROUNDS - 1 else EACH
        began, at = time.monotonic(), sum(len(s.answered) for s in senders)
        for s in senders:
            s.allowed = goal
        # A point in the work of this round, not a moment: slow machines are cut in the middle too.
        cut = at + int(dice.random() * max(1, 2 * goal - at))
        wait_for(lambda: sum(len(s.answered) for s in senders) >= cut or any(s.problem for s in senders), 30, 0.0005,
                 "%d answers in round %d" % (cut, turn))
        time.sleep(dice.expovariate(1 / 0.0015))  # within the work, a disk commit takes as long
        victims = dice.choice(((alice,), (bob,), (alice, bob)))
        for v in victims:
            v.kill9()
        pending = sum(s.allowed - len(s.answered) for s in senders)
        if dice.random() < 0.5:
            time.sleep(dice.random() * 0.3)
        for v in dice.sample(victims, len(victims)):
            v.start()
            if dice.random() < 0.2:  # and again while it finds its feet
                time.sleep(dice.expovariate(1 / 0.01))
                v.kill9()
                v.start()
        wait_for(lambda: all(len(s.answered) >= goal for s in senders) or any(s.problem for s in senders), 60,
                 what="the answers of round %d" % turn)
        for s in senders:
            assert s.problem is None, s.problem
        took = time.monotonic() - began
        throughput.append((sum(len(s.answered) for s in senders) - at) / took)
        print("  round %2d: killed %-10s after %4d answers, %3d to go, %6.0f accepted/s with restart" % (
            turn + 1, "+".join(v.name for v in victims), cut, pending, throughput[-1]))


def every_answer_was_kept():
    for s in senders:
        s.thread.join(30)
        assert s.problem is None, s.problem
        assert s.answered == [s.msg_id(i) for i in range(EACH)]
    print("  lost answers found again as `exists`: %d, reconnects: %d" % (
        sum(s.exists for s in senders), sum(s.again for s in senders)))


def everything_is_delivered():
    for s in senders:
        wait_for(lambda s=s: all(m["state"] in ("delivered", "read") for m in s.daemon.outbox()), 60, 0.2,
                 "delivered everywhere; %s shows %s" % (s.daemon.name, s.daemon.status()["outbox"]))
        rows = {m["msg_id"]: m for m in s.daemon.outbox()}
        assert sorted(rows) == sorted(s.answered), "the outbox holds other messages than were answered"


def exactly_once_and_in_order():
    for s, receiver in zip(senders, (bob, alice)):
        wire = {m["msg_id"]: m["wire_id"] for m in s.daemon.outbox()}
        want = [wire[i] for i in s.answered]
        # One era, and a sequence that rises: whoever needs the order has it (im2.md 9.5).
        assert want == sorted(want) and len({w[:16] for w in want}) == 1, want[:3]
        got = receiver.inbox()
        late = sum(a["msg_id"] > b["msg_id"] for a, b in zip(got, got[1:]))
        if lab.suite == "im2":
            print("  %s: %d messages came after a later one" % (receiver.name, late))
            got.sort(key=lambda m: m["msg_id"])
        assert [m["msg_id"] for m in got] == want, "%d messages, or out of order: %s" % (
            len(got), [m["msg_id"] for m in got if m["msg_id"] not in want][:5])
        for i, m in enumerate(got):
            assert body_of(m).decode() == s.text(i), m["msg_id"]
            # im2 knows its author by the session, and signs only what others are to be shown (9.4).
            assert m["from"]["id"] == m["via"]["id"] == s.daemon.id and m["proven"] == (lab.suite == "0.9"), m


def audit_chain_is_whole():
    for d in (alice, bob):
        got = d.call("audit.verify", timeout=30)
        assert got["ok"] is True and got["entries"] > 0, got


def still_works_and_stops_cleanly():
    for one, other in ((alice, bob), (bob, alice)):
        one.wait_online(other.id)
        got = one.send(other.id, "after all of it", wait_ms=10000)
        assert got["state"] in ("delivered", "read"), got
    for d in (alice, bob):
        assert d.stop() == 0, d.log_tail()


def databases_are_whole():
    for d in (alice, bob):
        files = [f for f in os.listdir(d.home) if f.endswith(".db")]
        assert files, os.listdir(d.home)
        for name in files:
            db = sqlite3.connect("file:%s?mode=ro" % os.path.join(d.home, name), uri=True)
            assert db.execute("pragma integrity_check").fetchall() == [("ok",)], name
            assert db.execute("pragma foreign_key_check").fetchall() == [], name
            db.close()
        left = [f for f in os.listdir(d.home) if f.endswith((".tmp", ".new")) or ".tmp." in f]
        assert not left, "left behind: %s" % left


sys.exit(lab.run(starts_and_meets, kills_at_random_points, every_answer_was_kept, everything_is_delivered,
                 exactly_once_and_in_order, audit_chain_is_whole, still_works_and_stops_cleanly, databases_are_whole))
