#!/usr/bin/python3
"""Pairing over mDNS, with a real avahi-daemon, on a network made of namespaces (tests/lib/lanlab.py).

Prints SKIP with the reason where no namespace can be made; that is a failure when REQUIRE_LAN is set, as .ci/run does.
"""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402
from lanlab import LanLab, unavailable  # noqa: E402
from pairlab import PairCommand  # noqa: E402

PAIR = "_ironmesh-pair._tcp"

lab = Lab("test_pair_lan", __doc__)
why_not = unavailable()
if why_not:
    print("SKIP test_pair_lan: %s" % why_not)
    lab.close()
    sys.exit(1 if os.environ.get("REQUIRE_LAN") else 0)
net = LanLab(lab)
net.switch("home")
a = net.host("a", home="10.1.0.1/24")
b = net.host("b", home="10.1.0.2/24")
x = net.host("x", home="10.1.0.66/24")  # whoever else is on the network
for host in (a, b, x):
    host.avahi_start()
alice, bob = a.daemon("alice"), b.daemon("bob")
# Nothing is on the air but what pairs.
alice.start("--discovery", "fleet")
bob.start("--discovery", "fleet")


def Command(daemon, *args):
    return PairCommand(lab.binary, daemon.home, *args)


def shown(*args):
    wait_for(lambda: alice.status()["im2"]["mesh_key"] == "ready", what="the mesh key")
    show = Command(alice, *args)
    first = show.line()
    wait_for(lambda: x.browse(PAIR), 15, what="a service of pairing on the air")
    return show, first


def publish(name, *txt):
    return x.spawn("avahi-publish", "-s", name, PAIR, "9", "v=im2", *txt)


def gone():
    wait_for(lambda: not x.run("avahi-browse", "-pt", PAIR).strip(), 15, what="silence about pairing")


def forget_each_other():
    for one, other in ((alice, bob), (bob, alice)):
        one.call("peers.forget", peer=other.id)


def a_code_is_found_and_says_nothing_else():
    gone()
    show, code = shown()
    assert show.says("ironmesh pair %s" % code) and show.says("--at ADDRESS:8765"), show.errors
    seen = x.browse(PAIR)
    names = {s["name"] for s in seen}
    assert len(names) == 1 and len(names.copy().pop()) == 8, seen
    for service in seen:
        assert sorted(part.strip('"') for part in service["txt"].split('" "')) == ["n=" + code[:2], "v=im2"], service
        assert code[3:] not in str(service) and alice.id[:8] not in str(service) and "alice" not in str(service), service
    typed = Command(bob, code)
    assert typed.end() == 0 and show.end() == 0, (typed.errors, show.errors)
    assert typed.says("looking for the other machine") and typed.says("paired with alice"), typed.lines
    assert bob.peer("alice")["verified"] and alice.peer("bob")["verified"]
    assert bob.send("alice", "found", wait_ms=10000)["state"] == "delivered"
    gone()
    forget_each_other()


def whoever_shows_the_same_plate_stops_it():
    show, code = shown()
    twin = publish("0badc0de", "n=" + code[:2])
    wait_for(lambda: len({s["name"] for s in b.browse(PAIR)}) == 2, 15, what="two services with one plate")
    typed = Command(bob, code)
    assert typed.end() == 1 and typed.says("two machines show this number"), typed.errors
    x.end(twin)
    wait_for(lambda: len({s["name"] for s in b.browse(PAIR)}) == 1, 15, what="the twin is gone")
    # The code is as good as before: nobody guessed at it. Other plates, and what is no plate, mislead nobody.
    others = [publish("%08x" % i, "n=" + n)
              for i, n in enumerate(("0", "000", "xx", "%02d" % ((int(code[:2]) + 1) % 100)))]
    time.sleep(1)
    typed = Command(bob, code)
    assert typed.end() == 0 and show.end() == 0, (typed.errors, show.errors)
    for other in others:
        x.end(other)
    forget_each_other()


def digits_are_compared_without_an_address():
    show, _ = shown("--compare")
    assert {s["txt"] for s in x.browse(PAIR)} <= {'"n=--" "v=im2"', '"v=im2" "n=--"'}, x.browse(PAIR)
    joined = Command(bob, "--compare", "--join")
    assert joined.line() == show.line(1)
    for one in (alice, bob):
        assert one.cli("pair", "--same").returncode == 0
    assert joined.end() == 0 and show.end() == 0, (joined.errors, show.errors)
    assert bob.peer("alice")["via"] == "sas"
    gone()
    forget_each_other()


def the_end_of_the_command_takes_it_off_the_air():
    show, code = shown()
    show.process.terminate()
    show.end()
    gone()
    typed = Command(bob, code)
    time.sleep(2)
    assert typed.process.poll() is None, typed.errors
    typed.process.terminate()
    typed.end()
    assert (bob.peer("alice") or {}).get("state") != "trusted"


TESTS = [a_code_is_found_and_says_nothing_else, whoever_shows_the_same_plate_stops_it,
         digits_are_compared_without_an_address, the_end_of_the_command_takes_it_off_the_air]
sys.exit(lab.run(*TESTS))
