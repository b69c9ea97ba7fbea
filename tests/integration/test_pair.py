#!/usr/bin/env python3
"""Pairing of two machines: the code, the wrong code, digits to compare, and the mesh key that comes with it.

Prints `test_pair: N passed, M failed`.
"""
import json
import os
import signal
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import rawws  # noqa: E402
from ironlab import Lab, RpcError, wait_for  # noqa: E402
from pairlab import PairCommand  # noqa: E402

lab = Lab("test_pair", __doc__)


def bare(name):
    """A machine that starts without the passphrase of the mesh."""
    made = lab.daemon(name)
    made.command = lambda options: [lab.binary, "run", "--home", made.home, "--name", name, "--port", str(made.port),
                                    "--bind", made.host, "--no-passphrase", *options]
    return made


def Command(daemon, *args):
    return PairCommand(lab.binary, daemon.home, *args)


def ready(*daemons):
    for d in daemons:
        wait_for(lambda: d.status()["im2"]["mesh_key"] == "ready", what="the mesh key of %s" % d.name)


def wrong(code):
    return code[:3] + ("000-001" if code[3:] != "000-001" else "000-002")


def type_at(daemon, other, code, *more):
    """As soon as the brake on wrong guesses lets it: the source of both is 127.0.0.1."""
    def look():
        typed = Command(daemon, code, "--at", other.address, *more)
        return typed if typed.end() == 0 or not typed.says("does not answer") else None
    return wait_for(look, 15, 0.3, what="an answer of %s" % other.name)


def refused(control, method, **params):
    try:
        control.call(method, **params)
    except RpcError as error:
        return error
    return None


def names(daemon):
    return [p["name"] for p in daemon.call("peers.list")["peers"]]


def events_of(daemon):
    return [e["event"] for e in daemon.audit()]


def two_homes_pair_and_talk():
    alice, bob = lab.daemon("alice"), bare("bob")
    alice.start()
    bob.start()
    ready(alice)
    status = bob.status()
    assert status["im2"]["mesh_key"] == "none" and status["im2"]["setting"] == "require", status["im2"]
    assert any("ironmesh pair" in w for w in status["warnings"]), status["warnings"]
    show = Command(alice)
    code = show.line()
    assert len(code) == 10 and show.process.poll() is None
    wait_for(lambda: show.says("ironmesh pair %s --at %s" % (code, alice.address)), what="what to type there")
    typed = Command(bob, code, "--at", alice.address).done()
    show.done()
    assert show.says("paired with bob, fingerprint ") and show.says("handed on"), (show.lines, show.errors)
    assert typed.says("paired with alice, fingerprint ") and typed.says("has come"), (typed.lines, typed.errors)
    marks = [c.lines[-1].split("fingerprint ")[1].replace(" ", "") for c in (typed, show)]
    assert alice.id.startswith(marks[0]) and bob.id.startswith(marks[1]) and len(marks[0]) == 16, marks
    for daemon, name in ((alice, "bob"), (bob, "alice")):
        got = daemon.peer(name)
        assert got["state"] == "trusted" and got["verified"] and got["via"] == "code", got
    status = bob.status()
    assert status["im2"]["mesh_key"] == "ready" and not any("ironmesh pair" in w for w in status["warnings"]), status
    assert bob.send("alice", "over a session of its own", wait_ms=10000)["state"] == "delivered"
    assert alice.send("bob", "and back", wait_ms=10000)["state"] == "delivered"
    alice.take_body("over a session of its own")
    assert {"PEER_PAIRED", "CREDENTIAL_RECEIVED"} <= set(events_of(bob))
    assert {"PAIR_SHOWN", "PEER_PAIRED", "CREDENTIAL_GIVEN"} <= set(events_of(alice))
    assert alice.counters()["paired"] == 1 and bob.counters()["paired"] == 1


def key_and_address_survive_a_restart():
    alice, bob = lab.daemons["alice"], lab.daemons["bob"]
    bob.kill9()
    bob.start()
    assert bob.status()["im2"]["mesh_key"] == "ready"
    assert bob.send("alice", "again", wait_ms=15000)["state"] == "delivered"
    with open(os.path.join(bob.home, "ironmesh.db"), "rb") as f:
        assert b"correct-horse" not in f.read()
    assert alice.peer("bob")["state"] == "trusted"


def the_key_opens_first_contacts_with_others():
    bob, carol = lab.daemons["bob"], lab.daemon("carol")
    carol.start()
    ready(carol)
    bob.stop()
    bob.start("--peer", carol.address)
    wait_for(lambda: "bob" in names(carol), what="a first contact with the key that came by pairing")


def a_paired_machine_hands_the_key_on():
    bob, dora = lab.daemons["bob"], bare("dora")
    dora.start()
    show = Command(bob)
    typed = Command(dora, "ironmesh-pair:%s@%s" % (show.line(), bob.address)).done()
    assert show.done().says("handed on") and typed.says("has come")
    assert dora.status()["im2"]["mesh_key"] == "ready"
    assert dora.send("bob", "third", wait_ms=10000)["state"] == "delivered"


def a_wrong_code_is_the_only_guess():
    erin, frank = lab.daemon("erin"), lab.daemon("frank")
    erin.start()
    frank.start()
    ready(erin, frank)
    show = Command(erin)
    code = show.line()
    guess = Command(frank, wrong(code), "--at", erin.address)
    assert guess.end() == 1 and guess.says("not paired: the code is wrong"), guess.errors
    # Another code is shown at once; the old one is worth nothing.
    second = show.line(1)
    assert second != code and show.says("typed a wrong code"), show.errors
    late = type_at(frank, erin, code)
    assert late.process.returncode == 1 and late.says("the code is wrong"), late.errors
    assert names(erin) == [] and names(frank) == []
    assert "PAIR_GUESS" in events_of(erin) and erin.counters()["pair_guesses"] == 2
    third = show.line(2)
    type_at(frank, erin, third).done()
    show.done()
    assert erin.peer("frank")["verified"] and frank.peer("erin")["verified"]


def five_codes_and_one_command():
    gus = lab.daemon("gus")
    gus.start()
    ready(gus)
    first, second = gus.connect(), gus.connect()
    seen = {first.call("pair.show", again=i > 0)["code"] for i in range(5)}
    assert len(seen) == 5
    error = refused(first, "pair.show", again=True)
    assert error.exit == 75 and "used up" in str(error) and "--compare" in error.next, error
    # One command at a time; its end makes room.
    first.call("pair.show")
    error = refused(second, "pair.show")
    assert error.err == "again" and error.exit == 75 and "--stop" in error.next, error
    assert refused(second, "pair.type", code="12-345-678", at="127.0.0.1:1").err == "again"
    first.close()
    wait_for(lambda: not refused(second, "pair.show"), what="room for another command")
    second.close()


def digits_are_compared_by_people():
    hugo, ines = lab.daemon("hugo"), bare("ines")
    hugo.start()
    ines.start()
    ready(hugo)
    show = Command(hugo, "--compare")
    show.line()
    joined = Command(ines, "--compare", "--at", hugo.address)
    digits = joined.line()
    assert len(digits) == 7 and digits[3] == " " and show.line(1) == digits, (joined.lines, show.lines)
    assert names(hugo) == [] and names(ines) == []
    assert hugo.cli("pair", "--same").returncode == 0
    assert show.process.poll() is None and names(hugo) == []
    assert ines.cli("pair", "--same").returncode == 0
    joined.done()
    show.done()
    assert hugo.peer("ines")["verified"] and ines.peer("hugo")["via"] == "sas"
    assert ines.status()["im2"]["mesh_key"] == "ready"
    assert ines.send("hugo", "compared", wait_ms=10000)["state"] == "delivered"


def whoever_says_no_pins_nobody():
    jack, kurt = lab.daemon("jack"), lab.daemon("kurt")
    jack.start()
    kurt.start()
    ready(jack, kurt)
    assert jack.cli("pair", "--same").returncode == 1
    show = Command(jack, "--compare")
    show.line()
    joined = Command(kurt, "--compare", "--at", jack.address)
    joined.line()
    assert jack.cli("pair", "--same").returncode == 0
    assert kurt.cli("pair", "--differ").returncode == 0
    assert joined.end() == 1 and joined.says("the digits differ"), joined.errors
    assert show.end() == 1 and show.says("said no"), show.errors
    assert names(jack) == [] and names(kurt) == []


def nobody_shows_and_nobody_answers():
    jack, kurt = lab.daemons["jack"], lab.daemons["kurt"]
    before = jack.counters()["connections_refused"]
    got = Command(kurt, "12-345-678", "--at", jack.address)
    assert got.end() == 1 and got.says("no machine shows a code there"), got.errors
    assert jack.counters()["connections_refused"] > before
    got = Command(kurt, "12-345-678", "--at", "127.0.0.1:1")
    assert got.end() == 1 and got.says("does not answer"), got.errors
    assert kurt.cli("pair", "12-345-67").returncode == 2
    assert kurt.cli("pair", "--compare", "12-345-678").returncode == 2
    assert kurt.cli("pair", "12-345-678", "--at", "nowhere").returncode == 2


def the_end_of_the_command_is_the_end_of_the_code():
    jack, kurt = lab.daemons["jack"], lab.daemons["kurt"]
    show = Command(jack)
    code = show.line()
    show.process.send_signal(signal.SIGINT)
    assert show.end() == 130
    got = type_at(kurt, jack, code)
    assert got.process.returncode == 1 and got.says("no machine shows a code there"), got.errors
    show = Command(jack)
    show.line()
    assert jack.cli("pair", "--stop").returncode == 0
    assert show.end() == 1 and show.says("stopped"), show.errors


def who_is_blocked_is_not_paired():
    jack, kurt = lab.daemons["jack"], lab.daemons["kurt"]
    jack.call("trust.pin", public_key=kurt.call("keys.show")["public_key"], name="kurt")
    jack.call("peers.block", peer="kurt")
    show = Command(jack, "--no-qr")
    code = show.line()
    typed = type_at(kurt, jack, code)
    assert typed.process.returncode == 1 and typed.says("says there why"), typed.errors
    assert show.end() == 1 and show.says("is blocked") and show.says("peers approve"), show.errors
    assert jack.peer("kurt")["state"] == "blocked" and names(kurt) == []
    assert jack.counters()["pair_refused"] == 1
    # And with the operator's word it goes.
    jack.call("peers.approve", peer="kurt")
    show = Command(jack)
    type_at(kurt, jack, show.line()).done()
    show.done()
    assert jack.peer("kurt")["verified"]


def a_name_is_not_taken_from_its_owner():
    jack, other = lab.daemons["jack"], lab.daemon("kurt", home="kurt2")
    other.start()
    ready(other)
    show = Command(jack)
    typed = type_at(other, jack, show.line())
    assert typed.process.returncode == 1 and show.end() == 1, (typed.errors, show.errors)
    assert show.says("another key") and show.says("trust repin kurt"), show.errors
    assert jack.peer("kurt")["id"] == lab.daemons["kurt"].id
    assert any(a["subject"] == "kurt" for a in jack.status()["alarms"])
    lab.daemons["kurt2"].stop()


def pin_only_moves_no_key():
    lena, mia = lab.daemon("lena"), bare("mia")
    lena.start()
    mia.start()
    ready(lena)
    show = Command(lena, "--pin-only")
    typed = Command(mia, show.line(), "--at", lena.address).done()
    show.done()
    assert typed.says("handed on no key"), typed.errors
    assert mia.status()["im2"]["mesh_key"] == "none"
    assert mia.send("lena", "the pair secret is enough", wait_ms=10000)["state"] == "delivered"
    mia.restart()
    assert mia.send("lena", "for ever", wait_ms=15000)["state"] == "delivered"


def the_passphrase_itself_is_given_when_asked_for():
    lena, nora = lab.daemons["lena"], bare("nora")
    nora.start()
    show = Command(lena, "--give-passphrase")
    typed = Command(nora, show.line(), "--at", lena.address).done()
    assert show.done().says("passphrase of the mesh was handed on") and typed.says("passphrase of the mesh has come")
    ready(nora)
    assert nora.send("lena", "with words", wait_ms=10000)["state"] == "delivered"
    nora.restart()
    ready(nora)
    assert nora.status()["im2"]["setting"] == "on", nora.status()["im2"]
    # Who was paired with the key alone has none to give.
    done = lab.daemons["ines"].cli("pair", "--give-passphrase")
    assert done.returncode == 2 and b"no passphrase to give" in done.stderr, done.stderr


def the_tls_channel_can_be_part_of_it():
    tina, ulla, vera = lab.daemon("tina"), bare("ulla"), bare("vera")
    tina.start("--tls-binding", "on")
    ulla.start("--tls-binding", "on")
    vera.start()
    ready(tina)
    show = Command(tina)
    code = show.line()
    typed = type_at(vera, tina, code)
    assert typed.process.returncode == 1 and typed.says("--tls-binding is on there"), typed.errors
    type_at(ulla, tina, show.line(1)).done()
    show.done()
    assert ulla.send("tina", "bound", wait_ms=10000)["state"] == "delivered"
    assert names(vera) == []


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def over_ipv6():
    if not has_ipv6():
        print("  skip over_ipv6: this machine has no ::1")
        return
    wanda, xenia = lab.daemon("wanda", host="::1"), bare("xenia")
    wanda.start()
    xenia.start()
    ready(wanda)
    show = Command(wanda)
    code = show.line()
    at = "[::1]:%d" % wanda.port
    wait_for(lambda: show.says("--at " + at), what="the address to type: %r" % show.errors)
    Command(xenia, "ironmesh-pair:%s@%s" % (code, at)).done()
    show.done()
    assert xenia.send("wanda", "six", wait_ms=10000)["state"] == "delivered"


def programs_read_json():
    olga, pia = lab.daemon("olga"), lab.daemon("pia")
    olga.start()
    pia.start()
    ready(olga, pia)
    show = Command(olga, "--json")
    offer = json.loads(show.line())
    assert offer["schema"] == "ironmesh.pair/1" and olga.address in offer["listen"], offer
    assert offer["gives"] == "mesh-key" and 100000 < offer["expires_in_ms"] <= 120000, offer
    typed = Command(pia, offer["code"], "--at", olga.address, "--json").done()
    show.done()
    for command, name in ((typed, "olga"), (show, "pia")):
        lines = [json.loads(line) for line in command.lines[1:]]
        assert [line["type"] for line in lines] == ["pair.paired", "pair.over"], lines
        assert lines[0]["schema"] == "ironmesh.event/1" and lines[0]["name"] == name, lines
    bad = Command(pia, "00-000-000", "--at", olga.address, "--json")
    assert bad.end() == 1
    assert json.loads(bad.lines[-1])["error"]["exit"] == 1, bad.lines


def strangers_on_the_path_get_a_nonce_and_no_more():
    olga = lab.daemons["olga"]

    sources = ("127.0.0.%d" % i for i in range(20, 60))  # each with a clean record

    def first(path):
        s = rawws.RawWs(olga.port, source=next(sources), path=path)
        try:
            return s, s.recv(5)
        except TimeoutError:
            return s, None
    # Nobody pairs: closed at once, without a word. Other paths are what they always were.
    shut, got = first("/im2/pair")
    assert got is None and shut.over, got
    for path in ("/", "/im2/pairs", "/im2/pair/", "/IM2/PAIR", "/im2"):
        s, got = first(path)
        assert isinstance(got, str) and "CHALLENGE" in got, (path, got)
        s.close()
    show = Command(olga)
    code = show.line()
    s, got = first("/im2/pair")
    assert isinstance(got, bytes) and len(got) == 34, got
    s.send(b"\x52" * 300000)
    assert s.is_closed() and s.close_code == 1009, s.close_code
    s, got = first("/im2/pair")
    s.send("text")
    assert s.is_closed()
    assert show.process.poll() is None and not show.says("used")
    # The code is still good.
    typed = type_at(lab.daemons["pia"], olga, code)
    assert typed.process.returncode == 0 and show.end() == 0, (typed.errors, show.errors)


def a_new_home_says_what_it_needs():
    rita = bare("rita")
    rita.start()
    assert "ironmesh pair CODE" in rita.log()
    got = rita.refused("send", to="nobody", body="x")
    assert got.exit == 4, got
    rita.stop()
    fresh = os.path.join(lab.folder, "fresh")
    done = subprocess.run([lab.binary, "run", "--home", fresh, "--name", "sam", "--no-passphrase", "--port", "0"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "--key-passphrase-file" in done.stderr, done.stderr


TESTS = [two_homes_pair_and_talk, key_and_address_survive_a_restart, the_key_opens_first_contacts_with_others,
         a_paired_machine_hands_the_key_on, a_wrong_code_is_the_only_guess, five_codes_and_one_command,
         digits_are_compared_by_people, whoever_says_no_pins_nobody, nobody_shows_and_nobody_answers,
         the_end_of_the_command_is_the_end_of_the_code, who_is_blocked_is_not_paired, a_name_is_not_taken_from_its_owner,
         pin_only_moves_no_key, the_passphrase_itself_is_given_when_asked_for, the_tls_channel_can_be_part_of_it, over_ipv6, programs_read_json, strangers_on_the_path_get_a_nonce_and_no_more,
         a_new_home_says_what_it_needs]
sys.exit(lab.run(*TESTS))
