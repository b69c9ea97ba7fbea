"""Bad handshakes towards our listener."""
import json
import os
import time

import peer09 as p
from ironlab import PASSPHRASE
from rawws import RawWs

from .world import REFUSED, Line, case, nested, w


def handshake(evidence="handshake-failed", counters=REFUSED, **config):
    """A whole client handshake with one fault must end in a refusal."""
    def act(source):
        config.setdefault("passphrase", PASSPHRASE)
        config.setdefault("name", "h" + source.replace(".", "-"))
        ws = RawWs(w.alice.port, source)
        conf = p.Config(**config)
        try:
            p.client_handshake(ws, conf, 8)
        except (p.HandshakeError, ConnectionError, TimeoutError, ValueError):
            pass
        assert ws.is_closed(8), "the connection stays open"
        shown = w.alice.peer(conf.identity.id)
        assert not shown or not shown["online"], shown
    return counters, evidence, act


def change(**fields):
    return lambda message: dict(message, **fields)


def without(*keys):
    return lambda message: {k: v for k, v in message.items() if k not in keys}


def resigned(identity, scheme="context", **fields):
    """A HELLO with other fields, signed again: only the fields themselves are wrong."""
    def act(message):
        message = dict(message, **fields)
        message["signature"] = p.hello_signature(identity, message, scheme)
        return message
    return act


def raw_units(*units, after="", evidence="handshake-failed", counters=REFUSED):
    """These WebSocket messages in place of the proof."""
    def act(source):
        ws = RawWs(w.alice.port, source)
        ws.recv(5)
        try:
            for unit in units:
                ws.send(unit)
        except ConnectionError:
            pass
        assert ws.is_closed(8), "the connection stays open"
    return counters, evidence, act


def replayed_hello(source):
    """A HELLO that was recorded in another handshake: bound to another nonce."""
    recorded = []

    def record(message):
        recorded.append(message)
        return message
    me = p.Identity()
    name = "r" + source.replace(".", "-")
    ws = RawWs(w.alice.port, source)
    p.client_handshake(ws, p.Config(me, name, PASSPHRASE, tamper={"hello": record}))
    ws.close()
    w.alice.wait_offline(me.id)
    ws = RawWs(w.alice.port, source)
    try:
        p.client_handshake(ws, p.Config(me, name, PASSPHRASE, tamper={"hello": lambda _: recorded[0]}))
        raise AssertionError("a replayed HELLO was taken")
    except p.HandshakeError:
        pass
    assert ws.is_closed(8)
    assert not w.alice.peer(me.id)["online"]


def below_its_floor(source):
    me = p.Identity()
    line = Line(w.alice.port, source, identity=me)
    line.ws.close()
    w.alice.wait_offline(me.id)
    ws = RawWs(w.alice.port, source)
    try:
        p.client_handshake(ws, p.Config(me, line.config.name, PASSPHRASE, "old"))
    except p.HandshakeError:
        pass
    assert ws.is_closed(8), "a version below the known one was taken"
    assert not w.alice.peer(me.id)["online"]


def name_of_a_known_peer(source):
    me = p.Identity()
    handshake(identity=me, name="bob")[2](source)
    bob = w.bob.id

    def fits(alarm):
        return alarm["subject"] == "bob" and alarm["was"] == bob and alarm["now"] == me.id

    def text(alarms):
        return json.dumps(alarms).replace(" ", "")
    for answer in (w.alice.status(), w.alice.call("trust.list")):
        assert any(a["subject"] == "bob" for a in answer["alarms"]), answer["alarms"]
        assert bob in text(answer["alarms"]) and me.id in text(answer["alarms"]), answer["alarms"]
    shown = w.alice.cli("trust", "list")
    plain = (shown.stdout + shown.stderr).decode().replace(" ", "")
    assert bob in plain and me.id in plain, shown
    events = {e["event"] for e in w.alice.audit()}
    assert "TOFU_MISMATCH" in events, events


def blocked(source):
    me = p.Identity()
    line = Line(w.alice.port, source, identity=me)
    w.alice.call("peers.block", peer=me.id, reason="test")
    assert line.ws.is_closed(8), "blocking must end the session"
    handshake(identity=me, name=line.config.name)[2](source)


def revoked(source):
    me = p.Identity()
    line = Line(w.alice.port, source, identity=me)
    w.alice.call("trust.revoke", peer=me.id, reason="test")
    assert line.ws.is_closed(8), "revoking must end the session"
    handshake(identity=me, name=line.config.name)[2](source)


def frame_before_handshake(source):
    ws = RawWs(w.alice.port, source)
    ws.recv(5)
    me = p.Identity()
    m = p.Message("MSG", b"too early", source=me.id, destination=w.alice.id, sequence=1).sign(me)
    ws.send(p.seal_frame(m, bytes(32), me))
    assert ws.is_closed(8)


def silence_after_upgrade(source):
    ws = RawWs(w.alice.port, source)
    ws.recv(5)
    began = time.monotonic()
    assert ws.is_closed(15), "a silent client may stay for ever"
    assert time.monotonic() - began < 12


def bad_handshakes():
    anna = p.Identity()
    case("handshake: wrong passphrase", *handshake("handshake-failed.*err=auth", ("handshake_auth_failures",),
                                                    passphrase="wrong passphrase"))
    case("handshake: proof missing", *handshake(tamper={"proof": without("proof")}))
    case("handshake: proof empty", *handshake(tamper={"proof": change(proof="")}))
    case("handshake: proof is a number", *handshake(tamper={"proof": change(proof=7)}))
    case("handshake: proof under another type", *handshake(tamper={"proof": change(type="PASSPHRASE_RESPONSE")}))
    case("handshake: HELLO in place of the proof", *handshake(tamper={"proof": change(type="HELLO")}))
    case("handshake: SKIP_OFFER from a client", *raw_units(json.dumps(
        {"type": "SKIP_OFFER", "from": anna.id, "channel_binding": p.SKIP_SENTINEL, "protocol_version": p.VERSION})))
    case("handshake: HELLO without signature", *handshake(tamper={"hello": without("signature")}))
    case("handshake: HELLO without identity", *handshake(tamper={"hello": without("identity_public")}))
    case("handshake: HELLO without identity and signature",
         *handshake(tamper={"hello": without("identity_public", "signature")}))
    case("handshake: HELLO without ephemeral key", *handshake(tamper={"hello": without("ephemeral_public")}))
    case("handshake: HELLO bound to another channel", *handshake(binding="ab" * 32))
    case("handshake: recorded HELLO replayed", REFUSED, "handshake-failed", replayed_hello)
    case("handshake: attached signature with declared 0.9", *handshake(scheme="attached"))
    case("handshake: context signature with declared 0.8", *handshake(generation="old", scheme="context"))
    case("handshake: signature of another key",
         *handshake(identity=anna, tamper={"hello": resigned(p.Identity())}))
    case("handshake: name changed after signing", *handshake(tamper={"hello": change(name="somebody-else")}))
    for title, point in (("zero", bytes(32)), ("one", b"\1" + bytes(31)),
                         ("of order 8", bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"))):
        case("handshake: ephemeral point " + title,
             *handshake(identity=anna, tamper={"hello": resigned(anna, ephemeral_public=p.b64(point))}))
    eph = p.b64(b"\x42" * 32)
    for title, text in (("with a newline", eph[:20] + "\n" + eph[20:]), ("without padding", eph.rstrip("=")),
                        ("in the URL alphabet", p.b64(b"\xfb" * 32).replace("+", "-").replace("/", "_")),
                        ("of 31 bytes", p.b64(b"\x42" * 31)), ("of 33 bytes", p.b64(b"\x42" * 33))):
        case("handshake: base64 %s" % title,
             *handshake(identity=anna, tamper={"hello": resigned(anna, ephemeral_public=text)}))
    case("handshake: newline in the signature",
         *handshake(tamper={"hello": lambda m: dict(m, signature=m["signature"][:44] + "\n" + m["signature"][44:])}))
    case("handshake: rns_link_id on ws",
         *handshake(identity=anna, tamper={"hello": resigned(anna, rns_link_id="00112233445566778899aabbccddeeff")}))
    case("handshake: from is not the id of the key", *handshake(tamper={"hello": change(**{"from": "ab" * 16})}))
    case("handshake: our own identity", *handshake("handshake-failed.*err=self", identity=p.Identity(w.alice_seed)))
    case("handshake: version below the minimum",
         *handshake("handshake-failed.*version", generation="old", version="ironmesh/0.2"))
    case("handshake: version that is none", *handshake(generation="old", version="ironmesh/x"))
    case("handshake: version below what this identity spoke", ("admission_refused",), "peer-refused.*err=downgrade",
         below_its_floor)
    case("handshake: name of a known peer with another key", ("admission_refused",), "key-changed subject=bob",
         name_of_a_known_peer)
    case("handshake: blocked identity", ("admission_refused",), "peer-refused.*err=untrusted", blocked)
    case("handshake: revoked identity", ("admission_refused",), "peer-refused.*err=untrusted", revoked)
    case("handshake: 70,000 bytes of padding",
         *handshake(tamper={"proof": lambda m: json.dumps(dict(m, padding="x" * 70000))}))
    case("handshake: HELLO of 70,000 bytes", *handshake(tamper={"hello": lambda m: dict(m, padding="x" * 70000)}))
    case("handshake: name of 5,000 characters", *handshake(name="n" * 5000))
    case("handshake: duplicate keys",
         *handshake(tamper={"proof": lambda m: '{"type":"X",' + json.dumps(m)[1:]}))
    case("handshake: nesting 1,000 deep",
         *handshake(tamper={"proof": lambda m: json.dumps(m)[:-1] + ',"x":' + nested(1000) + "}"}))
    case("handshake: nesting 30,000 deep", *raw_units(nested(30000)))
    case("handshake: binary garbage", *raw_units(os.urandom(300)))
    case("handshake: text that is not JSON", *raw_units("hello?"))
    case("handshake: JSON that is no object", *raw_units('["PASSPHRASE_CHALLENGE"]'))
    case("handshake: trailing text", *handshake(tamper={"proof": lambda m: json.dumps(m) + "{}"}))
    case("handshake: NaN", *handshake(tamper={"proof": lambda m: json.dumps(m)[:-1] + ',"x":NaN}'}))
    case("handshake: type is an object", *raw_units('{"type":{"type":"PASSPHRASE_CHALLENGE"}}'))
    case("handshake: empty text", *raw_units("", "{}"))
    case("handshake: a frame before the handshake", REFUSED, "handshake-failed", frame_before_handshake)
    case("handshake: silence after the upgrade", ("handshake_timeouts",), "handshake-failed.*timeout",
         silence_after_upgrade)
