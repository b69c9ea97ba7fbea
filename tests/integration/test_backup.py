#!/usr/bin/python3
"""`ironmesh backup` and `restore` with real daemons: the drill of a lost disk, damaged and hostile archives, kill -9 at many
moments, a full disk, backups by the daemon itself."""
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import backupfile  # noqa: E402
from ironlab import Lab, body_of, wait_for  # noqa: E402

lab = Lab("test_backup", __doc__)
PASS = "another passphrase, of backups"
alice, bob = lab.daemon("alice"), lab.daemon("bob")
pass_path = os.path.join(lab.folder, "backup.pass")
with open(os.open(pass_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
    out.write(PASS + "\n")
dice = random.Random(7)


def path(name):
    return os.path.join(lab.folder, name)


def order(*args, home=None, secret=pass_path, check=True, timeout=60):
    """A command with the passphrase of backups; its JSON, or the fault when it may fail."""
    command = [lab.binary, "--json", *args, "--passphrase-file", secret] + (["--home", home] if home else [])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=timeout,
                          cwd=lab.folder)
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    answer["exit"] = done.returncode
    answer["stderr"] = done.stderr.decode(errors="replace")
    assert not check or done.returncode == 0, (args, done)
    return answer


def tree(folder):
    """Everything in a folder, to see that nothing has changed. The clock of files counts too."""
    out = {}
    for where, folders, files in os.walk(folder):
        for name in files + folders:
            full = os.path.join(where, name)
            st = os.lstat(full)
            data = open(full, "rb").read() if os.path.isfile(full) else b""
            out[os.path.relpath(full, folder)] = (st.st_mode, st.st_ino, data)
    return out


def beside(home):
    """What is left in the folder that holds the home, and has no business there."""
    name = os.path.basename(home)
    return sorted(n for n in os.listdir(os.path.dirname(home)) if n.startswith(name + ".restore-") or n.endswith(".tmp"))


def left_in(home):
    return sorted(n for n in os.listdir(home) if n.startswith(".backup-"))


# --- the drill ---------------------------------------------------------------------------------------------------
def a_node_with_a_random_state():
    alice.start("--trust-on-first-use")
    bob.start("--trust-on-first-use", "--peer", alice.address)
    bob.wait_online(alice.id)
    alice.wait_online(bob.id)
    for i in range(20):
        body = dice.randbytes(dice.randrange(1, 20000))
        assert bob.send(alice.id, body, wait_ms=8000)["state"] == "delivered"
        alice.send(bob.id, "to bob %d" % i)
    alice.call("peers.alias", peer=bob.id, alias="bobby")
    alice.call("caps.set", capabilities=["llm:llama3", "tool:search"])
    if lab.im2 != "require":
        alice.call("invite.create", endpoint=alice.address)
    alice.call("inbox.take", limit=3)
    os.makedirs(os.path.join(alice.home, "conf.d"), exist_ok=True)
    with open(os.path.join(alice.home, "conf.d", "10-log.conf"), "w") as f:
        f.write("[log]\nlevel = info\n")
    # A rotation leaves old keys and logs behind. On the old wire peers would not follow it.
    if lab.im2 != "off":
        alice.cli("keys", "rotate", "--yes", check=True)
        alice.process.wait(20)
        alice.drop_control()
        alice.process = None
        del alice._id
        alice.start()
        bob.wait_online(alice.id)
    for daemon in (alice, bob):
        assert daemon.status()["backup"]["last_ok_ms"] == 0


def every_file_is_in_a_row():
    """Whoever adds a file to the home folder adds a row to store/state.c."""
    alice.call("token.create", role="read")
    made = order("backup", path("rows.backup"), home=alice.home)
    assert made["left_out_n"] == 0, "in no row of store/state.c: " + made["left_out"]
    manifest, members = backupfile.read(path("rows.backup"), PASS.encode())
    names = set(members)
    for need in ("keys.json", "known_peers.json", "ironmesh.db", "audit.log", "audit.head", "cert.pem", "key.pem",
                 "conf.d/10-log.conf", "tokens.json"):
        assert need in names, (need, names)
    rotated = [n for n in names if n.startswith(("keys.json.", "audit.log."))]
    assert len(rotated) >= 3 or lab.im2 == "off", names
    assert manifest["id"] == alice.id and manifest["name"] == "alice"
    assert not left_in(alice.home)
    open(os.path.join(alice.home, "notes.txt"), "w").close()
    made = order("backup", path("rows.backup"), "--force", home=alice.home)
    assert made["left_out"] == "notes.txt", made
    os.unlink(os.path.join(alice.home, "notes.txt"))


def the_configuration_of_the_service_comes_along():
    """It lies elsewhere; a restore lays it into the home folder, and touches nothing else."""
    etc = path("etc")
    os.makedirs(etc + "/conf.d")
    for name in ("ironmesh.conf", "conf.d/a.conf", "mesh.pass"):
        with open(os.path.join(etc, name), "w") as f:
            f.write("[log]\n")
    os.environ["CONFIGURATION_DIRECTORY"] = etc
    try:
        home = path("service")
        subprocess.run([lab.binary, "keys", "generate", "--home", home, "--name", "s", "--clear"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        order("backup", path("service.backup"), home=home)
        members = backupfile.read(path("service.backup"), PASS.encode())[1]
        assert set(members) == {"keys.json", "service-ironmesh.conf", "service-conf.d/a.conf"}, set(members)
        order("restore", path("service.backup"), "--force", home=home)
        assert open(os.path.join(home, "service-conf.d", "a.conf")).read() == "[log]\n"
        order("backup", path("service.backup"), "--force", home=home)
        assert set(backupfile.read(path("service.backup"), PASS.encode())[1]) == set(members)
    finally:
        del os.environ["CONFIGURATION_DIRECTORY"]
    assert not left_in(home)


def what_it_says_of_itself():
    made = order("backup", "verify", path("rows.backup"), home=alice.home)
    assert made["verified"] and made["identity_opened"] and made["pins"] >= 1, made
    assert oct(os.stat(path("rows.backup")).st_mode & 0o777) == "0o600"
    refused = order("backup", path("rows.backup"), home=alice.home, check=False)
    assert refused["exit"] == 2 and "exists already" in refused["stderr"], refused
    listed = alice.call("backup.list")
    assert [b["file"] for b in listed["backups"]] == [path("rows.backup")] and listed["last"]["state"] == "ok", listed
    assert alice.status()["backup"]["last_ok_ms"] > 0
    assert "BACKUP_MADE" in [e["event"] for e in alice.audit()]
    # Bodies are sealed, names are not in clear outside.
    with open(path("rows.backup"), "rb") as f:
        data = f.read()
    assert b"alice" not in data and b"manifest" not in data


def a_lost_disk_is_restored():
    """Backup, more messages both ways, wipe, restore: the same node; peers see no new key, and lose nothing."""
    order("backup", path("drill.backup"), home=alice.home)
    before = {m["msg_id"] for m in alice.inbox()}
    assert bob.send(alice.id, "after the backup", wait_ms=8000)["state"] == "delivered"
    assert alice.send(bob.id, "sent after the backup", wait_ms=8000)["state"] in ("delivered", "sent")
    identity = alice.id
    pinned = bob.peer(identity)["public_key"]
    alice.kill9()
    shutil.rmtree(alice.home)
    restored = order("restore", path("drill.backup"), home=alice.home)
    assert restored["id"] == identity and restored["kept"] is None, restored
    assert not beside(alice.home)
    del alice._id
    alice.start()
    assert alice.id == identity
    assert not os.path.exists(os.path.join(alice.home, "restored"))
    bob.wait_online(identity)
    alice.wait_online(bob.id)
    assert bob.peer(identity)["public_key"] == pinned and bob.peer(identity)["state"] == "trusted"
    assert not bob.status()["alarms"], bob.status()["alarms"]
    assert before <= {m["msg_id"] for m in alice.inbox()}
    assert alice.peer(bob.id)["alias"] == "bobby"
    for i in range(5):
        body = "a new life %d" % i
        assert alice.send(bob.id, body, wait_ms=15000)["state"] in ("delivered", "sent")
        bob.take_body(body)
        assert bob.send(alice.id, body, wait_ms=15000)["state"] == "delivered"
        alice.take_body(body)
    assert sum(1 for m in bob.inbox() if body_of(m) == b"sent after the backup") == 1
    report = alice.call("audit.verify")
    assert report["ok"] and report["head_ok"], report
    assert "RESTORED" in [e["event"] for e in alice.audit()]
    if lab.im2 != "require":
        assert all(i["state"] != "open" for i in alice.call("invite.list")["invites"]), "an open invite may have been used"
    assert alice.cli("demo", "--help").returncode == 0


def a_restored_node_does_not_count_on():
    """Eras and generations of the copy are not used again, though no peer says anything."""
    bob.kill9()
    alice.stop()
    copies = []
    for turn in range(2):
        order("restore", path("drill.backup"), "--force", home=alice.home)
        alice.start()
        ids = alice.call("send", to=bob.id, body="turn %d" % turn)
        wire = alice.call("outbox.show", msg_id=ids["msg_id"]).get("wire_id")
        copies.append(wire)
        alice.stop()
    if lab.im2 == "on" and all(copies):
        assert copies[0][:16] != copies[1][:16], copies
    for name in os.listdir(lab.folder):
        if name.startswith("alice.before-restore-"):
            assert os.path.exists(path(name + "/keys.json"))
            shutil.rmtree(path(name))


def under_messages_nothing_is_lost_and_nobody_waits():
    """Backups while bob sends without pause: each message arrives once, and none waits for a backup."""
    alice.start()
    bob.start()
    bob.wait_online(alice.id)
    assert bob.send(alice.id, "warm", wait_ms=8000)["state"] == "delivered"
    for daemon in (alice, bob):
        assert "record-equivocation" not in daemon.log(), "a copy that was restored again said something twice"
    stop, sent, slow = threading.Event(), [], [0.0]
    control = bob.connect()

    def stream():
        while not stop.is_set():
            body = "under load %d" % len(sent)
            began = time.monotonic()
            answer = control.call("send", 60, to=alice.id, body=body, wait_ms=30000)
            slow[0] = max(slow[0], time.monotonic() - began)
            assert answer["state"] == "delivered", answer
            sent.append(body)
    thread = threading.Thread(target=stream)
    thread.start()
    try:
        for i in range(3):
            order("backup", path("load.backup"), "--force", home=alice.home)
    finally:
        stop.set()
        thread.join()
    control.close()
    got = [body_of(m).decode() for m in alice.inbox() if body_of(m).startswith(b"under load")]
    assert sorted(got) == sorted(sent) and len(sent) > 20, (len(got), len(sent))
    print("       %d messages meanwhile, the slowest took %.0f ms" % (len(sent), slow[0] * 1000))
    # What is in the backup fits together: its last audit entry, its pins, its messages.
    assert order("backup", "verify", path("load.backup"), home=alice.home)["verified"]
    report = alice.call("audit.verify")
    assert report["ok"], report


# --- what is refused ---------------------------------------------------------------------------------------------------
def refused_everywhere(file, say, code=9, secret=pass_path):
    """verify, list and restore refuse it with this text, and the home folder stays as it is."""
    before = tree(bob.home)
    for verb in (["backup", "verify", file], ["restore", file, "--force"]):
        got = order(*verb, home=bob.home, check=False, secret=secret)
        assert got["exit"] == code, (verb, got)
        assert say in got["stderr"], (say, got["stderr"])
        assert "AddressSanitizer" not in got["stderr"]
    now = tree(bob.home)
    assert {k: v for k, v in now.items() if k != "lock"} == {k: v for k, v in before.items() if k != "lock"}
    assert not beside(bob.home) and not left_in(bob.home)


def not_while_a_daemon_runs():
    got = order("restore", path("drill.backup"), "--force", home=bob.home, check=False)
    assert got["exit"] == 75 and "works on" in got["stderr"], got
    bob.stop()
    got = order("restore", path("drill.backup"), home=bob.home, check=False)
    assert got["exit"] == 2 and "there is an identity" in got["stderr"], got


def a_cheap_copy():
    """The same content under the least cost, so that hundreds of refusals take seconds."""
    manifest, members = backupfile.read(path("drill.backup"), PASS.encode())
    pairs = [(f["name"], members[f["name"]]) for f in manifest["files"]]
    backupfile.make(path("cheap.backup"), PASS.encode(), manifest, pairs)
    assert order("backup", "verify", path("cheap.backup"), home=bob.home)["verified"]
    return manifest, pairs


def a_wrong_passphrase():
    wrong = path("wrong.pass")
    with open(os.open(wrong, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("not the passphrase of it\n")
    refused_everywhere(path("cheap.backup"), "does not open the backup", secret=wrong)


def every_cut_and_every_flip():
    data = open(path("cheap.backup"), "rb").read()
    places = sorted({0, 15, 16, 20, 24, 31, 40, 60, 80, 103, 104, 105, 130, 65536, len(data) - 17, len(data) - 1} |
                    {dice.randrange(len(data)) for _ in range(12)})
    for at in places:
        with open(path("cut.backup"), "wb") as f:
            f.write(data[:at])
        got = order("restore", path("cut.backup"), "--force", home=bob.home, check=False)
        assert got["exit"] == 9, (at, got)
    for at in places:
        broken = bytearray(data)
        broken[at] ^= 1 << dice.randrange(8)
        with open(path("flip.backup"), "wb") as f:
            f.write(broken)
        got = order("restore", path("flip.backup"), "--force", home=bob.home, check=False)
        assert got["exit"] in (9, 75), (at, got)
    with open(path("long.backup"), "wb") as f:
        f.write(data + b"x")
    refused_everywhere(path("long.backup"), "altered at its end")
    with open(path("cut.backup"), "wb") as f:
        f.write(data[:len(data) // 2])
    refused_everywhere(path("cut.backup"), "cut off")
    with open(path("none.backup"), "wb") as f:
        f.write(b"PK\x03\x04" + os.urandom(4096))
    refused_everywhere(path("none.backup"), "not a backup of ironmesh")
    assert order("backup", "verify", path("nowhere.backup"), home=bob.home, check=False)["exit"] == 1


def archives_that_somebody_made_to_do_harm():
    manifest, pairs = a_cheap_copy()
    secret = PASS.encode()
    evil = path("evil.backup")
    outside = path("outside")

    def members(name, data):
        return pairs + [(name, data)]

    for name in ("../outside", outside, "conf.d/../../outside.conf", "lock", "control.sock", "restored", "keys.json/x", "a" * 90):
        backupfile.make(evil, secret, backupfile.manifest_of(members(name, b"harm"), manifest), members(name, b"harm"))
        refused_everywhere(evil, "names a file that no backup holds")
    assert not os.path.exists(outside)
    # The list is good, the archive has another name.
    backupfile.make(evil, secret, manifest, [("../outside", pairs[0][1])] + pairs[1:])
    refused_everywhere(evil, "another name than the list says")
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "manifest.json"), (tarfile.CHRTYPE, ""), (tarfile.DIRTYPE, "")):
        info = tarfile.TarInfo(pairs[0][0])
        info.type, info.linkname = kind, target
        backupfile.make(evil, secret, manifest, [(pairs[0][0], info)] + pairs[1:])
        refused_everywhere(evil, "not what this program writes")
    backupfile.make(evil, secret, manifest, pairs + [("audit.log.1", b"more")])
    refused_everywhere(evil, "the list does not name")
    backupfile.make(evil, secret, manifest, pairs[:-1])
    refused_everywhere(evil, "files are missing")
    backupfile.make(evil, secret, backupfile.manifest_of(pairs + [pairs[0]], manifest), pairs + [pairs[0]])
    refused_everywhere(evil, "named twice")
    backupfile.make(evil, secret, manifest, [(n, b + b"x" if n == "cert.pem" else b) for n, b in pairs])
    refused_everywhere(evil, "another size than the list says")
    backupfile.make(evil, secret, manifest, [(n, bytes(len(b)) if n == "cert.pem" else b) for n, b in pairs])
    refused_everywhere(evil, "another content than the list says")
    without = [(n, b) for n, b in pairs if n != "keys.json"]
    backupfile.make(evil, secret, backupfile.manifest_of(without, manifest), without)
    refused_everywhere(evil, "there is no keys.json")
    # Too large for its row; far more than was ever compressed; a list that is too long.
    big = [(n, b"[log]\n" + b"#" * (2 << 20) if n.startswith("conf.d") else b) for n, b in pairs]
    backupfile.make(evil, secret, backupfile.manifest_of(big, manifest), big)
    refused_everywhere(evil, "larger than it can be")
    bomb = [(n, bytes(300 << 20) if n == "ironmesh.db" else b) for n, b in pairs]
    backupfile.make(evil, secret, backupfile.manifest_of(bomb, manifest), bomb)
    assert os.path.getsize(evil) < 1 << 20
    refused_everywhere(evil, "far more than any state does")
    backupfile.make(evil, secret, b" " * (300 << 10) + b"{}", [])
    refused_everywhere(evil, "list of contents is too long")
    for text, say in ((b"{", "not JSON"), (b"[]", "another format"), (json.dumps(dict(manifest, format="ironmesh-backup/2")).encode(), "another format"),
                      (json.dumps(dict(manifest, id="x")).encode(), "something is missing")):
        backupfile.make(evil, secret, text, pairs)
        refused_everywhere(evil, say)
    backupfile.make(evil, secret, manifest, pairs, compressed=False)
    refused_everywhere(evil, "archive inside is damaged")
    backupfile.make(evil, secret, manifest, pairs, final=False)
    refused_everywhere(evil, "cut off")
    backupfile.make(evil, secret, manifest, pairs, tag=backupfile.sodium.crypto_secretstream_xchacha20poly1305_TAG_REKEY)
    refused_everywhere(evil, "damaged" if len(open(evil, "rb").read()) > 70000 else "")
    backupfile.make(evil, secret, manifest, pairs, version=2)
    refused_everywhere(evil, "newer version")
    # Costs that would take the machine down are refused before any memory is taken.
    for cost in ((1, 4 << 20), (1000, 8192), (0, 8192)):
        data = bytearray(open(path("cheap.backup"), "rb").read())
        data[20:28] = cost[0].to_bytes(4, "big") + cost[1].to_bytes(4, "big")
        with open(evil, "wb") as f:
            f.write(data)
        began = time.monotonic()
        refused_everywhere(evil, "asks for more memory or time")
        assert time.monotonic() - began < 5
    # Whole, but what is in it does not fit together.
    swapped = [(n, b.replace(b"STARTUP", b"STOPPED") if n == "audit.log" else b) for n, b in pairs]
    backupfile.make(evil, secret, backupfile.manifest_of(swapped, manifest), swapped)
    refused_everywhere(evil, "audit log does not check out")
    torn = [(n, b[:8192] + os.urandom(4096) + b[12288:] if n == "ironmesh.db" else b) for n, b in pairs]
    backupfile.make(evil, secret, backupfile.manifest_of(torn, manifest), torn)
    refused_everywhere(evil, "database")


# --- ends that nobody chose -------------------------------------------------------------------------------------------
def moments(seconds, step):
    at = 0.01
    while at < seconds:
        yield at
        at += step


def killed_while_it_is_made():
    """The file is there and good, or not there; what a kill left is gone after the next run."""
    alice.stop()
    target = path("killed.backup")
    done = 0
    for after in moments(3.2, 0.2):
        p = subprocess.Popen([lab.binary, "backup", target, "--home", alice.home, "--passphrase-file", pass_path],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            p.wait(after)
            done += 1
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        if os.path.exists(target):
            assert order("backup", "verify", target, home=alice.home)["verified"]
            os.unlink(target)
        if done > 2:
            break
    order("backup", target, home=alice.home)
    assert not left_in(alice.home), left_in(alice.home)
    assert [n for n in os.listdir(lab.folder) if n.endswith(".tmp")] == []


def the_command_dies_and_the_daemon_cleans_up():
    alice.start()
    p = subprocess.Popen([lab.binary, "backup", path("gone.backup"), "--home", alice.home, "--passphrase-file", pass_path],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: left_in(alice.home), what="the snapshot")
    p.kill()
    p.wait()
    wait_for(lambda: not left_in(alice.home), what="the end of the snapshot")
    wait_for(lambda: not alice.status()["backup"]["running"], what="the end of the job")
    order("backup", path("gone.backup"), "--force", home=alice.home)
    # Two at once: one of them is told to come again.
    two = [subprocess.Popen([lab.binary, "backup", path("two%d.backup" % i), "--home", alice.home, "--passphrase-file", pass_path],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for i in range(2)]
    assert sorted(p.wait(60) for p in two) == [0, 75]
    # The daemon itself dies while a snapshot lies there: the next start sweeps.
    os.mkdir(os.path.join(alice.home, ".backup-0123456789abcdef"), 0o700)
    with open(os.path.join(alice.home, ".backup-0123456789abcdef", "keys.json"), "w") as f:
        f.write("{}")
    alice.kill9()
    alice.start()
    assert not left_in(alice.home)
    alice.stop()


def a_daemon_starts_while_a_command_packs():
    """The lock is free as soon as the state is copied; the copy is not what an interrupted run has left."""
    p = subprocess.Popen([lab.binary, "backup", path("beside.backup"), "--force", "--home", alice.home, "--passphrase-file", pass_path],
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: left_in(alice.home), step=0.001, what="the copy")
    with open(os.path.join(alice.home, "lock"), "r+") as lock:
        def is_free():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
        wait_for(is_free, step=0.001, what="the lock")
        p.send_signal(signal.SIGSTOP)
    alice.start()
    p.send_signal(signal.SIGCONT)
    assert p.wait(60) == 0, p.stderr.read()
    assert not left_in(alice.home)
    alice.stop()


def killed_while_it_is_restored():
    """At every moment the home folder is the old one or the new one."""
    home = path("victim")
    shutil.copytree(bob.home, home, ignore=shutil.ignore_patterns("control.sock", ".backup-*"))
    old = {k: v[2] for k, v in tree(home).items() if k != "lock"}
    news, after = 0, 0.005
    while news < 4 and after < 6:
        p = subprocess.Popen([lab.binary, "restore", path("cheap.backup"), "--force", "--home", home, "--passphrase-file", pass_path],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            p.wait(after)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        now = {k: v[2] for k, v in tree(home).items() if k != "lock"}
        if now == old:
            after += 0.004
            continue
        news += 1
        shown = json.loads(subprocess.run([lab.binary, "--json", "keys", "show", "--home", home], stdout=subprocess.PIPE, check=True).stdout)
        assert shown["name"] == "alice", shown
        assert os.path.exists(os.path.join(home, "restored"))
        assert order("backup", path("again.backup"), "--force", home=home)["verified"]
        kept = [n for n in os.listdir(lab.folder) if n.startswith("victim.before-restore-")]
        was = [n for n in kept if {k: v[2] for k, v in tree(path(n)).items() if k != "lock"} == old]
        assert was, "the old folder is gone"
        shutil.rmtree(home)
        os.rename(path(was[0]), home)
        for n in kept[1:] if was[0] == kept[0] else kept:
            shutil.rmtree(path(n), ignore_errors=True)
        after += 0.004
    assert news >= 1
    order("restore", path("cheap.backup"), "--force", "--discard-old", home=home)
    assert not beside(home), beside(home)
    assert not [n for n in os.listdir(lab.folder) if n.startswith("victim.before-restore-") and os.path.exists(path(n + "/keys.json"))]
    shutil.rmtree(home)


def a_dry_run_changes_nothing():
    before = tree(bob.home)
    got = order("restore", path("cheap.backup"), "--force", "--dry-run", home=bob.home)
    assert got["dry_run"] and got["name"] == "alice", got
    now = tree(bob.home)
    assert {k: v for k, v in now.items() if k != "lock"} == {k: v for k, v in before.items() if k != "lock"}
    assert not beside(bob.home)


def a_full_disk():
    """In a mount namespace of its own, a disk with no room: said, and nothing is left."""
    if os.geteuid() != 0:
        print("       not root: left out")
        return
    disk = path("disk")
    os.mkdir(disk)
    script = ('mount -t tmpfs -o size=%s tmpfs "$1" && shift && "$@"; code=$?; ls -A %s; exit $code' % ("%s", disk))

    def on_disk(size, *args):
        return subprocess.run(["unshare", "-m", "sh", "-c", script % size, "sh", disk, lab.binary, *args, "--passphrase-file", pass_path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = on_disk("40k", "backup", disk + "/small.backup", "--home", bob.home)
    assert done.returncode == 1 and b"full" in done.stderr, done
    assert done.stdout.split() == [], done
    done = on_disk("300k", "restore", path("cheap.backup"), "--into", disk + "/home")
    assert done.returncode == 1 and b"no room" in done.stderr, done
    assert done.stdout.split() == [], done


def root_works_as_the_owner_of_the_folder():
    """Nothing of root's lies in the folder of another user, where he could lead root anywhere by moving it."""
    if os.geteuid() != 0:
        print("       not root: left out")
        return
    user, place = 65534, path("other")
    # The leak check of a sanitizer build cannot look at a process that has changed its user.
    os.environ["ASAN_OPTIONS"] = "detect_leaks=0"
    os.chmod(lab.folder, 0o711)
    os.mkdir(place, 0o700)
    os.chown(place, user, user)
    home = os.path.join(place, "node")
    order("restore", path("cheap.backup"), "--into", home)

    def strangers():
        out = []
        for where, folders, files in os.walk(place):
            out += [n for n in [where] + [os.path.join(where, f) for f in folders + files] if os.lstat(n).st_uid != user]
        return out
    assert not strangers(), strangers()
    order("restore", path("cheap.backup"), "--into", home, "--force", "--discard-old")
    assert not strangers() and os.listdir(place) == ["node"], (strangers(), os.listdir(place))
    p = subprocess.Popen([lab.binary, "backup", "verify", path("drill.backup"), "--home", home, "--passphrase-file", pass_path],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: left_in(home), step=0.001, what="what is unpacked to be checked")
    p.send_signal(signal.SIGSTOP)
    assert not strangers(), strangers()
    p.send_signal(signal.SIGCONT)
    assert p.wait(60) == 0 and not left_in(home)
    del os.environ["ASAN_OPTIONS"]


# --- the daemon by itself -----------------------------------------------------------------------------------------
def the_daemon_makes_them_itself():
    folder = path("kept")
    alice.start("--backup-directory", folder, "--backup-passphrase-file", pass_path, "--backup-every", "0", "--backup-keep", "2")
    names = []
    for _ in range(3):
        made = alice.call("backup.now", 60)
        names.append(made["file"])
        assert made["verified"]
        time.sleep(1.1)
    there = sorted(os.path.join(folder, n) for n in os.listdir(folder))
    assert there == sorted(names[1:]), (there, names)
    listed = alice.call("backup.list")
    assert listed["directory"] == folder and listed["keep"] == 2
    assert [b["file"] for b in listed["backups"]][:2] == names[:0:-1] and names[0] not in [b["file"] for b in listed["backups"]]
    status = alice.status()["backup"]
    assert status["last_ok_ms"] and status["why"] is None and not status["running"]
    assert order("backup", "verify", names[2], home=alice.home)["identity_opened"]
    shutil.rmtree(folder)
    refused = alice.refused("backup.now")
    assert "cannot write" in refused.message or "cannot be" in refused.message, refused.message
    assert alice.status()["backup"]["why"]
    assert any(i["kind"] == "backup-failed" for i in alice.call("attention.list")["items"]), alice.call("attention.list")
    assert "BACKUP_FAILED" in [e["event"] for e in alice.audit()]
    assert not left_in(alice.home)
    alice.stop()


def a_second_one_does_not_rename_the_first():
    """A command that is refused meanwhile changes nothing of the one that runs."""
    folder = path("one")
    alice.start("--backup-directory", folder, "--backup-passphrase-file", pass_path, "--backup-every", "0", "--backup-keep", "2")
    control = alice.connect()
    asked = control.ask("backup.now")
    wait_for(lambda: alice.status()["backup"]["running"], what="the backup")
    second = int(time.time())
    wait_for(lambda: int(time.time()) > second, what="another second, and another name")
    assert alice.refused("backup.now").message == "a backup is being made"
    made = control.answer(asked, 60)["file"]
    control.close()
    assert os.listdir(folder) == [os.path.basename(made)], (made, os.listdir(folder))
    assert os.path.exists(alice.call("backup.list")["backups"][0]["file"])


def only_what_is_ours_is_deleted_and_never_the_newest():
    """A clock that was ahead has left names of times to come; and what only looks like ours stays."""
    folder, begin = path("one"), "ironmesh-" + alice.id[:16]
    alike = [begin + "-20200101T000000Z.backup.old", begin + "-2020-01-01T00:00:00Z.backup", "ironmesh-0123456789abcdef-20200101T000000Z.backup",
             "." + begin + "-20200101T000000Z.backup.tmp", ".mine-20200101T000000Z.backup.0123456789abcdef.tmp"]
    rest = "." + begin + "-20200101T000000Z.backup.0123456789abcdef.tmp"
    for name in alike + [rest, begin + "-20980101T000000Z.backup", begin + "-20990101T000000Z.backup"]:
        open(os.path.join(folder, name), "w").close()
    made = os.path.basename(alice.call("backup.now", 60)["file"])
    there = sorted(os.listdir(folder))
    assert made in there and rest not in there, there
    assert set(alike) <= set(there) and len(there) == len(alike) + 2, there
    assert begin + "-20980101T000000Z.backup" not in there, "the oldest goes first"
    alice.stop()
    by_hand = os.path.join(alice.home, ".backup-by-hand")
    os.mkdir(by_hand, 0o700)
    shutil.copy(os.path.join(alice.home, "keys.json"), by_hand)
    alice.start()
    alice.stop()
    assert os.path.exists(os.path.join(by_hand, "keys.json")), "somebody's own copy was swept away"
    shutil.rmtree(by_hand)


def a_folder_of_something_else_is_not_taken():
    folder = path("Documents")
    os.mkdir(folder)
    with open(os.path.join(folder, "thesis.txt"), "w") as f:
        f.write("years of work")
    before = tree(folder)
    got = order("restore", path("cheap.backup"), "--into", folder, check=False)
    assert got["exit"] == 2 and "thesis.txt is in it" in got["stderr"], got
    assert tree(folder) == before and not beside(folder)


def by_the_clock():
    folder = path("clock")
    alice.start("--backup-directory", folder, "--backup-passphrase-file", pass_path, "--backup-every", "10s")
    first = wait_for(lambda: [n for n in os.listdir(folder) if n.endswith(".backup")], 40, 0.2, "a scheduled backup")
    assert not [n for n in os.listdir(folder) if n.endswith(".tmp")] or len(first) == 1
    alice.stop()
    assert alice.start_refused("--backup-directory", folder) == 2
    alice.options = []
    listed = json.loads(alice.cli("backup", "list", "--json", check=True).stdout)
    assert listed["backups"] and listed["backups"][0]["file"].startswith(folder), listed


def an_absent_disk_stops_no_messages():
    alice.start("--backup-directory", "/nowhere/at/all", "--backup-passphrase-file", pass_path)
    items = [i for i in alice.call("attention.list")["items"] if i["kind"] == "backup-failed"]
    assert len(items) == 1 and "/nowhere/at/all" in items[0]["what"], items
    refused = alice.refused("backup.now")
    assert "/nowhere/at/all" in refused.next and "start the daemon again" in refused.next, refused.next
    assert alice.stop() == 0
    alice.options = []


def a_stop_does_not_wait_for_a_backup():
    alice.start("--backup-directory", path("clock"), "--backup-passphrase-file", pass_path)
    control = alice.connect()
    control.ask("backup.now")
    wait_for(lambda: left_in(alice.home), what="the copy")
    began = time.monotonic()
    assert alice.stop() == 0
    assert time.monotonic() - began < 10
    control.close()
    assert not left_in(alice.home)
    alice.options = []


sys.exit(lab.run(
    a_node_with_a_random_state, every_file_is_in_a_row, the_configuration_of_the_service_comes_along, what_it_says_of_itself, a_lost_disk_is_restored,
    a_restored_node_does_not_count_on, under_messages_nothing_is_lost_and_nobody_waits, not_while_a_daemon_runs, a_cheap_copy,
    a_wrong_passphrase, every_cut_and_every_flip, archives_that_somebody_made_to_do_harm, a_dry_run_changes_nothing,
    killed_while_it_is_made, the_command_dies_and_the_daemon_cleans_up, a_daemon_starts_while_a_command_packs, killed_while_it_is_restored, a_full_disk,
    root_works_as_the_owner_of_the_folder,
    the_daemon_makes_them_itself, a_second_one_does_not_rename_the_first, only_what_is_ours_is_deleted_and_never_the_newest,
    a_folder_of_something_else_is_not_taken, by_the_clock, an_absent_disk_stops_no_messages,
    a_stop_does_not_wait_for_a_backup))
