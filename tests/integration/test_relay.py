#!/usr/bin/python3
"""A - R1 - R2 - B: messages through two relays that cannot read them. A and B never share a link and know each other's keys
by `trust pin` alone; the far link goes through a proxy that cuts it.
"""
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib")]
from ironlab import Lab, body_of, wait_for  # noqa: E402
from proxy import Proxy  # noqa: E402

lab = Lab("test_relay", __doc__)
if lab.im2 == "off":
    print("SKIP test_relay: sealed objects are of im2")
    sys.exit(0)
alice, r1, r2, bob = (lab.daemon(name) for name in ("alice", "r1", "r2", "bob"))
far = Proxy(lab.port(), r2.port)
lab.on_close(far.close)
SECRET = "the harvest is under the third stone %d"


def public_key(daemon):
    return json.loads(daemon.cli("keys", "show", "--json", check=True).stdout)["public_key"]


def cut_far_link():
    far.open = False
    far.cut()
    r2.wait_offline(bob.id)
    # The routes that led over it are withdrawn.
    wait_for(lambda: not route(alice, bob), 20, what="the route of alice to bob to go")


def mend_far_link():
    far.open = True


def route(daemon, to):
    return [r for r in daemon.call("routes.list")["routes"] if r["to"]["id"] == to.id]


def outbox(daemon, msg_id):
    return daemon.call("outbox.show", msg_id=msg_id)


def send_in_background(*args):
    """`ironmesh send` of alice, and what it says at the end."""
    return subprocess.Popen([lab.binary, "--home", alice.home, "send", *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


# Without discovery nobody hears of another way to anybody.
APART = ("--trust-on-first-use", "--discovery", "off")


def the_mesh_comes_up():
    r1.start("--routing", "relay", *APART)
    r2.start("--routing", "relay", "--peer", r1.address, *APART)
    alice.start("--peer", r1.address, *APART)
    bob.start("--peer", far.address, *APART)
    for one, other in ((alice, r1), (r2, r1), (bob, r2)):
        one.wait_online(other.id)
    for one, other in ((alice, bob), (bob, alice)):
        one.cli("trust", "pin", other.name, public_key(other), check=True)
    wait_for(lambda: route(alice, bob) and route(bob, alice), 20, what="routes between alice and bob")


def a_message_crosses_two_relays():
    done = alice.cli("send", "bob", SECRET % 1, "--wait", "20s")
    assert done.returncode == 0, done
    assert re.match(rb"delivered in \d+ ms via relay", done.stdout), done
    got = bob.take_body(SECRET % 1)
    assert got["from"]["id"] == alice.id and got["via"]["id"] == r2.id, got
    assert got["sealed"] and got["signed"] and not got["no_fs"], got
    shown = bob.cli("inbox", "show", str(got["seq"])).stdout.decode()
    assert re.search(r"^alice\b", shown) and re.search(r"through +r2\n", shown), shown
    # The one after the first receipt does not introduce its author any more.
    assert alice.cli("send", "bob", SECRET % 2, "--wait", "20s").returncode == 0


def an_answer_goes_to_the_author():
    done = bob.cli("send", "alice", "all three of them", "--wait", "20s")
    assert done.returncode == 0, done
    got = alice.take_body("all three of them")
    assert got["from"]["id"] == bob.id and got["via"]["id"] == r1.id, got


def a_large_message_crosses_too():
    path = os.path.join(lab.folder, "large")
    body = os.urandom(1048576)
    with open(path, "wb") as out:
        out.write(body)
    done = alice.cli("send", "bob", "--file", path, "--wait", "30s", timeout=40)
    assert done.returncode == 0, done
    got = [m for m in bob.inbox(bodies=False) if m["size"] == len(body)]
    assert len(got) == 1, got
    assert alice.refused("send", "limit", to="bob", body_b64="AAAA" * 349600).exit == 2


def the_author_waits_while_the_far_link_is_cut():
    cut_far_link()
    waits = send_in_background("bob", SECRET % 3, "--wait", "60s")
    time.sleep(2)
    assert waits.poll() is None, waits.communicate()
    assert not [m for m in bob.inbox() if body_of(m) == (SECRET % 3).encode()]
    mend_far_link()
    said, errors = waits.communicate(timeout=60)
    assert waits.returncode == 0 and said.startswith(b"delivered in"), (said, errors)
    got = bob.take_body(SECRET % 3)
    assert got["from"]["id"] == alice.id and got["via"]["id"] == r2.id, got


def a_relay_keeps_it_over_its_restart():
    """Bob vanishes without a word, and before r2 knows of it a message is on its way."""
    def stored_one(i):
        wait_for(lambda: route(alice, bob), 20, what="a route of alice to bob")
        events = alice.connect()
        events.call("events.subscribe", types=["message."])
        far.open = False
        far.cut()
        msg_id = alice.send("bob", SECRET % i)["msg_id"]
        try:
            events.wait_event(lambda e: e["msg_id"] == msg_id and e["type"] == "message.stored", 1.5)
        except TimeoutError:
            return None  # alice had heard in time that there is no way: it waits with her
        finally:
            events.close()
        return msg_id

    for i in range(10, 30):
        msg_id = stored_one(i)
        if msg_id:
            break
        mend_far_link()
        bob.take_body(SECRET % i, 30)
        bob.wait_online(r2.id)
    assert msg_id, "never stored"
    shown = outbox(alice, msg_id)
    assert shown["state"] == "stored" and shown["reason"] == "through r1", shown
    assert r2.status()["routing"]["kept"] == 1, r2.status()["routing"]
    r2.kill9()
    r2.start()
    mend_far_link()
    bob.take_body(SECRET % i, 60)
    wait_for(lambda: outbox(alice, msg_id)["state"] == "delivered", 60, what="the receipt")
    assert r2.status()["routing"]["kept"] == 0


def nothing_comes_twice_and_relays_show_nothing():
    bodies = [body_of(m) for m in bob.inbox()]
    assert len(bodies) == len(set(bodies)), "a message came twice"
    for relay in (r1, r2):
        assert relay.call("inbox.list")["messages"] == []
        for name in os.listdir(relay.home):
            path = os.path.join(relay.home, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    held = f.read()
                assert b"the harvest" not in held and b"third stone" not in held, path
        assert "the harvest" not in relay.log()


def a_stranger_behind_relays_is_pending():
    mallory = lab.daemon("mallory")
    mallory.start("--peer", r1.address, *APART)
    mallory.wait_online(r1.id)
    mallory.cli("trust", "pin", "bob", public_key(bob), check=True)
    wait_for(lambda: route(mallory, bob), 20, what="a route of mallory to bob")
    msg_id = mallory.send("bob", "let me in")["msg_id"]
    wait_for(lambda: (bob.peer(mallory.id) or {}).get("state") == "pending", 20, what="mallory to be pending at bob")
    wait_for(lambda: "approval" in (outbox(mallory, msg_id)["reason"] or ""), 20, what="mallory to hear that it is held")
    assert not [m for m in bob.inbox() if m["from"]["id"] == mallory.id]
    bob.cli("peers", "approve", mallory.id, check=True)
    got = bob.take_body("let me in")
    assert got["from"]["id"] == mallory.id and got["via"]["id"] == r2.id, got
    wait_for(lambda: outbox(mallory, msg_id)["state"] == "delivered", 20, what="the receipt of mallory")


sys.exit(lab.run(the_mesh_comes_up, a_message_crosses_two_relays, an_answer_goes_to_the_author,
                 a_large_message_crosses_too, the_author_waits_while_the_far_link_is_cut,
                 a_relay_keeps_it_over_its_restart, nothing_comes_twice_and_relays_show_nothing,
                 a_stranger_behind_relays_is_pending))
