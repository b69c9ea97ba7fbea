#!/usr/bin/python3
"""Real daemons that find each other with a real avahi-daemon, on networks made of namespaces (tests/lib/lanlab.py).

Prints SKIP with the reason where no namespace can be made; that is a failure when REQUIRE_LAN is set, as .ci/run does.
"""
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402
from lanlab import LanLab, mdns_packets, send_packets, unavailable  # noqa: E402

lab = Lab("test_lan", __doc__)
why_not = unavailable()
if why_not:
    print("SKIP test_lan: %s" % why_not)
    lab.close()
    sys.exit(1 if os.environ.get("REQUIRE_LAN") else 0)
net = LanLab(lab)
net.switch("home")
a = net.host("a", home="10.1.0.1/24")
b = net.host("b", home="10.1.0.2/24")
x = net.host("x", home="10.1.0.66/24")  # whoever else is on the network
for host in (a, b, x):
    host.avahi_start()
alice = a.daemon("alice")
bob = b.daemon("bob")


def identity(daemon):
    return json.loads(daemon.cli("keys", "show", "--json", check=True).stdout)


def pin_each_other(*daemons):
    """Before any contact, without a daemon."""
    for one in daemons:
        for other in daemons:
            if one is not other:
                one.cli("trust", "pin", other.name, identity(other)["public_key"], check=True)


def discovery(daemon):
    return daemon.status()["discovery"]


def wait_discovery(daemon, timeout=15, **want):
    return wait_for(lambda: all(discovery(daemon)[k] == v for k, v in want.items()) and discovery(daemon), timeout,
                    what="%s at %s, which says %s" % (want, daemon.name, discovery(daemon)))


def each_online(*daemons, timeout=20):
    for one in daemons:
        for other in daemons:
            if one is not other:
                one.wait_online(other.id, timeout)


def running(*daemons):
    for one in daemons:
        if not one.alive:
            one.start()


def pair(one, other, **where):
    """The second one types the code that the first one shows."""
    for each in (one, other):
        wait_for(lambda: each.status()["im2"]["mesh_key"] == "ready", 20, what="the mesh key of " + each.name)
    ear = one.connect()
    ear.call("events.subscribe", types=["pair."])
    code = one.call("pair.show")["code"]
    other.call("pair.type", code=code, **where)
    ear.wait_event(lambda e: e["type"] == "pair.paired", 20)
    ear.close()


def plain(daemon):
    """Not built with a sanitizer, which keeps what was freed."""
    with open("/proc/%d/maps" % daemon.process.pid, encoding="utf-8") as f:
        return "libasan" not in f.read()


def rss_kib(daemon):
    with open("/proc/%d/status" % daemon.process.pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


# --- one network -------------------------------------------------------------------------------------------------
def two_hosts_find_each_other():
    pin_each_other(alice, bob)
    alice.start()
    bob.start()
    each_online(alice, bob)
    wait_discovery(alice, mdns="up", publishes=["public"])
    alice.send("bob", "found you")
    bob.take_body("found you")
    seen = wait_for(lambda: [s for s in x.browse() if s["name"] == "alice"], what="alice on the air")
    assert seen[0]["port"] == "8765", seen
    for part in ("agent=alice", "port=8765", "proto=ironmesh/", "idhash=%s" % alice.id[:16]):
        assert part in seen[0]["txt"], (part, seen[0]["txt"])


def without_avahi_it_goes_on_and_recovers():
    a.avahi_kill()
    down = wait_discovery(alice, mdns="down", publishes=[])
    assert "avahi" in down["why"], down
    assert "mDNS down" in alice.cli("status", check=True).stdout.decode()
    alice.send("bob", "still here")
    bob.take_body("still here")
    time.sleep(2)  # several attempts
    assert alice.log().count("discovery-down") == 1, "one warning for one change"
    ear = alice.connect()
    ear.call("events.subscribe", types=["discovery."])
    a.avahi_start()
    ear.wait_event(lambda e: e["mdns"] == "up", 15)
    ear.close()
    up = wait_discovery(alice, mdns="up", publishes=["public"])
    assert up["restarts"] == 1 and up["services"] >= 1, up
    assert a.run("avahi-browse", "-pt", "_ironmesh._tcp").count("alice"), "published again"
    b.bus_stop()  # avahi goes with its bus
    wait_discovery(bob, mdns="down")
    b.avahi_kill()
    b.avahi_start()
    wait_discovery(bob, mdns="up", publishes=["public"])
    each_online(alice, bob)


def a_name_conflict_renames_and_harms_nobody():
    both = [h.daemon("twin", home="twin-" + h.name, port=8800) for h in (a, b)]
    for one in both:
        one.start()
    for one in both:
        wait_discovery(one, publishes=["public"])
    names = {s["name"] for s in wait_for(lambda: (lambda got: len({s["name"] for s in got}) >= 2 and got)(
        [s for s in x.browse() if s["name"].startswith("twin")]), 15, what="two twins on the air")}
    assert len(names) == 2, names  # whichever avahi gave up its name first
    each_online(alice, bob)
    for one in both:
        assert one.stop() == 0


def a_thousand_spoofed_services_starve_nobody():
    # Who is found by his idhash is kept; the others take what is left.
    before = rss_kib(alice)
    spoofed = ["spoof%03d" % i for i in range(500)]
    txt = (b"agent=mallory", b"port=9", b"proto=ironmesh/0.9", b"idhash=" + b"0" * 16)
    send_packets(x, mdns_packets(spoofed, txt=txt, address="10.1.0.66"), "10.1.0.66")
    send_packets(x, mdns_packets(["nobody%03d" % i for i in range(500)], resolvable=False), "10.1.0.66")
    wait_for(lambda: discovery(alice)["dropped_limit"] > 0 and discovery(alice)["services"] > 50, 15,
             what="the limits at work: %s" % discovery(alice))
    each_online(alice, bob)
    bob.restart("--port", "8899")
    bob.port = 8899
    each_online(alice, bob)
    got = discovery(alice)
    assert got["services"] <= 512, got
    assert alice.peer("mallory") is None
    began = time.monotonic()
    alice.status()
    assert time.monotonic() - began < 1, "the loop is held up"
    grown = rss_kib(alice) - before
    assert grown < (6144 if plain(alice) else 65536), "%d KiB more" % grown
    send_packets(x, mdns_packets(spoofed, ttl=0) + mdns_packets(["nobody%03d" % i for i in range(500)],
                                                                resolvable=False, ttl=0), "10.1.0.66")
    wait_for(lambda: discovery(alice)["services"] < 20, 20, what="goodbyes taken: %s" % discovery(alice))


def bound_to_loopback_it_says_nothing_outside():
    quiet = a.daemon("quiet", bind="127.0.0.1", port=8801)
    quiet.start()
    wait_discovery(quiet, publishes=["public"])
    assert any(s["name"] == "quiet" and s["interface"] == "lo" for s in a.browse())
    assert not any(s["name"] == "quiet" for s in x.browse())
    assert discovery(quiet)["found"] == 0 or not quiet.peer("bob")
    assert quiet.stop() == 0


def off_is_off():
    muted = a.daemon("muted", port=8802)
    muted.start("--discovery", "off")
    assert discovery(muted) == {"scope": "off", "mdns": "off", "why": "", "publishes": []}
    assert "muted" not in a.run("avahi-browse", "-pt", "_ironmesh._tcp")
    assert muted.stop() == 0


def avahi_may_die_while_it_is_asked():
    # The compat library leaves what it allocates as it finds it: here that is never zero.
    os.environ["MALLOC_PERTURB_"] = "165"
    try:
        busy = a.daemon("busy", port=8803)
        busy.start()
    finally:
        del os.environ["MALLOC_PERTURB_"]
    wait_discovery(busy, mdns="up")
    for i in range(2):
        packets = mdns_packets(["mute%d-%d" % (i, k) for k in range(40)], resolvable=False)
        send_packets(x, packets, "10.1.0.66")
        wait_for(lambda: discovery(busy)["services"] >= 30, 15, what="services that do not answer")
        a.avahi_kill()
        wait_discovery(busy, mdns="down")
        a.avahi_start()
        wait_discovery(busy, mdns="up")
    send_packets(x, mdns_packets(["mute%d-%d" % (i, k) for i in range(2) for k in range(40)], resolvable=False, ttl=0),
                 "10.1.0.66")
    assert busy.stop() == 0
    running(alice)
    wait_discovery(alice, mdns="up")


# --- fleets ---------------------------------------------------------------------------------------------------------
def what_the_fleet_says_names_nobody():
    running(alice, bob)
    pair(alice, bob)  # found by mDNS: no address was given
    bob.restart()  # a new session asks for the key of the fleet
    for one in (alice, bob):
        wait_discovery(one, publishes=["fleet"], timeout=20)
    each_online(alice, bob)
    for one in (alice, bob):  # from nothing but tags
        one.stop()
    wait_for(lambda: "ironmesh" not in x.run("avahi-browse", "-pt", "_ironmesh._tcp"), 10, what="silence")
    for one in (alice, bob):
        one.start()
    each_online(alice, bob)
    seen = wait_for(lambda: (lambda got: len({s["name"] for s in got}) == 2 and got)(x.browse()), 15,
                    what="two services of the fleet")
    said = json.dumps(seen) + x.run("avahi-browse", "-rpt", "_ironmesh-pair._tcp")
    for one in (alice, bob):
        for secret in (one.name, one.id, one.id[:16], one.id[16:], one.id[:8]):
            assert secret not in said, (secret, said)
    for service in seen:
        keys = sorted(part.split("=")[0].strip('"') for part in service["txt"].split('" "'))
        assert keys == ["i", "m", "t", "v"], service


def two_fleets_do_not_see_each_other():
    carol, dave = a.daemon("carol", port=8810), b.daemon("dave", port=8811)
    carol.start()
    dave.start()
    pair(carol, dave)
    each_online(carol, dave)
    for one in (carol, dave):
        wait_discovery(one, publishes=["fleet"], timeout=20)
    wait_for(lambda: len({s["name"] for s in x.browse()}) == 4, 15, what="four services on the air")
    time.sleep(2)
    for one, others in ((alice, (carol, dave)), (carol, (alice, bob))):
        for other in others:
            assert one.peer(other.id) is None, "%s knows %s" % (one.name, other.name)
        assert one.counters()["handshake_auth_failures"] == 0
    each_online(alice, bob)
    for one in (carol, dave):
        assert one.stop() == 0


# --- beyond multicast ------------------------------------------------------------------------------------------------
def without_multicast_last_known_addresses_serve():
    for one in (alice, bob):
        one.stop()
    for host in (a, b):
        host.run("ip", "link", "set", "home", "multicast", "off")
        host.avahi_restart()
    for one in (alice, bob):
        one.start()
    each_online(alice, bob)
    assert not [s for s in a.browse() if s["interface"] == "home"], "multicast went through"
    for one in (alice, bob):
        one.stop()
    for host in (a, b):
        host.run("ip", "link", "set", "home", "multicast", "on")


def link_local_ipv6_is_enough():
    net.switch("six")
    hosts = [net.host(n, six="") for n in ("s1", "s2")]
    for host in hosts:
        host.avahi_start()
    ends = [host.daemon(n, bind="::") for host, n in zip(hosts, ("sina", "sven"))]
    pin_each_other(*ends)
    for one in ends:
        one.start()
    each_online(*ends)
    assert "fe80" in ends[0].peer(ends[1].id)["address"], ends[0].peer(ends[1].id)
    for one in ends:
        assert one.stop() == 0


def across_a_router_a_friend_tells_where():
    net.switch("west")
    net.switch("east")
    router = net.router("r", west="10.2.0.1/24", east="10.3.0.1/24")
    west, east = net.host("w", west="10.2.0.2/24"), net.host("e", east="10.3.0.2/24")
    net.route(west, "10.3.0.0/24", "10.2.0.1")
    net.route(east, "10.2.0.0/24", "10.3.0.1")
    for host in (router, west, east):
        host.avahi_start()
    wim, rita, ewa = west.daemon("wim"), router.daemon("rita"), east.daemon("ewa")
    pin_each_other(wim, rita, ewa)
    for one in (wim, rita, ewa):
        one.start()
    each_online(wim, rita)
    each_online(ewa, rita)
    assert not any(s["name"] == "ewa" for s in west.browse()), "multicast crossed the router"
    each_online(wim, ewa, timeout=30)
    # Later without the friend: by the addresses of last time.
    rita.stop()
    ewa.stop()
    wim.stop()
    wim.start()
    ewa.start()
    each_online(wim, ewa)
    for one in (wim, ewa):
        assert one.stop() == 0


if __name__ == "__main__":
    sys.exit(lab.run(two_hosts_find_each_other, without_avahi_it_goes_on_and_recovers,
                     a_name_conflict_renames_and_harms_nobody, a_thousand_spoofed_services_starve_nobody,
                     bound_to_loopback_it_says_nothing_outside, off_is_off, avahi_may_die_while_it_is_asked,
                     what_the_fleet_says_names_nobody, two_fleets_do_not_see_each_other,
                     without_multicast_last_known_addresses_serve,
                     link_local_ipv6_is_enough, across_a_router_a_friend_tells_where))
