#!/usr/bin/python3
"""Two real daemons for some minutes: steady traffic both ways, new sessions, restarts of one side, reloads, questions. Memory and
descriptors of the other side must stay where they are once it is warm, and no message may be lost or come twice.

    soak.py [--seconds 600] [--rate 40] [--ironmesh PATH]

Prints a line every five seconds and the figures at the end; exit 1 when something grew beyond its bound.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402


def options(parser):
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=int, default=40, help="messages per second in each direction")


lab = Lab("soak", __doc__, options)
SECONDS, RATE = lab.args.seconds, lab.args.rate
STEP = 5
# What may grow by design: each message that was settled is remembered for 30 days, so that it is never taken twice.
BYTES_PER_MESSAGE = 200
SLACK = 2 << 20

alice, bob = lab.daemon("alice"), lab.daemon("bob")
stop = threading.Event()
lock = threading.Lock()
sent, seen, twice, errors = {"alice": 0, "bob": 0}, {"alice": {}, "bob": {}}, [0], []


def field(pid, name):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


def descriptors(pid):
    try:
        return len(os.listdir("/proc/%d/fd" % pid))
    except PermissionError:  # not dumpable: root alone may look
        return -1


def sizes(d):
    pid = d.process.pid
    return {"rss": field(pid, "VmRSS"), "key_rss": sum(field(c, "VmRSS") for c in children(pid)), "fds": descriptors(pid),
            "threads": len(os.listdir("/proc/%d/task" % pid)) if os.path.exists("/proc/%d/task" % pid) else 0}


class Link:
    """A control connection that comes back after a restart of the daemon."""

    def __init__(self, d):
        self.d, self.c = d, None

    def call(self, method, timeout=30.0, **params):
        while True:
            try:
                if not self.c:
                    self.c = self.d.connect()
                return self.c.call(method, timeout, **params)
            except (OSError, ConnectionError, TimeoutError):
                self.drop()
                if stop.is_set():
                    raise
                time.sleep(0.05)

    def drop(self):
        if self.c:
            self.c.close()
        self.c = None


def sender(d, to):
    """Its own ids, so that what was sent twice because the answer was lost is one message."""
    link, n, began = Link(d), 0, time.monotonic()
    while not stop.is_set():
        batch = []
        for _ in range(max(1, RATE // 10)):
            n += 1
            body = json.dumps({"n": n, "pad": "x" * (20000 if n % 200 == 0 else n % 300)})
            batch.append({"msg_id": "%s-%d" % (d.name, n), "body": body})
        for m in batch:
            while not stop.is_set():
                try:
                    link.call("send", to=to, **m)
                    break
                except Exception as e:  # full, or said before a restart: the same again
                    if getattr(e, "err", None) == "exists":
                        break
                    time.sleep(0.2)
            else:
                n -= len(batch)
                break
            with lock:
                sent[d.name] = max(sent[d.name], int(m["msg_id"].split("-")[1]))
        if n % 50 == 0:
            try:
                link.call("send", to=to, body="now or never", volatile=True)
            except Exception:
                pass
        time.sleep(max(0, began + n / RATE - time.monotonic()))
    link.drop()


def reader(d):
    link = Link(d)
    while True:
        try:
            # Marked as read when it is in our book: who is killed between the two gives it again.
            got = link.call("inbox.take", 60, limit=200, wait_ms=0 if stop.is_set() else 500, ack=False)["messages"]
        except Exception as e:
            if stop.is_set():
                return
            errors.append(repr(e))
            continue
        with lock:
            for m in got:  # over im2 a message has another id there: what it holds says which it is
                n = json.loads(m["body"])["n"]
                twice[0] += seen[d.name].setdefault(n, m["seq"]) != m["seq"]
        try:
            for m in got:
                link.call("inbox.ack", 30, seq=m["seq"])
        except Exception as e:
            if stop.is_set() and done.is_set():
                return
            errors.append(repr(e))
        if not got and stop.is_set() and done.is_set():
            link.drop()
            return


def asker(d):
    """What a page or a script asks all the time, each on a connection of its own."""
    while not stop.is_set():
        for method, params in (("status", {}), ("peers.list", {}), ("outbox.list", {"limit": 20}), ("audit.tail", {"limit": 20}),
                               ("attention.list", {}), ("queue.list", {})):
            try:
                c = d.connect()
                c.call(method, 20, **params)
                c.close()
            except Exception:
                pass
        d.cli("doctor", "--json", timeout=60)
        time.sleep(2)


def mean(values):
    return sum(values) / max(1, len(values))


done = threading.Event()
alice.start("--peer", bob.address, "--trust-on-first-use")
bob.start("--trust-on-first-use", "--peer", alice.address)
alice.wait_online("bob")
bob.wait_online("alice")
threads = [threading.Thread(target=f, args=a, daemon=True) for f, a in (
    (sender, (alice, "bob")), (sender, (bob, "alice")), (reader, (alice,)), (reader, (bob,)), (asker, (alice,)))]
for t in threads:
    t.start()
began, samples, restarts, reloads = time.monotonic(), [], 0, 0
print("    t   alice: RSS   key process  descriptors threads |   bob: RSS | sent       received", flush=True)
while time.monotonic() - began < SECONDS:
    time.sleep(STEP)
    now = time.monotonic() - began
    if not alice.alive:
        errors.append("alice died with %r:\n%s" % (alice.process.returncode, alice.log_tail()))
        break
    os.kill(alice.process.pid, signal.SIGHUP)
    reloads += 1
    turn = int(now) // STEP
    if turn % 4 == 2:
        bob.stop() if turn % 8 == 2 else bob.kill9()
        bob.start()
        restarts += 1
    a, b = sizes(alice), sizes(bob)
    with lock:
        total, got = sum(sent.values()), sum(len(v) for v in seen.values())
    samples.append(dict(a, t=now, total=total))
    print("%5.0f %10.1f MiB %9.1f MiB %8d %8d    | %7.1f MiB | %-10d %d" % (
        now, a["rss"] / 2**20, a["key_rss"] / 2**20, a["fds"], a["threads"], b["rss"] / 2**20, total, got), flush=True)
stop.set()
for t in threads[:2]:
    t.join(30)


def missing():
    with lock:
        return [name for name, other in (("alice", "bob"), ("bob", "alice"))
                if len(seen[other]) < sent[name]]


try:
    assert alice.alive, "alice runs no more"
    wait_for(lambda: not missing(), 120, 0.5, what="the last messages")
except AssertionError as e:
    errors.append(str(e))
done.set()
for t in threads[2:4]:
    t.join(30)
final = sizes(alice) if alice.alive else {"fds": -1}
warm = samples[len(samples) // 4:len(samples) // 2] or samples
late = samples[len(samples) * 3 // 4:] or samples
growth = mean([s["rss"] for s in late]) - mean([s["rss"] for s in warm])
messages = mean([s["total"] for s in late]) - mean([s["total"] for s in warm])
bound = SLACK + BYTES_PER_MESSAGE * messages
key_growth = mean([s["key_rss"] for s in late]) - mean([s["key_rss"] for s in warm])
fds = [s["fds"] for s in samples[len(samples) // 4:]] + [final["fds"]]
print("soak: %d s, %d messages sent, %d received, %d twice, %d restarts of bob, %d reloads of alice" % (
    SECONDS, sum(sent.values()), sum(len(v) for v in seen.values()), twice[0], restarts, reloads))
print("soak: RSS of alice grew by %.2f MiB over %.0f messages (bound %.2f MiB), its key process by %.2f MiB; descriptors %d to %d" % (
    growth / 2**20, messages, bound / 2**20, key_growth / 2**20, min(fds), max(fds)))
if missing():
    errors.append("lost: sent %r, received %r" % (sent, {k: len(v) for k, v in seen.items()}))
if twice[0]:
    errors.append("%d messages came twice" % twice[0])
if growth > bound or key_growth > SLACK:
    errors.append("memory grew beyond its bound")
# Connections of the questions come and go: eight at a time.
if max(fds) - min(fds) > 12:
    errors.append("descriptors grew: %r" % fds)
for d in (alice, bob):
    code = d.stop()
    if code:
        errors.append("%s ended with %r" % (d.name, code))
for e in errors:
    print("FAIL " + e)
lab.close()
print("soak: %s" % ("failed" if errors else "passed"))
sys.exit(1 if errors else 0)
