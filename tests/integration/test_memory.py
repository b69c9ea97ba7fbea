#!/usr/bin/python3
"""Secrets of running daemons: not in a log at any level, and not longer in memory than they are needed.

The memory of a daemon is read through /proc/PID/mem (its parent may). Where that is not allowed, and in builds with
sanitizers, the memory tests say so and count as passed.
"""
import base64
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402
from nacl import pwhash  # noqa: E402

WORDS = "a-passphrase-for-this-test-alone"
KEY_WORDS = "another-one-for-the-key-file"

lab = Lab("test_memory", __doc__)
alice = lab.daemon("alice", passphrase=WORDS)
bob = lab.daemon("bob", passphrase=WORDS)
BODY = "MARKER-body-" + os.urandom(8).hex()


def mesh_key():
    from hashlib import sha256
    salt = sha256(b"ironmesh-im2/mesh-salt\0default").digest()[:16]
    return pwhash.argon2id.kdf(32, WORDS.encode(), salt, opslimit=3, memlimit=67108864)


def secrets_of(daemon):
    """{what: bytes} of everything in its key file that is secret."""
    with open(os.path.join(daemon.home, "keys.json")) as f:
        keys = json.load(f)
    out = {}

    def walk(o, path):
        for name, value in o.items() if isinstance(o, dict) else ():
            if isinstance(value, dict):
                walk(value, path + name + ".")
            elif isinstance(value, str) and re.search("secret|seed", name) and len(value) > 40:
                raw = bytes.fromhex(value) if re.fullmatch("[0-9a-f]+", value) else base64.b64decode(value)
                out["%s %s%s" % (daemon.name, path, name)] = raw[:32]
    walk(keys, "")
    assert out, "no secret in keys.json?"
    return out


def spellings(raw):
    out = {raw, raw.hex().encode(), raw.hex().upper().encode(), raw.hex(" ").encode(), raw.hex(":").encode()}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        out.add(coded[4:-4])
        out.add(base64.urlsafe_b64encode(b"\0" * shift + raw)[4:-4])
    return out


def in_logs(wanted):
    hits = []
    for d in (alice, bob):
        with open(d.log_path, "rb") as f:
            log = f.read()
        hits += [(d.name, what) for what, raw in wanted.items() for s in spellings(raw) if s in log]
    return sorted(set(hits))


def memory_of(daemon):
    """(name of the region, bytes) of all that it may write; None where reading is not allowed."""
    pid, out = daemon.process.pid, []
    try:
        with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
            for line in maps:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw\S* \S+ \S+ \S+ *(.*)", line)
                if not m or m.group(3) in ("[vvar]", "[vsyscall]"):
                    continue
                start, end = int(m.group(1), 16), int(m.group(2), 16)
                if end - start > 1 << 30:
                    return None  # the shadow of a sanitizer
                try:
                    mem.seek(start)
                    out.append((m.group(3) or "anonymous", mem.read(end - start)))
                except OSError:
                    continue  # guard pages
    except PermissionError:
        return None
    return out


def where_in_memory(daemon, raw):
    memory = memory_of(daemon)
    if memory is None:
        print("  (the memory of %s may not be read here)" % daemon.name)
        return None
    return [name for name, data in memory if raw in data]


def talk():
    assert alice.send(bob.id, BODY, wait_ms=8000)["state"] in ("delivered", "read", "held")
    assert bob.send(alice.id, BODY, wait_ms=8000)["state"] in ("delivered", "read", "held")


def nothing_secret_is_logged_at_any_level():
    alice.start("--trust-on-first-use", "--log-level", "debug")
    bob.start("--trust-on-first-use", "--log-level", "debug", "--peer", alice.address)
    bob.wait_online("alice")
    talk()
    # A handshake that fails, a rekey of a kind (a new connection), a stop: each has lines of its own.
    eve = lab.daemon("eve", passphrase="not-the-passphrase-of-alice")
    eve.start("--trust-on-first-use", "--log-level", "debug", "--peer", alice.address)
    wait_for(lambda: len(eve.log()) > 500, what="a log of eve")
    bob.restart()
    bob.wait_online("alice")
    talk()
    eve.stop()
    bob.stop()
    alice.stop()
    wanted = {"passphrase": WORDS.encode(), "body": BODY.encode(), "mesh key": mesh_key()}
    wanted.update(secrets_of(alice))
    wanted.update(secrets_of(bob))
    assert " debug " in alice.log() and " debug " in bob.log()
    assert not in_logs(wanted), in_logs(wanted)


def the_search_in_memory_finds_what_is_there():
    alice.start("--trust-on-first-use", "--log-level", "info")
    found = where_in_memory(alice, alice.id.encode())
    assert found is None or found, "its own id is not in memory?"


def passphrases_and_keys_stand_in_one_place():
    alice.stop()
    path = os.path.join(lab.folder, "key.pass")
    with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write(KEY_WORDS + "\n")
    for generation in ([], ["--require-im2"]) if getattr(lab, "im2", "on") != "off" else ([],):
        for d in (alice, bob):
            d.start("--trust-on-first-use", "--key-passphrase-file", path, *generation,
                    *(["--peer", alice.address] if d is bob else []))
        bob.wait_online("alice")
        talk()
        # Locked and guarded, and nowhere else: not in a buffer of the file, of JSON or of a handshake.
        if getattr(lab, "im2", "on") != "off":
            wait_for(lambda: all(d.log().rfind("mesh-key-ready") > d.log().rfind(" ready name=") for d in (alice, bob)),
                     what="the mesh keys")
        for d in (alice, bob):
            where = where_in_memory(d, mesh_key())
            assert where is None or len(where) <= 1, "%s: the mesh key stands in %s" % (d.name, where)
            where = where_in_memory(d, WORDS.encode())
            alone = generation or getattr(lab, "im2", "on") == "require"
            assert where is None or len(where) == (0 if alone else 1), "%s: the words stand in %s" % (d.name, where)
            wanted = dict(secrets_of(d))
            wanted["words of the key file"] = KEY_WORDS.encode()
            for what, raw in wanted.items():
                where = where_in_memory(d, raw)
                assert where is None or len(where) <= 1, "%s: %s stands in %s" % (d.name, what, where)
        bob.stop()
        alice.stop()


sys.exit(lab.run(nothing_secret_is_logged_at_any_level, the_search_in_memory_finds_what_is_there,
                 passphrases_and_keys_stand_in_one_place))
