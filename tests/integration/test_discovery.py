#!/usr/bin/python3
"""Hints without multicast, with real daemons: cards that a friend passes on, addresses of last time, the key of the fleet,
and what `ironmesh discovery` says. What needs a network of its own is in test_lan.py."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, needs_im2, wait_for  # noqa: E402

lab = Lab("test_discovery", __doc__)


def pin_each_other(*daemons):
    """Before any contact, without a daemon."""
    for one in daemons:
        for other in daemons:
            if one is not other:
                key = json.loads(other.cli("keys", "show", "--json", check=True).stdout)["public_key"]
                one.cli("trust", "pin", other.name, key, check=True)


def found(daemon, **want):
    return [f for f in daemon.call("discovery.list", all=True)["found"] if all(f[k] == v for k, v in want.items())]


def card_of(daemon, other):
    return [f for f in found(daemon, source="card") if f["peer"]["id"] == other.id]


@needs_im2
def friends_of_a_friend_meet():
    anna, ben, cleo = (lab.daemon(name) for name in ("anna", "ben", "cleo"))
    pin_each_other(anna, ben, cleo)
    ben.start("--discovery", "auto")
    anna.start("--peer", ben.address, "--discovery", "auto")
    cleo.start("--peer", ben.address, "--discovery", "auto")
    for one, other in ((anna, cleo), (cleo, anna)):
        one.wait_online(other.id, 30)
        card = wait_for(lambda: card_of(one, other), what="the card of %s at %s" % (other.name, one.name))[0]
        assert card["address"] == other.address and card["online"] and card["why"] is None, card
    assert anna.send("cleo", "found through ben", wait_ms=10000)["state"] == "delivered"
    # Later, without the friend and without being told.
    for one in (anna, ben, cleo):
        assert one.stop() == 0
    anna.start("--discovery", "auto")
    cleo.start("--discovery", "auto")
    anna.wait_online(cleo.id, 30)
    # Nobody's address was pinned by it.
    assert not anna.call("peers.show", peer="cleo")["addresses"]
    text = anna.cli("discovery", check=True).stdout.decode()
    assert "cleo" in text and "online" in text and "card" in text, text
    table = json.loads(anna.cli("discovery", "--json", check=True).stdout)
    assert table["schema"] == "ironmesh.discovery/1", table
    for one in (anna, cleo):
        assert one.stop() == 0


@needs_im2
def off_dials_nobody_but_who_is_configured():
    dora, emil = lab.daemon("dora"), lab.daemon("emil")
    pin_each_other(dora, emil)
    emil.start("--discovery", "auto")
    dora.start("--peer", emil.address, "--discovery", "auto")
    dora.wait_online(emil.id)
    wait_for(lambda: card_of(dora, emil), what="the card of emil")
    assert dora.stop() == 0
    dora.start("--discovery", "off")
    assert dora.call("discovery.list")["scope"] == "off"
    assert not dora.counters()["dials"]
    assert emil.stop() == 0 and dora.stop() == 0


def open_discovery_is_loud():
    fritz = lab.daemon("fritz")
    fritz.start("--open-discovery", "--discovery", "auto")
    assert any("open discovery" in w for w in fritz.status()["warnings"]), fritz.status()["warnings"]
    assert "open discovery" in fritz.log()
    assert fritz.stop() == 0


@needs_im2
def a_blocked_peer_is_not_dialled_and_the_command_is_told():
    gerd, hans = lab.daemon("gerd"), lab.daemon("hans")
    pin_each_other(gerd, hans)
    hans.start("--discovery", "auto")
    gerd.start("--peer", hans.address, "--discovery", "auto")
    gerd.wait_online(hans.id)
    wait_for(lambda: card_of(gerd, hans), what="the card of hans")
    gerd.call("peers.block", peer="hans", reason="test")
    assert gerd.stop() == 0
    gerd.start("--discovery", "auto")
    assert not card_of(gerd, hans)
    assert not gerd.counters()["dials"]
    assert hans.stop() == 0 and gerd.stop() == 0


if __name__ == "__main__":
    sys.exit(lab.run(friends_of_a_friend_meet, off_dials_nobody_but_who_is_configured, open_discovery_is_loud,
                     a_blocked_peer_is_not_dialled_and_the_command_is_told))
