"""What every case stands on: the daemons, an insider with a session, and the five things that must hold."""
import json
import os
import re

import peer09 as p
from ironlab import PASSPHRASE, wait_for
from rawws import RawWs


class Line:
    """A true session of a peer that then misbehaves. Nothing is read or answered unless asked."""

    def __init__(self, port, source, tls=True, **config):
        config.setdefault("name", "x%s" % source.replace(".", "-"))
        self.config = p.Config(passphrase=PASSPHRASE, **config)
        self.me = self.config.identity
        self.ws = RawWs(port, source, tls)
        self.remote = p.client_handshake(self.ws, self.config)
        self.sequence = 0

    def message(self, payload=b"hostile", type="MSG", **more):
        self.sequence += 1
        more.setdefault("destination", self.remote.id)
        more.setdefault("source", self.me.id)
        inner = more.pop("inner", "v2")
        m = p.Message(type, payload, sequence=self.sequence, **more)
        return m.sign(self.me, inner) if inner else m

    def send(self, message, **faults):
        self.ws.send(p.seal_frame(message, self.remote.key, self.me, **faults))

    def honest(self, text):
        self.send(self.message(text.encode()))


class World:
    """alice listens; bob is honest and connected to her; carol dials bad servers, and has TLS only."""

    def __init__(self):
        self.kinds = 0

    def begin(self, lab):
        self.lab = lab
        self.next_source = self.honest_sent = 0
        self.alice = lab.daemon("alice")
        self.bob = lab.daemon("bob")
        self.carol = lab.daemon("carol")
        self.alice.start("--trust-on-first-use", "--allow-plaintext-ws", "--log-level", "debug")
        self.bob.start("--trust-on-first-use", "--peer", self.alice.address)
        self.carol.start("--trust-on-first-use", "--log-level", "debug")
        self.bob.wait_online("alice")
        seed = p.unb64(json.load(open(os.path.join(self.alice.home, "keys.json")))["ed25519_secret"])
        self.alice_seed = seed

    def source(self):
        self.next_source += 1
        return "127.0.1.%d" % self.next_source

    def honest_works(self):
        self.honest_sent += 1
        got = self.bob.send(self.alice.id, "honest %d" % self.honest_sent, wait_ms=8000)
        assert got["state"] in ("delivered", "read"), "the honest session suffers: %s" % got

    def counters(self):
        return self.alice.counters()


w = World()

REFUSED = ("handshakes_failed", "admission_refused", "strangers", "connections_refused")
FRAMES = ("frames_dropped",)


deferred = {}  # event word -> cases whose log line was held back


def note_evidence(evidence, log_at):
    """The log names a kind of event 20 times in 10 s and then only counts it. What is held back now is looked
    for at the end, in those counts."""
    try:
        wait_for(lambda: re.search(evidence, w.alice.log()[log_at:]), 0.5)
    except AssertionError:
        word = re.match("[a-z-]*", evidence).group(0)
        lines = [one for one in w.alice.log().splitlines() if " %s " % word in one]
        assert len(lines) >= 20, "no log line /%s/; new lines:\n%s" % (evidence, w.alice.log()[log_at:][-1500:])
        deferred[word] = deferred.get(word, 0) + 1


def what_the_log_held_back_it_counted():
    log = w.alice.log()
    for word, cases in deferred.items():
        counted = sum(int(n) for n in re.findall(r"log-suppressed event=%s count=(\d+)" % word, log))
        print("  %d log lines %s were held back, %d of them cases of this test" % (counted, word, cases))
        assert counted >= cases, (word, counted, cases)


def case(title, counters, evidence, act):
    """`counters`: one of these must move. `evidence`: a pattern that the new log lines must hold."""
    w.kinds += 1

    def test():
        source = w.source()
        before, log_at = w.counters(), len(w.alice.log())
        act(source)
        wait_for(lambda: any(w.counters().get(c, 0) > before.get(c, 0) for c in counters), 6,
                 what="one of %s to move" % (counters,))
        note_evidence(evidence, log_at)
        assert w.alice.alive
        w.honest_works()
    w.lab.check(title, test)


def nested(levels):
    return "[" * levels + "]" * levels


def rss(daemon):
    with open("/proc/%d/statm" % daemon.process.pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
