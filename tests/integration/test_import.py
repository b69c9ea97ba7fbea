#!/usr/bin/python3
"""`ironmesh import`: state folders and IMB1 archives of the old software, made by other code from the published vectors. The
node keeps its identity, its peers see no new key, and what did not come over is said."""
import hashlib
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))
import oldstate  # noqa: E402
from ironlab import PASSPHRASE, Lab, body_of, wait_for  # noqa: E402
from oldstate import Folder  # noqa: E402
from peer09 import Identity, OldPeer  # noqa: E402

lab = Lab("test_import", __doc__)
KEY_PASS, ARCHIVE_PASS = "the passphrase of the key", "the passphrase of the archive"


def path(name):
    return os.path.join(lab.folder, name)


def secret(name, text):
    oldstate.write(path(name), text + "\n")
    return path(name)


key_file, archive_file = secret("key.pass", KEY_PASS), secret("archive.pass", ARCHIVE_PASS)
mesh_file, vector_file = secret("mesh.pass", PASSPHRASE), secret("vector.pass", oldstate.VECTOR_PASS)


def order(source, home, *more, check=True):
    done = subprocess.run([lab.binary, "--json", "import", source, "--home", home, *more], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    answer["exit"], answer["stderr"] = done.returncode, done.stderr.decode(errors="replace")
    assert not check or done.returncode == 0, done
    return answer


def came(report):
    return {x["what"]: x["count"] for x in report["came"]}


def left(report):
    return {x["what"]: x["why"] for x in report["left"]}


def digest(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            out[name] = hashlib.sha256(f.read()).hexdigest()
    return out


def the_folder_of_the_vectors():
    source = oldstate.vectors(path("vectors"))
    before = digest(source)
    dry = order(source, path("dry"), "--dry-run", "--mesh-passphrase-file", vector_file)
    assert dry["dry_run"] and dry["id"] == oldstate.VECTOR_ID and not os.path.exists(path("dry")), dry
    report = order(source, path("vector-home"), "--mesh-passphrase-file", vector_file)
    assert digest(source) == before, "the source was changed"
    assert came(report) == came(dry)
    assert came(report) == {"identity": 1, "trusted peers": 1, "messages of the history": 3, "audit log": 1}, report["came"]
    assert not [n for n in os.listdir(path("vector-home")) if n.startswith(".")], "a copy of the old database is left in the new home"
    node = lab.daemon("alice", home="vector-home")
    node.start("--walls", "on")
    assert node.id == oldstate.VECTOR_ID
    bodies = [body_of(m) for m in node.inbox()]
    assert bodies == [b"hello mesh", b"hello mesh", b"in clear"], bodies
    assert all(m["state"] == "read" for m in node.inbox())
    assert node.peer(oldstate.VECTOR_BOB)["state"] == "trusted"
    events = node.audit()
    assert events[0]["event"] == "IMPORTED" and events[0]["details"]["previous_entries"] == "2", events[0]
    assert events[0]["details"]["previous_tail_hmac"] == "29e17731ee72369afe8c1f4589be91d5b8de4490ec2458fb1e7de2e9e91166b4"
    assert node.call("audit.verify")["ok"]
    made = subprocess.run([lab.binary, "--json", "backup", path("v.backup"), "--home", node.home, "--passphrase-file", key_file],
                          stdout=subprocess.PIPE, check=True)
    assert json.loads(made.stdout)["left_out_n"] == 0
    node.stop()


def peers_still_recognise_us():
    """An old daemon is met by an old peer and by one of ours, which pin it; then it is imported, and nobody sees a new key."""
    old = Folder(path("old"), name="alice", mesh=PASSPHRASE)
    old_bob = OldPeer(identity=Identity(), name="old-bob", passphrase=PASSPHRASE)
    lab.on_close(old_bob.close)
    carol = lab.daemon("carol")
    carol.start("--trust-on-first-use")
    # The old daemon itself, as carol knows it.
    before = OldPeer(identity=old.identity, name="alice", passphrase=PASSPHRASE)
    if lab.im2 != "require":
        before.dial("127.0.0.1", carol.port)
        wait_for(lambda: (carol.peer(old.identity.id) or {}).get("online"), what="the old alice at carol")
    before.close()
    carol_public = carol.call("keys.show")["public_key"]
    carol_id = carol.id

    class Carol:
        public, id = __import__("base64").b64decode(carol_public), carol_id
    old.keys(KEY_PASS)
    old.pins([old.record(old_bob.config.identity, capability_hash="a170451d752ba21588fc5bd1449a357d8f9d3b1a4566b3616c943afe360684e5",
                         capability_set=["chat", "embed"]), old.record(Carol)],
             revoked={Identity().id: {"revoker": old.identity.id, "timestamp": 1753500000, "reason": "stolen"}})
    tail = old.audit([("STARTUP", {"name": "alice"}), ("TOFU_NEW_PEER", {"peer_id": carol_id})])
    db = old.database()
    now = time.time()
    stranger = Identity()
    rows = [(carol_id, "waits-1", old.sealed(b"it waited in the old outbox")), (carol_id, "waits-2", old.sealed_old(b"sealed the older way"))]
    db.executemany("INSERT INTO pending_messages (peer_node_id, msg_id, source, msg_type, payload, created_at) VALUES (?,?,?,?,?,?)",
                   [(p, i, old.identity.id, "MSG", b, now) for p, i, b in rows])
    db.execute("INSERT INTO pending_messages (peer_node_id, msg_id, source, msg_type, payload, created_at, delivered) VALUES (?,?,?,?,?,?,1)",
               (carol_id, "gone", old.identity.id, "MSG", old.sealed(b"was delivered"), now))
    db.execute("INSERT INTO pending_trust_messages (source_node_id, msg_id, msg_type, payload, queued_at) VALUES (?,?,?,?,?)",
               (stranger.id, "held-1", "MSG", old.sealed(b"from a stranger"), now))
    for i, (source, direction) in enumerate([(carol_id, "inbound"), (old.identity.id, "outbound"), ("*", "inbound")]):
        db.execute("INSERT INTO messages (msg_id, source, destination, msg_type, payload, timestamp, priority, direction) VALUES (?,?,?,?,?,?,?,?)",
                   ("history-%d" % i, source, carol_id if direction == "outbound" else old.identity.id, "MSG", old.sealed(b"said %d" % i), now + i, "HIGH",
                    direction))
    db.commit()
    old.caches()
    old.ledger({"00112233445566778899aabbccddeeff": {"spent_at": now - 10, "expires_at": now + 800},
                "ff112233445566778899aabbccddeeff": {"spent_at": now - 90000, "expires_at": now - 89000}})
    oldstate.write(old.file("rns_identity"), os.urandom(64))
    oldstate.write(old.file("notes.txt"), "mine")
    refused = order(old.path, path("imported"), check=False)
    assert refused["exit"] == 8 or "passphrase" in refused["stderr"], refused
    assert not os.path.exists(path("imported"))
    report = order(old.path, path("imported"), "--passphrase-file", key_file, "--mesh-passphrase-file", mesh_file)
    db.close()
    assert came(report) == {"identity": 1, "trusted peers": 2, "revoked identities": 1, "spent invites": 1,
                            "messages that wait to be sent": 2, "messages held for an operator": 1, "messages of the history": 2,
                            "audit log": 1}, report["came"]
    assert set(left(report)) == {"routes.json", "capabilities.json", "rns_identity", "notes.txt", "messages", "spent invites"}, report["left"]
    assert not report["warnings"], report["warnings"]
    alice = lab.daemon("alice", home="imported")
    alice.start("--peer", carol.address, "--key-passphrase-file", key_file)
    assert alice.id == old.identity.id
    alice.wait_online(carol_id)
    carol.wait_online(old.identity.id)
    assert carol.peer(old.identity.id)["state"] == "trusted" and not carol.status()["alarms"], carol.status()["alarms"]
    carol.take_body(b"it waited in the old outbox")
    carol.take_body(b"sealed the older way")
    assert not any(body_of(m) == b"was delivered" for m in carol.inbox())
    assert alice.send(carol_id, "a new word", wait_ms=8000)["state"] in ("delivered", "sent")
    if lab.im2 != "require":
        session = old_bob.dial("127.0.0.1", alice.port)
        assert session.remote.id == old.identity.id and session.remote.public == old.identity.public
        wait_for(lambda: (alice.peer(old_bob.id) or {}).get("online"), what="old-bob at alice")
        assert alice.peer(old_bob.id)["state"] == "trusted", "the imported pin counts"
        session.send(payload=b"do you know me?")
        alice.take_body(b"do you know me?")
        alice.send(old_bob.id, "of course", wait_ms=5000, wait_for="sent")
        assert session.recv().payload == b"of course"
        assert not session.drops and not session.complaints, (session.drops, session.complaints)
    read = {body_of(m): m for m in alice.inbox() if m["state"] == "read"}
    assert b"said 0" in read and read[b"said 0"]["from"]["id"] == carol_id and read[b"said 0"]["priority"] == "high", read
    sent = {m["msg_id"]: m for m in alice.outbox()}
    assert sent["history-1"]["state"] == "sent" and sent["history-1"]["reason"] == "imported", sent["history-1"]
    assert [m["msg_id"] for m in alice.call("inbox.list", state="held")["messages"]] == ["held-1"]
    if lab.im2 != "require":
        assert [i["state"] for i in alice.call("invite.list")["invites"]] == ["spent"]
    assert alice.audit()[0]["details"]["previous_tail_hmac"] == tail
    alice.stop()
    carol.stop()
    refused = order(old.path, path("imported"), "--passphrase-file", key_file, check=False)
    assert refused["exit"] == 2 and "there is an identity" in refused["stderr"], refused


def older_key_files():
    for version in (1, 2):
        for passphrase in (None, KEY_PASS):
            old = Folder(path("v%d%s" % (version, passphrase is None)))
            old.keys(passphrase, version)
            home = path("from-v%d%s" % (version, passphrase is None))
            report = order(old.path, home, *(["--passphrase-file", key_file] if passphrase else []))
            assert report["id"] == old.identity.id and any("version 1 or 2" in w for w in report["warnings"]), report
            shown = json.loads(subprocess.run([lab.binary, "--json", "keys", "show", "--home", home, "--passphrase-file", key_file],
                                              stdout=subprocess.PIPE, check=True).stdout)
            assert shown["version"] == 3 and shown["encrypted"] == (passphrase is not None), shown
            assert os.path.exists(os.path.join(home, "keys.json.legacy.bak"))


def a_wrong_passphrase_changes_nothing():
    old = Folder(path("wrong"), mesh="another passphrase of a mesh")
    old.keys(KEY_PASS)
    db = old.database()
    db.execute("INSERT INTO messages (msg_id, source, destination, msg_type, payload, timestamp, direction) VALUES (?,?,?,?,?,?,?)",
               ("m", Identity().id, old.identity.id, "MSG", old.sealed(b"x"), 1.0, "inbound"))
    db.commit()
    db.close()
    got = order(old.path, path("wrong-home"), "--passphrase-file", mesh_file, check=False)
    assert got["exit"] != 0 and "passphrase" in got["stderr"], got
    assert not os.path.exists(path("wrong-home")) and not [n for n in os.listdir(lab.folder) if ".restore-" in n]
    # The mesh's does not open the messages: the rest comes over, and it is said.
    for more in (["--mesh-passphrase-file", mesh_file], []):
        report = order(old.path, path("wrong-home"), "--passphrase-file", key_file, *more)
        assert "messages" in left(report), report
        shutil.rmtree(path("wrong-home"))


def trust_stores_that_anybody_can_write():
    for form in ("folder", "none"):
        old = Folder(path("trust-" + form))
        old.keys()
        bob = Identity()
        old.pins([old.record(bob)], form=form)
        home = path("trust-home-" + form)
        got = order(old.path, home, check=False)
        assert got["exit"] == 9 and "--accept-unverified-trust" in got["stderr"], got
        assert not os.path.exists(home)
        report = order(old.path, home, "--accept-unverified-trust")
        assert came(report)["trusted peers"] == 1 and any("UNVERIFIED" in w for w in report["warnings"]), report
        pins = json.loads(subprocess.run([lab.binary, "--json", "trust", "list", "--home", home], stdout=subprocess.PIPE, check=True).stdout)
        assert [p["id"] for p in pins["pins"]] == [bob.id] and not pins["read_only"], pins
    # Version 1 with the MAC of the identity is as good as version 2; a version 2 that was changed is taken by no option.
    old = Folder(path("trust-1"))
    old.keys()
    old.pins([old.record(Identity())], form=1)
    assert came(order(old.path, path("trust-home-1")))["trusted peers"] == 1
    old.pins([old.record(Identity())], form=2)
    store = json.load(open(old.file("known_peers.json")))
    store["_mac"] = "0" * 64
    oldstate.write(old.file("known_peers.json"), json.dumps(store))
    got = order(old.path, path("trust-home-2"), "--accept-unverified-trust", check=False)
    assert got["exit"] == 9 and not os.path.exists(path("trust-home-2")), got


def its_archives():
    old = Folder(path("archived"), mesh=PASSPHRASE)
    old.keys(KEY_PASS)
    bob = Identity()
    old.pins([old.record(bob)])
    old.audit([("STARTUP", {"n": i}) for i in range(5)])
    read = {n: open(old.file(n), "rb").read() for n in ("keys.json", "known_peers.json", "audit.log")}
    manifest = json.dumps({"version": 1, "created_at": 1753500000.0, "node_id": old.identity.id,
                           "includes": {"keys": True, "trust": True, "audit": True}}).encode()
    members = [("manifest.json", manifest)] + list(read.items())
    archive = path("old.imb")
    oldstate.imb1(archive, ARCHIVE_PASS, members)
    report = order(archive, path("archive-home"), "--archive-passphrase-file", archive_file, "--passphrase-file", key_file)
    assert report["id"] == old.identity.id and came(report) == {"identity": 1, "trusted peers": 1, "audit log": 1}, report
    assert "data.db" in left(report)
    # A tail of a longer log does not begin at the beginning: it comes over, and it is said.
    tail = members[:3] + [("audit.log", b"".join(read["audit.log"].splitlines(True)[2:]))]
    oldstate.imb1(archive, ARCHIVE_PASS, tail)
    report = order(archive, path("tail-home"), "--archive-passphrase-file", archive_file, "--passphrase-file", key_file)
    assert any("does not check out" in w for w in report["warnings"]), report

    def refused(say, data=None, code=9, file=archive_file):
        if data is not None:
            oldstate.write(archive, data)
        got = order(archive, path("refused-home"), "--archive-passphrase-file", file, "--passphrase-file", key_file, check=False)
        assert got["exit"] == code and say in got["stderr"], (say, got)
        assert not os.path.exists(path("refused-home")) and not [n for n in os.listdir(lab.folder) if ".restore-" in n]
    oldstate.imb1(archive, ARCHIVE_PASS, members)
    good = open(archive, "rb").read()
    refused("passphrase is another one", file=key_file)
    for at in (5, len(good) - 1):
        refused("altered", good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
    refused("altered", good[:len(good) // 2])
    refused("too short", good[:40])
    refused("version", good[:4] + b"\x02" + good[5:])
    refused("no archive of the old software", b"PK" + good, code=2)
    for name in ("../keys.json", "data.db"):
        oldstate.imb1(archive, ARCHIVE_PASS, members + [(name, b"harm")])
        refused("a name that none has")
    oldstate.imb1(archive, ARCHIVE_PASS, members + [("keys.json", read["keys.json"])])
    refused("there twice")
    oldstate.imb1(archive, ARCHIVE_PASS, members[:1])
    refused("no keys.json")
    oldstate.imb1(archive, ARCHIVE_PASS, [("manifest.json", b"x" * 70000)] + members[1:])
    refused("larger than it can be")
    oldstate.imb1(archive, ARCHIVE_PASS, [("keys.json", bytes(200 << 20))])
    refused("larger than it can be")
    for kind in (tarfile.SYMTYPE, tarfile.CHRTYPE):
        oldstate.imb1(archive, ARCHIVE_PASS, members, kind=kind)
        refused("not right")


def what_is_configured_comes_along():
    old = Folder(path("plain"))
    old.keys()
    home = path("configured")
    os.makedirs(os.path.join(home, "conf.d"), mode=0o700)
    oldstate.write(os.path.join(home, "ironmesh.conf"), "[log]\nlevel = debug\n")
    oldstate.write(os.path.join(home, "conf.d", "a.conf"), "[log]\nformat = text\n")
    order(old.path, home)
    assert open(os.path.join(home, "ironmesh.conf")).read() == "[log]\nlevel = debug\n"
    assert os.path.exists(os.path.join(home, "conf.d", "a.conf")) and os.path.exists(os.path.join(home, "keys.json"))
    got = order(path("nowhere"), path("n"), check=False)
    assert got["exit"] == 2 and not os.path.exists(path("n")), got
    empty = path("empty")
    os.mkdir(empty)
    got = order(empty, path("n"), check=False)
    assert got["exit"] == 2 and "no keys.json" in got["stderr"], got
    damaged = Folder(path("damaged"))
    damaged.keys()
    oldstate.write(damaged.file("data.db"), os.urandom(20000))
    got = order(damaged.path, path("n"), check=False)
    assert got["exit"] == 9 and not os.path.exists(path("n")), got


def a_folder_that_somebody_made_to_do_harm():
    """A database that never ends or is all memory, and links: refused or left behind, in little time and memory."""
    row = "'m' msg_id, 't' msg_type, %s payload, 'LOW' priority, 1.0 created_at, 0 delivered"
    who = "'%s' peer_node_id, " % oldstate.VECTOR_BOB
    endless = ("CREATE VIEW pending_messages AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT " + who + row % "'p'" +
               ", x AS id FROM c")
    huge = "CREATE VIEW pending_messages AS SELECT " + who + row % "zeroblob(900000000)" + ", 1 AS id"
    made = ("CREATE TABLE pending_messages (id INTEGER PRIMARY KEY, peer_node_id, msg_id, msg_type, priority, created_at, delivered, "
            "payload GENERATED ALWAYS AS (zeroblob(900000000))); INSERT INTO pending_messages (peer_node_id, msg_id, msg_type, created_at, "
            "delivered) VALUES ('%s', 'm', 't', 1.0, 0)" % oldstate.VECTOR_BOB)
    for i, (schema, code) in enumerate(((endless, 0), (huge, 0), (made, 9))):
        source = oldstate.vectors(path("harm%d" % i))
        os.unlink(os.path.join(source, "data.db"))
        db = sqlite3.connect(os.path.join(source, "data.db"))
        db.executescript(schema)
        db.close()
        got = order(source, path("harm-home"), "--dry-run", check=False)
        assert got["exit"] == code, (schema, got)
        if code == 0:
            assert "messages that wait to be sent" not in came(got), got
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 700 << 10, "Argon2 takes 256 MiB; nothing needs more"
    os.rename(os.path.join(source, "keys.json"), os.path.join(source, "elsewhere.json"))
    os.symlink("elsewhere.json", os.path.join(source, "keys.json"))
    got = order(source, path("harm-home"), check=False)
    assert got["exit"] != 0 and "symbolic link" in got["stderr"] and "cp -rL" in got["stderr"], got


sys.exit(lab.run(a_folder_that_somebody_made_to_do_harm, the_folder_of_the_vectors, peers_still_recognise_us, older_key_files, a_wrong_passphrase_changes_nothing,
                 trust_stores_that_anybody_can_write, its_archives, what_is_configured_comes_along))
