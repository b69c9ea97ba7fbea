"""wireim2 -- im2 written a second time, from the specification alone, as far as a hostile peer needs it.

First contact (CPace and Noise XXpsk0, 5.3), known peer (Noise IKpsk2, 5.4), frames (7.1), items (3.3, 8). Nothing
is checked that a well-behaved peer would not get wrong; everything may be sent. libsodium is called through
ctypes: ristretto255 and Argon2id are in no Python package of the distribution.
"""
import ctypes
import ctypes.util
import hashlib
import hmac
import os
import struct

import nacl.bindings

_sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
_sodium.sodium_init()

FRAME, X1, X2, X3, X4, I1, I2, ERR, S1 = 0x50, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59
MSG, SMSG, RECEIPT, XOPEN, FRAG, XACK, XABORT, PING, PONG = 3, 5, 7, 11, 13, 15, 17, 28, 30
CLOSE, INFO, ITEMERR, SETTLED, SEEN, RECREQ = 49, 50, 72, 74, 78, 26


# --- encoding (3) -----------------------------------------------------------------------------------
def varint(n):
    out = bytearray()
    while True:
        out.append(n & 127 | (0x80 if n > 127 else 0))
        n >>= 7
        if not n:
            return bytes(out)


def lv(x):
    return varint(len(x)) + x


def field(tag, value):
    return varint(tag) + lv(varint(value) if isinstance(value, int) else value)


def structure(*fields):
    """(tag, value) pairs in the order in which they are to be written; an int becomes a varint."""
    return b"".join(field(tag, value) for tag, value in fields)


def take_varint(b, at):
    n = shift = 0
    while True:
        n |= (b[at] & 127) << shift
        at += 1
        shift += 7
        if b[at - 1] < 128:
            return n, at


def parse(b):
    """[(tag, value)] of a structure or an item list."""
    out, at = [], 0
    while at < len(b) and b[at]:
        tag, at = take_varint(b, at)
        n, at = take_varint(b, at)
        out.append((tag, b[at:at + n]))
        at += n
    return out


# --- primitives (2.1) ----------------------------------------------------------------------------------
def sha256(x):
    return hashlib.sha256(x).digest()


def mac(key, x):
    return hmac.new(key, x, hashlib.sha256).digest()


def expand(prk, info, n):
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = mac(prk, block + info + bytes([i]))
        out += block
        i += 1
    return out[:n]


def hkdf(salt, ikm, info, n):
    return expand(mac(salt or bytes(32), ikm), info, n)


def _nonce(n):
    return bytes(4) + struct.pack("<Q", n)


def seal(key, n, ad, plain):
    return nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, ad, _nonce(n), key)


def open_(key, n, ad, sealed):
    return nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, ad, _nonce(n), key)


def dh(a, b):
    return nacl.bindings.crypto_scalarmult(a, b)


def _call(name, size, *args):
    out = ctypes.create_string_buffer(size)
    if getattr(_sodium, name)(out, *args) != 0:
        raise ValueError(name)
    return out.raw


def mesh_key(passphrase, mesh="default"):
    salt = sha256(b"ironmesh-im2/mesh-salt\0" + mesh.encode())[:16]
    text = passphrase.encode()
    return _call("crypto_pwhash", 32, ctypes.c_ulonglong(32), text, ctypes.c_ulonglong(len(text)), salt,
                 ctypes.c_ulonglong(3), ctypes.c_size_t(67108864), ctypes.c_int(2))


# --- Noise (5.2) ------------------------------------------------------------------------------------------
class Noise:
    def __init__(self, name, prologue, s):
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name)
        self.ck, self.k, self.n = self.h, None, 0
        self.s = s
        self.e = os.urandom(32)
        self.mix_hash(prologue)

    def mix_hash(self, x):
        self.h = sha256(self.h + x)

    def hk(self, x, n):
        t, out, last = mac(self.ck, x), [], b""
        for i in range(n):
            last = mac(t, last + bytes([i + 1]))
            out.append(last)
        return out

    def mix_key(self, x):
        self.ck, self.k = self.hk(x, 2)
        self.n = 0

    def mix_psk(self, psk):
        self.ck, h, self.k = self.hk(psk, 3)
        self.mix_hash(h)
        self.n = 0

    def enc(self, plain):
        out = plain
        if self.k:
            out = seal(self.k, self.n, self.h, plain)
            self.n += 1
        self.mix_hash(out)
        return out

    def dec(self, sealed):
        out = sealed
        if self.k:
            out = open_(self.k, self.n, self.h, sealed)
            self.n += 1
        self.mix_hash(sealed)
        return out

    def put_e(self):
        public = nacl.bindings.crypto_scalarmult_base(self.e)
        self.mix_hash(public)
        self.mix_key(public)
        return public

    def take_e(self, public):
        self.mix_hash(public)
        self.mix_key(public)

    def split(self):
        return self.hk(b"", 2)


def context(mode, transport=1, chan=b"/"):
    return b"ironmesh-im2\0" + bytes([mode, transport]) + lv(chan) + lv(b"")


def cpace_generator(prs, ci, sid):
    pad = max(0, 127 - len(lv(prs)) - 18)
    gs = lv(b"CPaceRistretto255") + lv(prs) + lv(bytes(pad)) + lv(ci) + lv(sid)
    return _call("crypto_core_ristretto255_from_hash", 32, hashlib.sha512(gs).digest())


class Session:
    """Keys and counters of one session with a daemon, as the dialler."""

    def __init__(self, peer, noise, initiator, my_index, their_index):
        i2r, r2i = noise.split()
        self.send_key, self.receive_key = (i2r, r2i) if initiator else (r2i, i2r)
        self.exporter = mac(noise.ck, b"ironmesh-im2/exporter\0" + noise.h)
        self.peer, self.index, self.their_index = peer, my_index, their_index
        self.counter = 0

    @property
    def pair_psk(self):
        return expand(self.exporter, b"ironmesh-im2/exp\0" + lv(b"pair-psk") + lv(b""), 32)

    def frame(self, plain, counter=None, index=None, key=None):
        """A frame unit. Without `counter` the next one is used up."""
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        head = bytes([FRAME]) + (index or self.their_index) + struct.pack(">I", counter)
        return head + seal(key or self.send_key, counter, head, plain)

    def open(self, unit):
        assert unit[0] == FRAME and unit[1:5] == self.index, unit[:9]
        return parse(open_(self.receive_key, struct.unpack(">I", unit[5:9])[0], unit[:9], unit[9:]))


class Peer:
    """An identity of peer09 that speaks im2. It dials over `channel` (send(unit), recv(timeout))."""

    def __init__(self, identity, name="wire"):
        self.identity, self.name = identity, name
        self.ed = identity.public
        self.xs, self.x = identity.x_secret, identity.x_public
        self.binding = identity.binding
        self.pair_psk = None

    def _hello(self, *more):
        """HS of X3; `more` replaces or adds fields by tag."""
        self.index = os.urandom(4)
        fields = {1: self.ed, 2: self.name.encode(), 3: self.binding, 5: self.index}
        fields.update(dict(more))
        return structure(*sorted((t, v) for t, v in fields.items() if v is not None))

    def first_contact(self, channel, key, s1=None, hello=()):
        """XXpsk0 in mode 1 with the mesh key. The Session, and self.their_ed."""
        s1 = s1 if s1 is not None else channel.recv(5)
        raw = s1.encode() if isinstance(s1, str) else s1
        nonce_s = raw[2:] if raw[0] == S1 else self._nonce_of(raw)
        nonce_c, ci = os.urandom(16), context(1)
        sid = nonce_s + nonce_c
        g = cpace_generator(key, ci, sid)
        ya = self._scalar()
        share = _call("crypto_scalarmult_ristretto255", 32, ya, g)
        x1 = bytes([X1, 1]) + nonce_c + share
        channel.send(x1)
        x2 = channel.recv(5)
        if not isinstance(x2, bytes) or x2[0] != X2:
            raise ConnectionError("no X2 but %r" % (x2,))
        yb = x2[1:33]
        k = _call("crypto_scalarmult_ristretto255", 32, ya, yb)
        isk = hashlib.sha512(lv(b"CPaceRistretto255_ISK") + lv(sid) + lv(k) + lv(share) + lv(x1[:18]) + lv(yb) +
                             lv(b"\x53")).digest()
        psk = hkdf(sid, isk, b"ironmesh-im2/xx-psk\0", 32)
        n = Noise(b"Noise_XXpsk0_25519_ChaChaPoly_SHA256", ci + sha256(raw) + sha256(x1) + lv(yb), self.xs)
        n.mix_psk(psk)
        re = x2[33:65]
        n.take_e(re)
        n.dec(x2[65:])
        x3 = bytes([X3]) + n.put_e()
        n.mix_key(dh(n.e, re))                       # ee
        x3 += n.enc(self.x)                          # s
        n.mix_key(dh(self.xs, re))                   # es: the listener is the initiator
        x3 += n.enc(self._hello(*hello))
        channel.send(x3)
        x4 = channel.recv(5)
        if not isinstance(x4, bytes) or x4[0] != X4:
            raise ConnectionError("no X4 but %r" % (x4,))
        self.their_x = n.dec(x4[1:49])
        n.mix_key(dh(n.e, self.their_x))             # se
        theirs = dict(parse(n.dec(x4[49:])))
        self.their_ed = theirs[1]
        session = Session(self, n, False, self.index, theirs[5])
        self.pair_psk = session.pair_psk
        return session

    def known(self, channel, s1=None, psk_id=None, payload=None):
        """IKpsk2 with what first_contact() left."""
        s1 = s1 if s1 is not None else channel.recv(5)
        raw = s1.encode() if isinstance(s1, str) else s1
        n = Noise(b"Noise_IKpsk2_25519_ChaChaPoly_SHA256", context(4) + sha256(raw) + b"\0", self.xs)
        n.mix_hash(self.their_x)
        self.index = os.urandom(4)
        if psk_id is None:
            psk_id = sha256(b"ironmesh-im2/psk-id\0" + self.pair_psk)[:4]
        i1 = bytes([I1]) + n.put_e()
        n.mix_key(dh(n.e, self.their_x))             # es
        i1 += n.enc(self.x)
        n.mix_key(dh(self.xs, self.their_x))         # ss
        i1 += n.enc(payload if payload is not None else structure((7, self.index + psk_id)))
        channel.send(i1)
        i2 = channel.recv(5)
        if not isinstance(i2, bytes) or i2[0] != I2:
            raise ConnectionError("no I2 but %r" % (i2,))
        assert i2[1:5] == self.index
        re = i2[5:37]
        n.take_e(re)
        n.mix_key(dh(n.e, re))                       # ee
        n.mix_key(dh(self.xs, re))                   # se
        n.mix_psk(hkdf(self.pair_psk, self.ed + self.their_ed, b"ironmesh-im2/ik-psk\0", 32))
        theirs = dict(parse(n.dec(i2[37:])))
        return Session(self, n, True, self.index, theirs[5])

    @staticmethod
    def _nonce_of(raw):
        import json
        return bytes.fromhex(json.loads(raw)["nonce"])

    @staticmethod
    def _scalar():
        out = ctypes.create_string_buffer(32)
        _sodium.crypto_core_ristretto255_scalar_random(out)
        return out.raw


# --- content (9, 10) ------------------------------------------------------------------------------------------
def message(seq, body, era=b"eraeraer", created=1, **more):
    """A message structure, unsigned and direct; `more`: fields by name."""
    names = {"conv": 8, "reply_to": 10, "kind": 11, "ttl": 17, "prio": 18, "flags": 19, "turn": 20}
    fields = {1: era + struct.pack(">Q", seq), 15: created, 33: body}
    fields.update({names[n]: v for n, v in more.items()})
    return structure(*sorted(fields.items()))


def receipts(items):
    """[(status, id)] of every RECEIPT in an item list."""
    out = []
    for tag, value in items:
        if tag == RECEIPT:
            at, entries = 0, dict(parse(value))[1]
            while at < len(entries):
                n, at = take_varint(entries, at)
                out.append((entries[at], entries[at + 1:at + 17], entries[at + 17:at + n]))
                at += n
    return out
