"""wire09 -- the old wire, ironmesh/0.9 and before, as pure functions: canonical JSON, identities, proofs, HELLO,
both handshakes over a channel, frames, signatures, sealed boxes, replay rules.

Written from the description of the wire alone; no line of it comes from the C program, so that a
misreading there is noticed here.

A channel has send(str or bytes), recv(timeout) -> str, bytes or None when it is over, and close().
Deliberate faults, for the hostile tests, enter through `Config.tamper` and the keyword arguments of
seal_frame(); without them everything is as an honest peer does it.
"""
import base64
import collections
import hashlib
import hmac
import json
import math
import os
import struct
import time
import uuid

import nacl.bindings
import nacl.exceptions
import nacl.public
import nacl.secret
import nacl.signing

VERSION = "ironmesh/0.9"
USER_TYPES = ("MSG", "REQ", "RESP", "CONV")
MAX_UNIT = 1 << 20
MAGIC = b"\xe7\xf6"
HEADER = struct.Struct(">2sBBQQ8sI")
HIGH, CRITICAL, ENCRYPTED, SIGNED = 1, 2, 4, 8
SEQUENCE_MAX = 1 << 48
SKIP_SENTINEL = hashlib.sha256(b"ironmesh-handshake-skip-channel-binding-v1").hexdigest()


# --- encodings --------------------------------------------------------------------------------------
def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def context(name):
    return b"ironmesh-sig-v1/" + name.encode() + b"\0"


def parse_version(text):
    """(major, minor); anything odd is (0, 0)."""
    try:
        rest = text.split("/", 1)[1]
        major, minor = rest.split(".", 1)
        return int(major), int(minor.split(".")[0])
    except (AttributeError, IndexError, ValueError):
        return 0, 0


def hkdf(ikm, salt, info, length):
    key = hmac.new(salt, ikm, hashlib.sha256).digest()
    out, block, n = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([n]), hashlib.sha256).digest()
        out += block
        n += 1
    return out[:length]


def node_id(public):
    return hashlib.sha256(public).hexdigest()[:32]


def verify(public, message, signature):
    try:
        nacl.signing.VerifyKey(public).verify(message, signature)
        return True
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError, ValueError, TypeError):
        return False


# --- identity ---------------------------------------------------------------------------------------
class Identity:
    """An Ed25519 key; with `hkdf_salt` also the X25519 identity of the master-seed format."""

    def __init__(self, seed=None, hkdf_salt=None, master_seed=True):
        self.seed = seed or os.urandom(32)
        self.key = nacl.signing.SigningKey(self.seed)
        self.public = bytes(self.key.verify_key)
        self.id = node_id(self.public)
        self.x_secret = self.x_public = self.binding = None
        if master_seed:
            salt = hkdf_salt or os.urandom(16)
            self.x_secret = hkdf(self.seed, salt, b"ironmesh-identity-x25519-v1\0", 32)
            self.x_public = nacl.bindings.crypto_scalarmult_base(self.x_secret)
            self.binding = self.sign(context("x25519-identity-binding") + self.x_public)

    @classmethod
    def where(cls, wanted, **more):
        """A random identity whose id satisfies `wanted`."""
        while True:
            one = cls(**more)
            if wanted(one.id):
                return one

    def sign(self, message):
        return bytes(self.key.sign(message).signature)

    def converted_secret(self):
        return nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(self.seed + self.public)

    def unseal(self, box):
        """As the old software: the master-seed key and only that, if there is one. bytes or None."""
        secret = self.x_secret or self.converted_secret()
        try:
            return nacl.public.SealedBox(nacl.public.PrivateKey(secret)).decrypt(box)
        except (nacl.exceptions.CryptoError, nacl.exceptions.ValueError, ValueError, TypeError):
            return None


def converted_public(ed_public):
    return nacl.bindings.crypto_sign_ed25519_pk_to_curve25519(ed_public)


def seal(payload, x_public):
    return bytes(nacl.public.SealedBox(nacl.public.PublicKey(x_public)).encrypt(payload))


# --- stage 1 and 2 of the handshake ----------------------------------------------------------------
def client_proof(passphrase, nonce):
    return hmac.new(passphrase.encode(), nonce, hashlib.sha256).hexdigest()


def server_proof(passphrase, nonce):
    return client_proof(passphrase, nonce[::-1])


def session_key(my_private, their_public):
    """Raises when the point is of low order."""
    return nacl.bindings.crypto_box_beforenm(their_public, my_private)


HELLO_COVERED = ("channel_binding", "ephemeral_public", "identity_public", "name", "protocol_version")


def hello_canonical(hello):
    covered = {k: hello.get(k, "") for k in HELLO_COVERED}
    if "name" not in hello:
        covered["name"] = hello.get("from", "")
    if "rns_link_id" in hello:
        covered["rns_link_id"] = hello["rns_link_id"]
    return canonical(covered)


def hello_signature(identity, hello, scheme):
    text = hello_canonical(hello)
    if scheme == "context":
        return b64(identity.sign(context("hello") + text))
    return b64(identity.sign(text) + text)


def hello_verifies(hello, scheme):
    text = hello_canonical(hello)
    try:
        public, signature = unb64(hello["identity_public"]), unb64(hello["signature"])
    except (KeyError, ValueError):
        return False
    if len(public) != 32:
        return False
    if scheme == "context":
        return len(signature) == 64 and verify(public, context("hello") + text, signature)
    return signature[64:] == text and verify(public, text, signature[:64])


def scheme_for(version):
    return "context" if parse_version(version) >= (0, 9) else "attached"


class HandshakeError(Exception):
    pass


class Config:
    """How a peer behaves. `generation`: final, strict, mid (0.9), old (0.4 to 0.8), ts (TypeScript)."""

    def __init__(self, identity=None, name="oldpeer", passphrase="", generation="final", version=None,
                 advertise_x25519=True, tamper=None, nonce=None, binding=None, scheme=None, ephemeral=None,
                 answers=True):
        self.identity = identity or Identity()
        self.name = name
        self.passphrase = passphrase
        self.generation = generation
        self.version = version or {"old": "ironmesh/0.8", "ts": "ironmesh/0.6"}.get(generation, VERSION)
        self.modern = parse_version(self.version) >= (0, 9)
        self.advertise_x25519 = advertise_x25519 and self.modern and self.identity.x_public is not None
        self.tamper = tamper or {}       # stage -> function(dict) -> dict or str: what goes out instead
        self.nonce = nonce               # server: this nonce instead of a random one
        self.binding = binding           # this channel binding instead of the true one
        self.scheme = scheme             # this signature scheme instead of the right one
        self.ephemeral = ephemeral       # this private ephemeral key instead of a random one
        self.answers = answers and generation != "ts"


def _emit(config, channel, stage, message):
    change = config.tamper.get(stage)
    if change:
        message = change(message)
    if message is None:
        return
    channel.send(message if isinstance(message, (str, bytes)) else json.dumps(message))


def _receive(channel, timeout):
    unit = channel.recv(timeout)
    if unit is None:
        raise HandshakeError("closed")
    try:
        got = json.loads(unit)
    except ValueError:
        raise HandshakeError("not JSON: %r" % unit[:60]) from None
    if not isinstance(got, dict):
        raise HandshakeError("not an object")
    if "error" in got:
        raise HandshakeError("%s: %s" % (got.get("type"), got["error"]))
    return got


def _expect(got, kind):
    if got.get("type") != kind:
        raise HandshakeError("expected %s, got %s" % (kind, got.get("type")))


def make_hello(config, binding, private, scheme):
    me = config.identity
    hello = {"type": "HELLO", "from": me.id, "name": config.name,
             "ephemeral_public": b64(nacl.bindings.crypto_scalarmult_base(private)),
             "identity_public": b64(me.public), "protocol_version": config.version,
             "channel_binding": binding}
    change = config.tamper.get("hello-unsigned")  # before it is signed
    if change:
        hello = change(hello)
    hello["signature"] = hello_signature(me, hello, config.scheme or scheme)
    if config.advertise_x25519:
        hello["x25519_public_b64"] = b64(me.x_public)
        hello["x25519_binding_signature_b64"] = b64(me.binding)
    return hello


class Remote:
    """What the other side showed in its HELLO."""

    def __init__(self, hello, key):
        self.hello = hello
        self.key = key
        self.name = hello.get("name", hello["from"])
        self.public = unb64(hello["identity_public"])
        self.id = node_id(self.public)
        self.version = hello.get("protocol_version", "ironmesh/0.3")
        self.x_public = None
        try:
            x, binding = unb64(hello["x25519_public_b64"]), unb64(hello["x25519_binding_signature_b64"])
            if len(x) == 32 and verify(self.public, context("x25519-identity-binding") + x, binding):
                self.x_public = x
        except (KeyError, ValueError):
            pass

    def sealing_key(self):
        return self.x_public or converted_public(self.public)


def client_handshake(channel, config, timeout=10.0):
    me = config.identity
    got = _receive(channel, timeout)
    _expect(got, "PASSPHRASE_CHALLENGE")
    nonce = bytes.fromhex(got["nonce"])
    server_version = got.get("protocol_version", "")
    mine = client_proof(config.passphrase, nonce)
    proof = {"type": "PASSPHRASE_CHALLENGE", "from": me.id, "proof": mine}
    if config.generation == "ts":
        del proof["from"]
    _emit(config, channel, "proof", proof)
    got = _receive(channel, timeout)
    _expect(got, "PASSPHRASE_VERIFIED")
    if not hmac.compare_digest(got.get("server_proof", ""), server_proof(config.passphrase, nonce)):
        raise HandshakeError("server proof is wrong")
    private = config.ephemeral or os.urandom(32)
    scheme = scheme_for(server_version) if config.modern else "attached"
    _emit(config, channel, "hello", make_hello(config, config.binding or nonce.hex(), private, scheme))
    got = _receive(channel, timeout)
    _expect(got, "HELLO")
    if got.get("channel_binding") != nonce.hex():
        raise HandshakeError("the server HELLO is bound to another channel")
    # A peer below 0.9 knows only the attached form; a newer one goes by the version in this HELLO,
    # except that the server must have answered in the form that it was spoken to.
    if not hello_verifies(got, scheme_for(got.get("protocol_version", "")) if config.modern else "attached"):
        raise HandshakeError("the signature of the server HELLO is wrong")
    if got["from"] != node_id(unb64(got["identity_public"])):
        raise HandshakeError("the server HELLO has a from that is not its key's")
    return Remote(got, session_key(private, unb64(got["ephemeral_public"])))


def server_handshake(channel, config, timeout=10.0):
    me = config.identity
    nonce = config.nonce or os.urandom(32)
    _emit(config, channel, "challenge", {"type": "PASSPHRASE_CHALLENGE", "from": me.id, "nonce": nonce.hex(),
                                         "protocol_version": config.version})
    got = _receive(channel, timeout)
    _expect(got, "PASSPHRASE_CHALLENGE")
    mine = client_proof(config.passphrase, nonce)
    if not hmac.compare_digest(got.get("proof", ""), mine):
        channel.send(json.dumps({"type": "PASSPHRASE_REJECTED", "from": me.id, "error": "Wrong passphrase"}))
        raise HandshakeError("client proof is wrong")
    config.seen_proof = got["proof"]
    _emit(config, channel, "verified", {"type": "PASSPHRASE_VERIFIED", "from": me.id, "status": "verified",
                                        "server_proof": server_proof(config.passphrase, nonce)})
    got = _receive(channel, timeout)
    _expect(got, "HELLO")
    # The received binding is ignored: the own nonce takes its place.
    checked = dict(got, channel_binding=nonce.hex())
    scheme = scheme_for(got.get("protocol_version", "")) if config.modern else "attached"
    if not hello_verifies(checked, scheme):
        channel.send(json.dumps({"type": "ERROR", "error": "HELLO signature verification failed",
                                 "code": "AUTH_FAILED"}))
        raise HandshakeError("the signature of the client HELLO is wrong")
    private = config.ephemeral or os.urandom(32)
    remote = Remote(got, session_key(private, unb64(got["ephemeral_public"])))
    _emit(config, channel, "hello", make_hello(config, config.binding or nonce.hex(), private, scheme))
    return remote


# --- frames -----------------------------------------------------------------------------------------
def lp(data):
    return struct.pack(">I", len(data)) + data


def inner_input(scheme, source, destination, msg_id, payload):
    if scheme == "v1":
        return payload
    return context("frame-inner-source") + b"".join(
        lp(x) for x in (source.encode(), destination.encode(), msg_id.encode(), payload))


class Message:
    def __init__(self, type, payload=b"", msg_id=None, source="", destination="*", timestamp=None,
                 priority="NORMAL", ttl=5, hops=(), source_display=None, routing=None, retries=0, e2e=None,
                 signature=None, scheme=None, sequence=0):
        self.type = type
        self.payload = payload
        self.msg_id = msg_id or str(uuid.uuid4())
        self.source = source
        self.source_display = source if source_display is None else source_display
        self.destination = destination
        self.timestamp = time.time() if timestamp is None else timestamp
        self.priority = priority
        self.sequence = sequence
        self.retries = retries
        self.routing = routing or {}
        self.ttl = ttl
        self.hops = list(hops)
        self.signature = signature   # inner, 64 bytes
        self.scheme = scheme         # "v1", "v2" or None
        self.e2e = e2e               # sealed box

    def sign(self, identity, scheme="v2", tag=True):
        self.signature = identity.sign(
            inner_input(scheme, self.source, self.destination, self.msg_id, self.payload))
        self.scheme = scheme if tag else None
        return self

    def inner_verifies(self, public):
        """By the tag; without one both schemes are tried (relays before 0.9 drop it)."""
        if self.scheme not in (None, "v1", "v2"):
            return False
        for scheme in (self.scheme,) if self.scheme else ("v2", "v1"):
            text = inner_input(scheme, self.source, self.destination, self.msg_id, self.payload)
            if verify(public, text, self.signature):
                return True
        return False

    def body(self, payload=None):
        """The JSON object, keys in the order of emission. `payload` replaces the clear copy."""
        out = collections.OrderedDict(
            type=self.type, payload=b64(self.payload if payload is None else payload), msg_id=self.msg_id,
            source=self.source, source_display=self.source_display, destination=self.destination,
            timestamp=float(self.timestamp), priority=self.priority, sequence=self.sequence,
            retries=self.retries, routing=self.routing, ttl=self.ttl, hops=self.hops)
        if self.signature:
            out["source_signature"] = b64(self.signature)
            if self.scheme:
                out["source_sig_scheme"] = self.scheme
        if self.e2e is not None:
            out["e2e_payload"] = b64(self.e2e)
        return out


def flags_for(priority):
    return ENCRYPTED | SIGNED | {"HIGH": HIGH, "CRITICAL": CRITICAL}.get(priority, 0)


def seal_frame(message, key, identity, clear=None, nonce=None, body=None, version=4, flags=None,
               header_sequence=None, header_time=None, id_hash=None, enc=None, enc_len=None, signature=None,
               magic=MAGIC):
    """One frame. `clear` replaces the clear payload (strict mode: b""); `body` is the whole body text.
    Every argument from `version` on is for deliberate faults."""
    if body is None:
        body = compact(message.body(clear)).encode()
    if enc is None:
        nonce = nonce or os.urandom(24)
        enc = bytes(nacl.secret.SecretBox(key).encrypt(body, nonce))
    flags = flags_for(message.priority) if flags is None else flags
    millis = int(math.floor(message.timestamp * 1000)) if header_time is None else header_time
    header = HEADER.pack(magic, version, flags,
                         message.sequence if header_sequence is None else header_sequence, millis,
                         hashlib.sha256(message.msg_id.encode()).digest()[:8] if id_hash is None else id_hash,
                         len(enc) if enc_len is None else enc_len)
    frame = header + enc
    if flags & SIGNED:
        frame += identity.sign(enc) if signature is None else signature
    return frame


class Drop(Exception):
    """A frame that the old software drops silently; the reason is for the test."""


class Header:
    def __init__(self, data):
        (self.magic, self.version, self.flags, self.sequence, self.time_ms, self.id_hash,
         self.enc_len) = HEADER.unpack(data[:32])


def _depth_fits(value, depth=0):
    if depth > 64:
        return False
    if isinstance(value, dict):
        return all(_depth_fits(v, depth + 1) for v in value.values())
    if isinstance(value, list):
        return all(_depth_fits(v, depth + 1) for v in value)
    return True


def open_frame(data, keys, peer_public):
    """(message, header, index of the key that opened it, body text). Raises Drop."""
    if len(data) < 32 or data[:2] != MAGIC:
        raise Drop("magic")
    h = Header(data)
    if h.version not in (3, 4):
        raise Drop("version")
    if h.enc_len > 1 << 20 or len(data) < 32 + h.enc_len:
        raise Drop("length")
    if not h.flags & ENCRYPTED:
        raise Drop("not-encrypted")
    enc = data[32:32 + h.enc_len]
    if h.flags & SIGNED:
        signature = data[32 + h.enc_len:96 + h.enc_len]
        if len(signature) != 64 or not verify(peer_public, enc, signature):
            raise Drop("outer-signature")
    for index, key in enumerate(keys):
        try:
            text = nacl.secret.SecretBox(key).decrypt(enc)
            break
        except (nacl.exceptions.CryptoError, nacl.exceptions.ValueError, ValueError):
            continue
    else:
        raise Drop("does-not-decrypt")
    try:
        body = json.loads(text)
    except ValueError:
        raise Drop("not-json") from None
    if not isinstance(body, dict) or not _depth_fits(body):
        raise Drop("shape")
    return _message_of(body, h), h, index, text


def _message_of(body, header):
    def text(name, default):
        value = body.get(name, default)
        if not isinstance(value, str):
            raise Drop(name)
        return value

    if not isinstance(body.get("type"), str) or not body["type"]:
        raise Drop("type")
    sequence = body.get("sequence", 0)
    if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 0:
        raise Drop("sequence")
    ttl = body.get("ttl", 3)
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 0 <= ttl <= 255:
        raise Drop("ttl")
    hops = body.get("hops", [])
    if not isinstance(hops, list) or not all(isinstance(h, str) for h in hops):
        raise Drop("hops")
    try:
        timestamp = float(body["timestamp"]) if "timestamp" in body else time.time()
        payload = base64.b64decode(body.get("payload") or "")
        signature = base64.b64decode(body["source_signature"]) if body.get("source_signature") else None
        e2e = base64.b64decode(body["e2e_payload"]) if body.get("e2e_payload") else None
    except (ValueError, TypeError):
        raise Drop("field") from None
    scheme = body.get("source_sig_scheme")
    if scheme is not None and not isinstance(scheme, str):
        raise Drop("source_sig_scheme")
    source = text("source", "unknown")
    # The header's sequence replaces the one of the body.
    return Message(body["type"], payload, text("msg_id", "") or os.urandom(16).hex(), source,
                   text("destination", "*"), timestamp, body.get("priority", "NORMAL"), ttl, hops,
                   text("source_display", source), body.get("routing") or {}, body.get("retries", 0), e2e,
                   signature, scheme, header.sequence)


class Replay:
    """The rules of the newest old receiver: strictly upward, 30 s back, 5 s ahead."""

    def __init__(self):
        self.last = 0

    def refusal(self, sequence, timestamp, now):
        """None and remembered, or the rule that refuses."""
        if now - timestamp > 30.0:
            return "old"
        if timestamp - now > 5.0:
            return "future"
        if sequence <= 0:
            return "zero"
        if sequence > SEQUENCE_MAX:
            return "large"
        if sequence <= self.last:
            return "replay"
        self.last = sequence
        return None


# Control frames to one neighbour whose payload begins with neither type nor from (wire 4.1).
OWN_PAYLOAD = ("ROUTE_ANNOUNCE", "ROUTE_UNREACHABLE", "CAPABILITY_ANNOUNCE")

BODY_KEYS = ["type", "payload", "msg_id", "source", "source_display", "destination", "timestamp", "priority",
             "sequence", "retries", "routing", "ttl", "hops", "source_signature", "source_sig_scheme",
             "e2e_payload"]


def lint_frame(data, message, header, text, sender, sequence, received_at):
    """What a well-made frame of a daemon must be beyond what receivers check. A list of complaints."""
    out = []

    def want(condition, complaint):
        if not condition:
            out.append(complaint)
    body = json.loads(text)
    control = message.type not in USER_TYPES
    want(header.version == 4, "frame version %d" % header.version)
    want(header.flags == flags_for(message.priority), "flags %#x with priority %s" % (header.flags, message.priority))
    want(len(data) == 32 + header.enc_len + 64, "bytes after the signature")
    want(header.sequence == sequence, "sequence %d, expected %d" % (header.sequence, sequence))
    want(body.get("sequence") == header.sequence, "body sequence %r" % body.get("sequence"))
    want(isinstance(body.get("timestamp"), float), "time stamp %r is not a float" % body.get("timestamp"))
    want(header.time_ms == math.floor(message.timestamp * 1000), "header time %d for %r" % (header.time_ms, message.timestamp))
    want(abs(received_at - message.timestamp) < 5, "time stamp is %.1f s off" % (received_at - message.timestamp))
    want(header.id_hash == hashlib.sha256(message.msg_id.encode()).digest()[:8], "id hash")
    want(list(body) == [k for k in BODY_KEYS if k in body], "keys %s" % list(body))
    want(all(k in body for k in BODY_KEYS[:13]), "keys missing: %s" % list(body))
    want(compact(body).encode() == text, "body is not the compact form")
    if message.source != sender.id:
        # Somebody else's: it is as he made it, but for one more hop.
        want(message.hops[-1:] == [sender.id] and message.hops.count(sender.id) == 1, "hops %s" % message.hops)
        return out
    want(message.source == message.source_display, "source %s" % message.source)
    want(message.scheme == "v2" and message.signature and len(message.signature) == 64, "no v2 inner signature")
    want(message.hops == [] and message.retries == 0 and message.routing == {}, "hops, retries or routing")
    far = message.type == "ACK" and message.destination != "*"
    want(message.ttl == (3 if control else 5), "ttl %d" % message.ttl)
    if far:
        want(message.msg_id.startswith("ack-") and message.e2e is None, "receipts that travel: %s" % message.msg_id)
    elif message.type in OWN_PAYLOAD:
        want(message.destination != "*" and message.e2e is None, "%s to %s" % (message.type, message.destination))
        want(len(message.msg_id) == 32, "control msg id %s" % message.msg_id)
        want(isinstance(json.loads(message.payload), dict), "payload of %s" % message.type)
    elif control:
        want(message.destination == "*", "control frame to %s" % message.destination)
        want(message.priority == "NORMAL", "control frame with priority")
        want(len(message.msg_id) == 32, "control msg id %s" % message.msg_id)
        want(message.e2e is None, "control frame is sealed")
        inner = json.loads(message.payload)
        want(list(inner)[:2] == ["type", "from"] and inner["type"] == message.type and inner["from"] == sender.id,
             "control payload %r" % message.payload[:80])
    return out
