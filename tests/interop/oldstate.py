"""oldstate -- the state folder of the old software and its IMB1 archives (wire 9), written by other code than the program's.

Folder(identity) makes one; vectors() is the one of the published test vectors, byte for byte.
"""
import base64
import functools
import gzip
import hashlib
import hmac
import io
import json
import os
import sqlite3
import tarfile
import time

import nacl.secret
from nacl.pwhash import argon2id

from wire09 import Identity, b64, canonical, context, hkdf

OPS, MEM = 3, 268435456
TABLES = """
CREATE TABLE _meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE messages (msg_id TEXT PRIMARY KEY, source TEXT NOT NULL, source_display TEXT, destination TEXT NOT NULL,
 msg_type TEXT NOT NULL, payload BLOB, timestamp REAL NOT NULL, priority TEXT DEFAULT 'NORMAL', direction TEXT NOT NULL,
 status TEXT DEFAULT 'delivered', retries INTEGER DEFAULT 0);
CREATE TABLE pending_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, peer_node_id TEXT NOT NULL, msg_id TEXT NOT NULL,
 source TEXT NOT NULL, msg_type TEXT NOT NULL, payload BLOB, priority TEXT DEFAULT 'NORMAL', created_at REAL NOT NULL,
 delivered INTEGER DEFAULT 0, delivered_at REAL, retries INTEGER DEFAULT 0, UNIQUE (peer_node_id, msg_id));
CREATE TABLE peers (node_id TEXT PRIMARY KEY, identity_public_b64 TEXT, fingerprint TEXT, first_seen REAL, last_seen REAL,
 last_address TEXT, trusted INTEGER DEFAULT 0, trust_first_seen REAL);
CREATE TABLE pending_trust_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, source_node_id TEXT NOT NULL, msg_id TEXT NOT NULL,
 msg_type TEXT NOT NULL, payload BLOB, priority TEXT DEFAULT 'NORMAL', queued_at REAL NOT NULL, UNIQUE (source_node_id, msg_id));
"""

KEYS_V3 = """{
  "version": 3,
  "format": "master-seed-v1",
  "agent_name": "alice",
  "ed25519_public": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=",
  "hkdf_salt": "AQIDBAUGBwgJCgsMDQ4PEA==",
  "x25519_public": "xtuit1tHAfOfMH8um5StKhvK3zYJNqjMUCwkxpaNyl8=",
  "x25519_binding_signature": "Nux3MlLsjK4/U5SAkfDyFZsm7fRJqzjx9sTPF+rdNAIgozjKoT82QRObA4ZYAG6ctcb2IAHSy3Gy3rrazLIwDg==",
  "ed25519_secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "x25519_seed": "znEI/w7KHO7K02lOKDJhcuPuG8QszmsS8Q3swSjQkKs=",
  "encrypted": false
}
"""
PINS_V2 = {
    "version": 2,
    "ciphertext": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXFpMcQWSaoGD3Zas1ys3PC+wWSOSYnZhWq3PZcWeq+WI1BET5bIjq6uimGDv4R53xQ5xwrL1Z9sf4aZscbSp8"
                  "eQcBPEe44eQ6FKPP0LdoS5Q8my5/1sARoyapkNFLIX0bt6K+GJNvlq8XUlWnP5n1hg+V6KhhDVVmkS7W/P4IIIfNEaWJD8Cdo5ZDvmhY7tOGSoNw"
                  "yC0vfaPkcv+VxesPh1NulXSf63iC0DcfV0kvN/wIYQ2WA3/XHhrW2+TCZsTDc2eh2w2zkgtrwrwRSg0SNoUvd4KcwPBkN0yojtCZZddWiJBvzY6U"
                  "N/NJtyPpRimqNAqG0Yg7JdX5rVxe9R9LlUU=",
    "_mac": "aebb4f94de0c6be167fc2322fdc995c96d8d67b5e56157c515745cef864ddc21",
}
AUDIT = """{"details":{"name":"alice","node_id":"139e3940e64b5491722088d9a0d74162","port":8765},"event":"STARTUP","hmac":"079cb11bb983b3c437ee10da377b4c432f1c0a60e569690b5c1b76d536007738","timestamp":1753500000.25}
{"details":{"peer_id":"28fff9342c7030d3d899cc9e7bc11878","trust_state":"trusted"},"event":"TOFU_NEW_PEER","hmac":"29e17731ee72369afe8c1f4589be91d5b8de4490ec2458fb1e7de2e9e91166b4","timestamp":1753500001.0}
"""
BLOB = bytes.fromhex("494d53544f5245763200000102030405060708090a0b0c0d0e0f1011121314151617b1efb74bc6c12a7d5c23968b7264030248922"
                     "98e39c445498a9b")
LEGACY = bytes.fromhex("000102030405060708090a0b0c0d0e0f1011121314151617e9f8f01c2c2a4323f52f30c27a9b9e511cae561d9cb164ff390c")
VECTOR_PASS = "testpassphrase1234"
VECTOR_ID = "139e3940e64b5491722088d9a0d74162"
VECTOR_BOB = "28fff9342c7030d3d899cc9e7bc11878"


def write(path, data):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)


@functools.lru_cache(maxsize=None)  # half a second each
def stretch(passphrase, salt):
    return argon2id.kdf(32, passphrase.encode(), salt, opslimit=OPS, memlimit=MEM)


def derived(seed, label):
    return hashlib.sha256(seed + label.encode()).digest()


class Folder:
    def __init__(self, path, identity=None, name="alice", mesh="", hkdf_salt=None):
        self.path = path
        self.salt = hkdf_salt or os.urandom(16)
        self.identity = identity or Identity(hkdf_salt=self.salt)
        self.name, self.mesh = name, mesh
        os.makedirs(path, mode=0o700, exist_ok=True)

    def file(self, name):
        return os.path.join(self.path, name)

    # keys.json
    def keys(self, passphrase=None, version=3):
        me = self.identity
        out = {"agent_name": self.name, "ed25519_public": b64(me.public), "encrypted": passphrase is not None}
        if version > 1:
            out["version"] = version
        secrets = {"ed25519_secret": me.seed}
        if version == 3:
            out.update(format="master-seed-v1", hkdf_salt=b64(self.salt), x25519_public=b64(me.x_public),
                       x25519_binding_signature=b64(me.binding))
            secrets["x25519_seed"] = me.x_secret
        if passphrase is None:
            out.update({k: b64(v) for k, v in secrets.items()})
        else:
            salt = b"salt of keyfiles"
            box = nacl.secret.SecretBox(stretch(passphrase, salt))
            out["salt"] = b64(salt)
            out.update({k + "_encrypted": b64(bytes(box.encrypt(v))) for k, v in secrets.items()})
        write(self.file("keys.json"), json.dumps(out, indent=2))

    # known_peers.json
    @staticmethod
    def record(identity, state="trusted", **more):
        now = time.time()
        return dict({"pubkey": b64(identity.public), "fingerprint": identity.id, "first_seen": now - 1000.5, "last_seen": now,
                     "trust_state": state}, **more)

    def pins(self, records, revoked=None, form=2):
        """form: 2, 1, "folder" (a MAC bound to a folder) or "none" (the oldest)."""
        seed = self.identity.seed
        inner = {"peers": {r["fingerprint"]: r for r in records}, "revoked": revoked or {}}
        if form == 2:
            box = nacl.secret.SecretBox(derived(seed, "ironmesh-trust-store-encryption-v1"))
            text = b64(bytes(box.encrypt(canonical(inner))))
            mac = hmac.new(derived(seed, "ironmesh-trust-store-v1"), b"v=2|c=" + text.encode(), hashlib.sha256).hexdigest()
            out = {"version": 2, "ciphertext": text, "_mac": mac}
        elif form == 1:
            body = dict(inner, version=1)
            out = dict(body, _mac=hmac.new(derived(seed, "ironmesh-trust-store-v1"), canonical(body), hashlib.sha256).hexdigest())
        elif form == "folder":
            key = hashlib.sha256(b"ironmesh-trust-store-v1:/home/alice").digest()
            out = dict(inner, _mac=hmac.new(key, canonical(inner), hashlib.sha256).hexdigest())
        else:
            out = inner
        write(self.file("known_peers.json"), json.dumps(out))

    # audit.log
    def audit(self, events):
        key, last, lines = derived(self.identity.seed, "ironmesh-audit-v1"), "0" * 64, []
        for at, (event, details) in enumerate(events):
            entry = {"details": details, "event": event, "timestamp": 1753500000.25 + at}
            last = hmac.new(key, last.encode() + canonical(entry), hashlib.sha256).hexdigest()
            lines.append(canonical(dict(entry, hmac=last)).decode())
        write(self.file("audit.log"), "".join(line + "\n" for line in lines))
        return last

    # data.db
    def database(self):
        self.storage_salt = os.urandom(16)
        db = sqlite3.connect(self.file("data.db"))
        db.executescript("PRAGMA journal_mode = WAL;" + TABLES)
        db.executemany("INSERT INTO _meta VALUES (?, ?)", [("schema_version", "3"), ("storage_salt", b64(self.storage_salt)),
                                                          ("storage_format", "aead-v2")])
        db.commit()
        self.storage = nacl.secret.SecretBox(hkdf(stretch(self.mesh, self.storage_salt), self.storage_salt,
                                                  b"ironmesh-storage-key-v2\0", 32))
        self.legacy = nacl.secret.SecretBox(hashlib.sha256(self.mesh.encode() + b"ironmesh-storage-v1").digest())
        return db

    def sealed(self, body):
        return b"IMSTOREv2\0" + bytes(self.storage.encrypt(body))

    def sealed_old(self, body):
        return bytes(self.legacy.encrypt(body))

    def caches(self):
        for name, body in (("routes.json", {"my_node_id": self.identity.id, "routes": {}, "ttl": 90.0}),
                           ("capabilities.json", {"local": ["llm:llama3"], "my_node_id": self.identity.id, "remote": {}})):
            text = canonical(body).decode()
            key = derived(self.identity.seed, "ironmesh-%s-v1" % name.split(".")[0])
            write(self.file(name), json.dumps({"hmac": hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), "body": text}))

    def ledger(self, spent):
        write(self.file("invite_ledger.json"), json.dumps({"version": 1, "spent": spent}))


def imb1(path, passphrase, members, salt=None, kind=tarfile.REGTYPE):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    salt = salt or b"salt of archives"
    blob = bytes(nacl.secret.SecretBox(stretch(passphrase, salt)).encrypt(gzip.compress(out.getvalue())))
    write(path, b"IMB1\x01" + salt + blob)


def vectors(path):
    """The folder of wire 11.9: seed of zeroes, passphrase of the vectors."""
    os.makedirs(path, mode=0o700)
    write(os.path.join(path, "keys.json"), KEYS_V3)
    write(os.path.join(path, "known_peers.json"), json.dumps(PINS_V2))
    write(os.path.join(path, "audit.log"), AUDIT)
    db = sqlite3.connect(os.path.join(path, "data.db"))
    db.executescript(TABLES)
    db.execute("INSERT INTO _meta VALUES ('storage_salt', ?)", (base64.b64encode(bytes(range(16))).decode(),))
    for i, blob in enumerate((BLOB, LEGACY, b"in clear")):
        db.execute("INSERT INTO messages (msg_id, source, destination, msg_type, payload, timestamp, direction) VALUES (?,?,?,?,?,?,?)",
                   ("vector-%d" % i, VECTOR_BOB, VECTOR_ID, "MSG", blob, 1753500000.25 + i, "inbound"))
    db.commit()
    db.close()
    return path
