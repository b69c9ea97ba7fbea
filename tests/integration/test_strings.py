#!/usr/bin/python3
"""Plaintext on disk: what was said, and the passphrase, stand in no file of a home folder, nor in a log.

Looked for in every file of both homes and both logs while running, after kill -9 and after a clean stop: as they
are, in base64 of every alignment, in hex and in UTF-16. Also: modes of files and folders.
"""
import base64
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import PASSPHRASE, Lab, wait_for  # noqa: E402

lab = Lab("test_strings", __doc__)
alice = lab.daemon("alice", clear_keys=False)  # as users have it: the key file is encrypted
bob = lab.daemon("bob")

SAID = {
    "sent and delivered": "MARKER-sent-" + os.urandom(8).hex(),
    "received": "MARKER-received-" + os.urandom(8).hex(),
    "queued": "MARKER-queued-" + os.urandom(8).hex(),
    "held": "MARKER-held-" + os.urandom(8).hex(),
    "cancelled": "MARKER-cancelled-" + os.urandom(8).hex(),
    "taken": "MARKER-taken-" + os.urandom(8).hex(),
    "large": "MARKER-large-" + os.urandom(8).hex(),
}
SECRETS = dict(SAID, passphrase=PASSPHRASE)


def spellings(text):
    raw = text.encode()
    out = {raw, raw.hex().encode(), raw.hex().upper().encode(), text.encode("utf-16-le")}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        # The first and last group depend on the neighbours.
        out.add(coded[4:-4])
        out.add(base64.urlsafe_b64encode(b"\0" * shift + raw)[4:-4])
    return out


def files_of(daemon):
    for folder, _, names in os.walk(daemon.home):
        for name in names:
            yield os.path.join(folder, name)
    yield daemon.log_path


def found():
    """(file, what) for every secret in every file."""
    out = []
    for daemon in (alice, bob):
        for path in files_of(daemon):
            try:
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    continue
                with open(path, "rb") as f:
                    data = f.read()
            except FileNotFoundError:
                continue  # gone since the folder was read
            for what, text in SECRETS.items():
                if any(s in data for s in spellings(text)):
                    out.append((os.path.relpath(path, lab.folder), what))
    return out


def the_search_finds_what_is_there():
    """A search that finds nothing proves nothing, until it has found something."""
    path = os.path.join(alice.home, "probe")
    try:
        for spelling in spellings(SAID["received"]):
            with open(path, "wb") as f:
                f.write(b"\xff" * 1000 + spelling + b"\0" * 10)
            assert found() == [(os.path.join("alice", "probe"), "received")], spelling
        with open(path, "wb") as f:
            f.write(base64.b64encode(b"ab" + PASSPHRASE.encode() + b"\nmore"))
        assert found() == [(os.path.join("alice", "probe"), "passphrase")]
    finally:
        os.unlink(path)


def everything_is_said():
    alice.start("--trust-on-first-use", "--log-level", "debug")
    bob.start("--peer", alice.address, "--log-level", "debug")
    bob.wait_online("alice")
    alice.wait_online("bob")
    # bob has not approved alice: this one is held there.
    alice.send(bob.id, SAID["held"])
    wait_for(lambda: bob.status()["inbox"]["held"] == 1, what="a held message")
    assert not found(), found()
    bob.call("peers.approve", peer=alice.id)
    for what in ("sent and delivered", "taken"):
        assert alice.send(bob.id, SAID[what], wait_ms=8000)["state"] in ("delivered", "read")
    assert bob.send(alice.id, SAID["received"], wait_ms=8000)["state"] in ("delivered", "read")
    assert bob.send(alice.id, SAID["large"] * 8000, wait_ms=8000)["state"] in ("delivered", "read")
    bob.call("inbox.take", limit=10)
    # What waits and what was withdrawn lies on the disk of the sender.
    bob.stop()
    alice.wait_offline(bob.id)
    assert alice.send(bob.id, SAID["queued"])["state"] == "queued"
    alice.call("outbox.cancel", msg_id=alice.send(bob.id, SAID["cancelled"])["msg_id"])
    bob.start()
    wait_for(lambda: any(SAID["queued"] == m.get("body") for m in bob.inbox()), what="the queued message")


def nothing_stands_on_disk_while_running():
    assert not found(), found()


def nothing_stands_on_disk_of_a_queue():
    bob.stop()
    alice.wait_offline(bob.id)
    for _ in range(20):
        alice.send(bob.id, SAID["queued"])
    assert not found(), found()
    alice.kill9()
    assert not found(), found()
    alice.start()
    bob.start()
    alice.wait_online(bob.id)


def nothing_stands_on_disk_after_kill():
    alice.kill9()
    bob.kill9()
    assert not found(), found()


def nothing_stands_on_disk_after_a_clean_stop():
    alice.start()
    bob.start()
    bob.wait_online("alice")
    assert any(SAID["received"] == m.get("body") for m in alice.inbox()), "it must still be readable"
    assert alice.stop() == 0 and bob.stop() == 0
    assert not found(), found()


def nothing_stands_on_the_command_line():
    alice.start()
    bob.start()
    for d in (alice, bob):
        for name in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (d.process.pid, name), "rb") as f:
                data = f.read()
            assert PASSPHRASE.encode() not in data, name


def files_are_ours_alone():
    for d in (alice, bob):
        assert stat.S_IMODE(os.stat(d.home).st_mode) == 0o700, oct(os.stat(d.home).st_mode)
        seen = set()
        for folder, folders, names in os.walk(d.home):
            for name in folders:
                assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o700, name
            for name in names:
                path = os.path.join(folder, name)
                mode = os.lstat(path).st_mode
                seen.add(name)
                assert stat.S_IMODE(mode) & 0o077 == 0, "%s is %s" % (path, oct(mode))
                if not stat.S_ISSOCK(mode):
                    assert stat.S_IMODE(mode) == 0o600, "%s is %s" % (path, oct(mode))
        assert {"keys.json", "known_peers.json", "control.sock"} <= seen, seen


def a_wide_umask_changes_nothing():
    for d in (alice, bob):
        d.stop()
    before = os.umask(0)
    try:
        carol = lab.daemon("carol")
        carol.start("--trust-on-first-use", "--peer", alice.address)
        alice.start()
        bob.start()
    finally:
        os.umask(before)
    carol.wait_online("alice")
    for name in os.listdir(carol.home):
        mode = os.lstat(os.path.join(carol.home, name)).st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0, "%s is %s" % (name, oct(mode))


def a_key_file_that_others_can_read_is_refused():
    alice.stop()
    keys = os.path.join(alice.home, "keys.json")
    os.chmod(keys, 0o644)
    code = alice.start_refused(*alice.options)
    assert code != 0, "it started on a key file of mode 0644"
    assert "keys.json" in alice.log_tail(5), alice.log_tail(5)
    os.chmod(keys, 0o600)
    alice.start()


def the_key_file_is_encrypted():
    with open(os.path.join(alice.home, "keys.json")) as f:
        text = f.read()
    assert '"encrypted": true' in text.replace('":true', '": true') and "ed25519_secret_encrypted" in text
    assert '"ed25519_secret"' not in text and '"x25519_seed"' not in text


sys.exit(lab.run(the_search_finds_what_is_there, everything_is_said, nothing_stands_on_disk_while_running,
                 nothing_stands_on_disk_of_a_queue, nothing_stands_on_disk_after_kill,
                 nothing_stands_on_disk_after_a_clean_stop, nothing_stands_on_the_command_line, files_are_ours_alone,
                 a_wide_umask_changes_nothing, a_key_file_that_others_can_read_is_refused, the_key_file_is_encrypted))
