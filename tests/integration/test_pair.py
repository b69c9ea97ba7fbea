#!/usr/bin/python3
"""Pairing of two machines: the code, the wrong code, digits to compare, and the mesh key that comes with it."""
import json
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402

lab = Lab("test_pair", __doc__)


class Bare:
    """Starts without the passphrase of the mesh."""

    def __init__(self, daemon):
        self.daemon = daemon
        daemon.command = lambda options: [daemon.lab.binary, "run", "--home", daemon.home, "--name", daemon.name, "--port",
                                          str(daemon.port), "--bind", daemon.host, "--no-passphrase", "--clear-keys", *options]


class Command:
    """`ironmesh pair` on one machine, line by line."""

    def __init__(self, daemon, *args, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen([lab.binary, "--home", daemon.home, "pair", *args], stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=self.read, args=(p, to), daemon=True)
                        for p, to in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def read(pipe, to):
        for line in pipe:
            to.append(line.rstrip("\n"))

    def line(self, n=0):
        return wait_for(lambda: len(self.lines) > n and self.lines[n], what="line %d of %r" % (n, self.errors))

    def end(self, timeout=20):
        code = self.process.wait(timeout)
        for reader in self.readers:
            reader.join(5)
        return code


def peer(daemon, name):
    return next((p for p in daemon.call("peers.list")["peers"] if p["name"] == name), None)


def pair(shows, types, *more):
    show = Command(shows, *more)
    code = show.line()
    typed = Command(types, code, "--at", shows.address, *more)
    return show, typed


def two_homes_pair_and_talk():
    alice, bob = lab.daemon("alice"), lab.daemon("bob")
    alice.start()
    Bare(bob)
    bob.start()
    wait_for(lambda: alice.status()["im2"]["mesh_key"] == "ready", what="the mesh key of alice")
    assert bob.status()["im2"]["mesh_key"] == "none"
    show, typed = pair(alice, bob)
    assert typed.end() == 0 and show.end() == 0, (show.errors, typed.errors)
    assert any("paired with bob" in line for line in show.lines), show.lines
    assert any("paired with alice" in line for line in typed.lines), typed.lines
    for daemon, name in ((alice, "bob"), (bob, "alice")):
        got = wait_for(lambda: peer(daemon, name), what=name)
        assert got["state"] == "trusted" and got["verified"], got
    assert bob.status()["im2"]["mesh_key"] == "ready"
    assert bob.send("alice", "over a session of its own", wait_ms=10000)["state"] == "delivered"
    assert alice.send("bob", "and back", wait_ms=10000)["state"] == "delivered"
    # The key and the address outlive a restart.
    bob.restart()
    assert bob.status()["im2"]["mesh_key"] == "ready"
    assert bob.send("alice", "again", wait_ms=15000)["state"] == "delivered"
    audit = bob.cli("audit", "tail", "--json", check=True).stdout.decode()
    assert "PEER_PAIRED" in audit and "CREDENTIAL_RECEIVED" in audit


def a_wrong_code_is_the_only_guess():
    carol, dave = lab.daemon("carol"), lab.daemon("dave")
    carol.start()
    dave.start()
    show = Command(carol)
    code = show.line()
    wrong = code[:3] + ("000-001" if code[3:] != "000-001" else "000-002")
    guess = Command(dave, wrong, "--at", carol.address)
    assert guess.end() == 1, guess.errors
    assert any("not paired" in line for line in guess.errors), guess.errors
    # Another code is shown at once; the old one is worth nothing, even when it was right.
    second = show.line(1)
    assert second != code
    late = Command(dave, code, "--at", carol.address)
    assert late.end() == 1
    assert peer(carol, "dave") is None and peer(dave, "carol") is None
    third = show.line(2)
    assert third not in (code, second)
    good = Command(dave, third, "--at", carol.address)
    assert good.end() == 0 and show.end() == 0, (good.errors, show.errors)
    assert peer(carol, "dave")["verified"]


def five_codes_and_no_more():
    erin, frank = lab.daemon("erin"), lab.daemon("frank")
    erin.start()
    frank.start()
    show = Command(erin)
    for i in range(5):
        code = show.line(i)
        wrong = code[:3] + ("000-001" if code[3:] != "000-001" else "000-002")
        assert Command(frank, wrong, "--at", erin.address).end() == 1
    assert show.end() in (1, 75), show.errors
    assert len(show.lines) == 5
    assert peer(erin, "frank") is None


def digits_are_compared_by_people():
    gina, hugo = lab.daemon("gina"), lab.daemon("hugo")
    gina.start()
    hugo.start()
    show = Command(gina, "--compare", "--yes")
    show.line()
    joined = Command(hugo, "--compare", "--join", "--yes", "--at", gina.address)
    assert joined.end() == 0 and show.end() == 0, (joined.errors, show.errors)
    digits = [line for line in joined.lines if len(line) == 7 and line[3] == " "]
    assert digits and digits[0] in show.lines, (joined.lines, show.lines)
    assert peer(gina, "hugo")["verified"] and peer(hugo, "gina")["verified"]


def whoever_says_no_pins_nobody():
    ines, jack = lab.daemon("ines"), lab.daemon("jack")
    ines.start()
    jack.start()
    show = Command(ines, "--compare", "--yes")
    show.line()
    # Not a terminal and not told: nobody has compared.
    joined = Command(jack, "--compare", "--join", "--at", ines.address)
    assert joined.end() == 2, joined.errors
    assert show.end() == 1, show.errors
    assert peer(ines, "jack") is None and peer(jack, "ines") is None


def without_a_command_the_path_is_closed():
    kurt, lena = lab.daemon("kurt"), lab.daemon("lena")
    kurt.start()
    lena.start()
    before = kurt.counters()["connections_refused"]
    got = Command(lena, "12-345-678", "--at", kurt.address)
    assert got.end() == 1
    assert kurt.counters()["connections_refused"] > before
    assert lena.cli("pair", "12-345-67").returncode == 2
    assert lena.cli("pair", "--compare", "12-345-678").returncode == 2


def programs_read_json():
    mona, nils = lab.daemon("mona"), lab.daemon("nils")
    mona.start()
    nils.start()
    show = Command(mona, "--json")
    offer = json.loads(show.line())
    assert offer["schema"] == "ironmesh.pair/1" and offer["code"] and mona.address in offer["listen"], offer
    typed = Command(nils, offer["code"], "--at", mona.address, "--json")
    assert typed.end() == 0 and show.end() == 0, (typed.errors, show.errors)
    paired = json.loads(typed.lines[-1])
    assert paired["type"] == "pair.paired" and paired["name"] == "mona", paired


if lab.im2 == "off":
    print("test_pair: pairing is part of im2")
    sys.exit(0)
sys.exit(lab.run(two_homes_pair_and_talk, a_wrong_code_is_the_only_guess, five_codes_and_no_more, digits_are_compared_by_people, whoever_says_no_pins_nobody, without_a_command_the_path_is_closed, programs_read_json))
