"""Bad frames in an open session: one bad one between two good ones."""
import gzip
import json
import os
import re
import struct
import time

import peer09 as p
from ironlab import body_of
from rawws import BINARY

from .world import FRAMES, Line, case, nested, rss, w


class Bodies:
    """Bodies of a frame with one thing wrong: each takes the honest text and gives another."""

    @staticmethod
    def put(**fields):
        def change(text):
            body = json.loads(text)
            body.update(fields)
            return p.compact(body)
        return change

    @staticmethod
    def drop(key):
        def change(text):
            body = json.loads(text)
            del body[key]
            return p.compact(body)
        return change

    @staticmethod
    def swap(old, new):
        def change(text):
            assert old in text, old
            return text.replace(old, new, 1)
        return change


def frame(evidence="frame-dropped", counters=FRAMES, inner="v2", message=None, body=None, stays=True, generation="final",
          payload=None, **faults):
    """One bad frame between two good ones: the good ones arrive, the bad one does not."""
    def act(source):
        line = Line(w.alice.port, source, generation=generation)
        mark = "%s %s" % (source, os.urandom(4).hex())
        line.honest("before " + mark)
        bad = line.message(payload or ("bad " + mark).encode(), inner=inner, **(message or {}))
        more = {k: (v(bad) if callable(v) else v) for k, v in faults.items()}
        if body:
            more["body"] = body(p.compact(bad.body())).encode()
        line.send(bad, **more)
        try:
            line.honest("after " + mark)
        except ConnectionError:
            assert not stays, "the session was closed"
        w.alice.take_body("before " + mark)
        if stays:
            w.alice.take_body("after " + mark)
        else:
            assert line.ws.is_closed(8), "the session should be closed"
        time.sleep(0.05)
        assert not any(body_of(m).startswith(b"bad " + mark.encode()) or m["msg_id"] == bad.msg_id
                       for m in w.alice.inbox()), "the bad frame was delivered"
        line.ws.close()
    return counters, evidence, act


def unit(make, evidence="frame-dropped", counters=FRAMES, stays=True):
    """A whole WebSocket message made of an honest frame (a function of it), between two good ones."""
    def act(source):
        line = Line(w.alice.port, source)
        mark = os.urandom(6).hex()
        line.honest("before " + mark)
        honest = p.seal_frame(line.message(b"bad " + mark.encode()), line.remote.key, line.me)
        made = make(honest, line)
        for one in made if isinstance(made, list) else [made]:
            line.ws.send(one)
        line.honest("after " + mark)
        w.alice.take_body("before " + mark)
        w.alice.take_body("after " + mark)
        assert not any(body_of(m) == b"bad " + mark.encode() for m in w.alice.inbox()), "the bad unit was delivered"
        line.ws.close()
    return counters, evidence, act


def byte(at, value):
    return lambda data, _: data[:at] + bytes([value]) + data[at + 1:]


def resized(by):
    return lambda data, _: data[:28] + struct.pack(">I", struct.unpack(">I", data[28:32])[0] + by) + data[32:]


def replayed(source):
    line = Line(w.alice.port, source)
    mark = os.urandom(6).hex()
    data = p.seal_frame(line.message(mark.encode()), line.remote.key, line.me)
    for _ in range(3):
        line.ws.send(data)
    line.honest("after " + mark)
    w.alice.take_body("after " + mark)
    assert sum(body_of(m) == mark.encode() for m in w.alice.inbox()) == 1, "a replayed frame was delivered again"
    line.ws.close()


def reflected(source):
    """alice's own frame comes back to her, as it is and with the signature stripped."""
    line = Line(w.alice.port, source)
    w.alice.wait_online(line.me.id)
    mark = "reflect " + os.urandom(6).hex()
    w.alice.send(line.me.id, mark)
    while True:
        data = line.ws.recv(8)
        if p.open_frame(data, [line.remote.key], line.remote.public)[0].type == "MSG":
            break
    line.ws.send(data)
    line.ws.send(data[:3] + bytes([data[3] & ~p.SIGNED]) + data[4:-64])
    enc = data[32:-64]
    line.ws.send(data[:-64] + line.me.sign(enc))  # signed as ours: decrypts, and names alice as its source
    line.honest("after " + mark)
    w.alice.take_body("after " + mark)
    assert not any(body_of(m) == mark.encode() for m in w.alice.inbox()), "she took her own frame"
    line.ws.close()


def oversized(source):
    line = Line(w.alice.port, source)
    line.ws.sock.settimeout(5)
    try:
        line.ws.send(os.urandom((1 << 20) + 1))
    except ConnectionError:
        pass
    assert line.ws.is_closed(8), "a message over 1 MiB was taken"
    w.alice.wait_offline(line.me.id)


def oversized_in_pieces(source):
    line = Line(w.alice.port, source)
    try:
        line.ws.frame(BINARY, b"\xe7\xf6" + bytes(65000), fin=False)
        for _ in range(40):
            line.ws.frame(0, bytes(65000), fin=False)
    except ConnectionError:
        pass
    assert line.ws.is_closed(8), "a message of 2.6 MB in pieces was taken"


def announces_too_much(source):
    """The length says 2^62; not even the buffer for it may be made."""
    line = Line(w.alice.port, source)
    before = rss(w.alice)
    try:
        line.ws.frame(BINARY, b"\xe7\xf6", length=1 << 62)
        line.ws.raw(bytes(200000))
    except ConnectionError:
        pass
    assert line.ws.is_closed(8)
    assert rss(w.alice) - before < 32 << 20, "memory grew by %d" % (rss(w.alice) - before)


def flood(source):
    line = Line(w.alice.port, source)
    try:
        for _ in range(600):
            line.ws.send(p.seal_frame(line.message(b"flood"), os.urandom(32), line.me))
    except ConnectionError:
        pass
    assert line.ws.is_closed(8), "600 bad frames, and the session is still there"
    audit = [e for e in w.alice.audit() if e["event"] == "SIGNATURE_FAILURE" and line.me.id in json.dumps(e)]
    assert len(audit) < 100, "the audit grew by %d entries" % len(audit)


def deep_body(levels):
    def act(text):
        body = json.loads(text)
        body["routing"] = {"x": json.loads(nested(levels))}
        return p.compact(body)
    return act


def control(evidence, counters, type, payload, stays=True):
    def act(source):
        line = Line(w.alice.port, source)
        mark = os.urandom(6).hex()
        text = payload(line) if callable(payload) else payload
        line.send(line.message(text if isinstance(text, bytes) else p.compact(text).encode(), type, destination="*",
                               ttl=3))
        line.honest("after " + mark)
        w.alice.take_body("after " + mark)
        line.ws.close()
    return counters, evidence, act


def bad_frames():
    now = time.time
    case("frame: legacy JSON message", *unit(lambda _, line: json.dumps({
        "type": "MSG", "from": line.me.id, "to": line.remote.id, "msg_id": os.urandom(16).hex(),
        "encrypted_payload": p.b64(bytes(p.nacl.secret.SecretBox(line.remote.key).encrypt(b"legacy"))),
        "signature": p.b64(bytes(64)), "sequence": 1, "timestamp": now(), "priority": "NORMAL"})))
    case("frame: the same as binary", *unit(lambda _, line: json.dumps({
        "type": "MSG", "from": line.me.id, "encrypted_payload": "", "signature": "", "sequence": 1}).encode()))
    case("frame: text", *unit(lambda data, _: "text"))
    case("frame: an honest frame as base64 text", *unit(lambda data, _: p.b64(data)))
    case("frame: another HELLO", *unit(lambda _, line: json.dumps(p.make_hello(line.config, "00" * 32, os.urandom(32), "context"))))
    case("frame: empty and short units", *unit(lambda data, _: [data[:n] for n in (1, 2, 3, 31, 32)]))
    case("frame: magic changed", *unit(byte(0, 0xE6)))
    case("frame: version 2", *unit(byte(2, 2)))
    case("frame: version 5", *unit(byte(2, 5)))
    case("frame: ENCRYPTED cleared", *unit(byte(3, p.SIGNED)))
    case("frame: SIGNED cleared", *unit(byte(3, p.ENCRYPTED)))
    case("frame: SIGNED cleared and the signature cut",
         *unit(lambda data, _: data[:3] + bytes([p.ENCRYPTED]) + data[4:-64]))
    case("frame: header sequence changed", *unit(lambda data, _: data[:4] + struct.pack(">Q", 99) + data[12:],
                                                  "frame-dropped.*header-differs"))
    case("frame: header sequence 2^48", *unit(lambda data, _: data[:4] + struct.pack(">Q", 1 << 48) + data[12:],
                                               "frame-dropped.*header-differs"))
    case("frame: header time changed", *unit(lambda data, _: data[:12] + struct.pack(">Q", int(now() * 1000) + 2000) + data[20:],
                                              "frame-dropped.*header-differs"))
    case("frame: enc_len one more", *unit(resized(1)))
    case("frame: enc_len one less", *unit(resized(-1)))
    case("frame: enc_len 0x00100001", *unit(lambda data, _: data[:28] + struct.pack(">I", 0x100001) + data[32:]))
    case("frame: enc_len 0xffffffff", *unit(lambda data, _: data[:28] + b"\xff" * 4 + data[32:]))
    case("frame: enc_len 0", *unit(lambda data, _: data[:28] + bytes(4) + data[32:]))
    case("frame: cut at every eighth byte", *unit(lambda data, _: [data[:n] for n in range(0, len(data), 8)][1:50]))
    case("frame: 39 bytes of enc", *frame(enc=bytes(39)))
    case("frame: enc does not decrypt", *frame(enc=lambda m: os.urandom(400)))
    case("frame: signed by another key", *frame(signature=bytes(64)))
    case("frame: encrypted under another key", *unit(lambda _, line: p.seal_frame(
        line.message(b"x"), bytes(32), line.me)))
    case("frame: replayed", FRAMES, "frame-dropped.*replay", replayed)
    case("frame: reflected", FRAMES, "frame-dropped.*(own-source|signature|auth)", reflected)
    case("frame: our own identity as source", *unit(lambda _, line: p.seal_frame(
        line.message(b"x", source=line.remote.id), line.remote.key, line.me), "frame-dropped.*own-source"))
    case("frame: sequence 0", *frame("frame-dropped", header_sequence=0, body=Bodies.put(sequence=0)))
    case("frame: sequence 2^48 + 1", *frame("frame-dropped.*(sequence-large|body)", header_sequence=(1 << 48) + 1,
                                             body=Bodies.put(sequence=(1 << 48) + 1)))
    case("frame: sequence -1 in the body", *frame(body=Bodies.put(sequence=-1)))
    case("frame: sequence is text", *frame(body=Bodies.put(sequence="2")))
    case("frame: 31 s old", *frame("frame-dropped.*too-old", message={"timestamp": now() - 3600}))
    case("frame: an hour ahead", *frame("frame-dropped.*from-future", message={"timestamp": now() + 3600}))
    for name in ("NaN", "Infinity", "-Infinity", "1e400", "-1.5", '"1753500000.25"', "null", "true"):
        case("frame: time stamp %s" % name, *frame(
            body=lambda text, name=name: re.sub(r'"timestamp":[0-9.]+', '"timestamp":' + name, text)))
    case("frame: no time stamp", *frame(body=Bodies.drop("timestamp")))
    case("frame: no type", *frame(body=Bodies.drop("type")))
    case("frame: empty type", *frame(body=Bodies.put(type="")))
    case("frame: type is a number", *frame(body=Bodies.put(type=5)))
    case("frame: no source", *frame(body=Bodies.drop("source")))
    case("frame: no msg_id", *frame(body=Bodies.drop("msg_id")))
    case("frame: msg_id of 129 characters", *frame(message={"msg_id": "m" * 129}))
    case("frame: hops [1]", *frame(body=Bodies.put(hops=[1])))
    case("frame: 300 hops", *frame(body=Bodies.put(hops=["ab" * 16] * 300)))
    case("frame: ttl 256", *frame(body=Bodies.put(ttl=256)))
    case("frame: ttl -1", *frame(body=Bodies.put(ttl=-1)))
    case("frame: 66 levels of nesting", *frame(body=deep_body(66)))
    case("frame: 100,000 levels of nesting",
         *frame(body=lambda text: text[:-1] + ',"x":' + nested(100000) + "}"))
    case("frame: duplicate keys", *frame(body=lambda text: '{"type":"MSG",' + text[1:]))
    case("frame: trailing bytes in the body", *frame(body=lambda text: text + "{}"))
    case("frame: body is an array", *frame(body=lambda text: "[" + text + "]"))
    case("frame: body is not UTF-8", *unit(lambda _, line: p.seal_frame(
        line.message(b"x"), line.remote.key, line.me, body=b'{"type":"MSG","payload":"","msg_id":"\xff\xfe"}')))
    case("frame: payload is not base64", *frame(body=Bodies.put(payload="***")))
    case("frame: payload with a newline", *frame(payload=b"bad" * 40, body=lambda text: text.replace(
        '"payload":"', '"payload":"YmFk\\n', 1)))
    case("frame: bad inner signature", *frame("frame-dropped.*inner-signature",
                                               body=Bodies.put(source_signature=p.b64(bytes(64)))))
    case("frame: inner signature over another payload", *frame(
        "frame-dropped.*inner-signature", body=Bodies.put(payload=p.b64(b"another"))))
    case("frame: v2 signature with the tag v1", *frame("frame-dropped.*inner-signature",
                                                        body=Bodies.put(source_sig_scheme="v1")))
    case("frame: unknown signature tag", *frame(body=Bodies.put(source_sig_scheme="v9")))
    case("frame: relayed without inner signature", *frame(inner=None, message={"source": "cd" * 16}))
    case("frame: relayed with the relay's signature", *frame(message={"source": "cd" * 16}))
    case("frame: sealed copy does not open", *frame("frame-dropped.*unseal", message={"e2e": os.urandom(90)}))
    case("frame: gzip bomb", *frame(message={"routing": {"compressed": True}},
                                    payload=gzip.compress(bytes(8 << 20))))
    case("frame: for another node", *frame("not-for-us", ("messages_not_for_us",), message={"destination": "ef" * 16}))
    case("frame: PING that names another source", *unit(lambda _, line: p.seal_frame(
        line.message(b"{}", "PING", source="ab" * 16, destination="*"), line.remote.key, line.me),
        "frame-dropped.*control-source"))
    case("frame: REKEY_REQUEST with a point of low order", *control(
        "frame-dropped", FRAMES, "REKEY_REQUEST", lambda line: {
            "type": "REKEY_REQUEST", "from": line.me.id, "new_ephemeral_public": p.b64(bytes(32)), "rekey_id": "1"}))
    case("frame: REKEY_REQUEST that is not JSON", *control("frame-dropped", FRAMES, "REKEY_REQUEST", b"\xff\xff"))
    case("frame: REVOCATION of somebody by a stranger", *control(
        "", ("control_frames", "frames_dropped"), "REVOCATION", lambda line: {
            "type": "REVOCATION", "from": line.me.id, "target_node_id": w.bob.id, "revoker_node_id": line.me.id,
            "timestamp": int(now()), "reason": "because", "signature": p.b64(line.me.sign(
                (w.bob.id + line.me.id + str(int(now()))).encode()))}))
    case("frame: ROUTE_ANNOUNCE of everything at cost 0", *control(
        "", ("control_frames", "frames_dropped"), "ROUTE_ANNOUNCE", lambda line: {
            "origin": line.me.id, "routes": [{"destination": w.bob.id, "cost": 0}], "sequence_number": 1}))
    case("frame: message over 1 MiB", ("links_ended_protocol",), "peer-offline.*protocol", oversized)
    case("frame: 2.6 MB in pieces", ("links_ended_protocol",), "peer-offline.*protocol", oversized_in_pieces)
    case("frame: announces 2^62 bytes", ("links_ended_protocol",), "peer-offline.*protocol", announces_too_much)
    case("frame: a flood of bad ones", ("sessions_closed_for_bad_frames",), "too-many-bad-frames|frame-dropped", flood)
