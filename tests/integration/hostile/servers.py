"""Bad servers that our daemon dials."""
import json
import os
import subprocess

import peer09 as p
from ironlab import PASSPHRASE, wait_for

from .handshakes import change, resigned, without
from .world import w


class BadServers:
    """Each listens on its own port; carol dials them all."""

    def __init__(self, lab):
        self.lab = lab
        self.servers, self.why, self.extra = {}, {}, []
        cert, key = os.path.join(w.lab.folder, "bad-cert.pem"), os.path.join(w.lab.folder, "bad-key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=bad"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.tls = p.server_tls(cert, key)

    def add(self, title, expect=None, **config):
        config.setdefault("passphrase", PASSPHRASE)
        config.setdefault("name", "bad%d" % len(self.servers))
        server = p.OldPeer(**config)
        server.listen(self.lab.port(), self.tls)
        self.lab.on_close(server.close)
        self.servers[title] = server
        server.expect = expect
        return server

    def options(self):
        out = []
        for server in self.servers.values():
            out += ["--peer", "127.0.0.1:%d%s" % (server.port, "#" + server.expect if server.expect else "")]
        return out


def proof_must_not_leave(server):
    assert not hasattr(server.config, "seen_proof"), "the proof went out to a server with such a nonce"


def bad_servers():
    carol = w.carol
    seed = p.unb64(json.load(open(os.path.join(carol.home, "keys.json")))["ed25519_secret"])
    servers = BadServers(w.lab)
    mirror = os.urandom(16)
    mirror += mirror[::-1]
    no_key, eve = p.Identity(), p.Identity()

    def echo_proof(message):
        return dict(message, server_proof=echo_server.config.seen_proof)
    palindrome = servers.add("palindromic nonce", nonce=mirror)
    servers.add("no server_proof", tamper={"verified": without("server_proof")})
    servers.add("empty server_proof", tamper={"verified": change(server_proof="")})
    echo_server = servers.add("server_proof equal to our proof", tamper={"verified": echo_proof})
    servers.add("wrong server_proof", tamper={"verified": change(server_proof="00" * 32)})
    servers.add("another passphrase", passphrase="this is another passphrase")
    servers.add("nonce of 31 bytes", tamper={"challenge": lambda m: dict(m, nonce=m["nonce"][:62])})
    servers.add("no nonce", tamper={"challenge": without("nonce")})
    servers.add("SKIP_OFFER", tamper={"challenge": lambda m: {
        "type": "SKIP_OFFER", "from": m["from"], "channel_binding": p.SKIP_SENTINEL, "protocol_version": p.VERSION}})
    servers.add("unsigned HELLO", tamper={"hello": without("signature")})
    servers.add("HELLO without identity", tamper={"hello": without("identity_public", "signature")})
    servers.add("HELLO bound to another channel", binding="cd" * 32)
    servers.add("HELLO without binding", identity=no_key, tamper={"hello": resigned(no_key, channel_binding="")})
    servers.add("attached signature with declared 0.9", scheme="attached")
    servers.add("low-order ephemeral", identity=eve, tamper={"hello": resigned(eve, ephemeral_public=p.b64(bytes(32)))})
    servers.add("from is not its key", tamper={"hello": change(**{"from": "ab" * 16})})
    servers.add("our own identity", identity=p.Identity(seed))
    servers.add("another key than configured", expect="12" * 16)
    servers.add("version below the minimum", generation="old", version="ironmesh/0.1")
    servers.add("challenge of 70,000 bytes", tamper={"challenge": change(padding="x" * 70000)})
    servers.add("challenge that is not JSON", tamper={"challenge": lambda m: "{" * 50})
    servers.add("binary challenge", tamper={"challenge": lambda m: os.urandom(200)})
    servers.add("silence", tamper={"challenge": lambda m: None})
    servers.add("refusal with control characters", tamper={"challenge": lambda m: {
        "type": "RATE_LIMITED", "error": "\x1b[2J\u202eToo many\n" + "x" * 5000}})
    before = carol.counters()
    carol.restart("--trust-on-first-use", "--log-level", "debug", *servers.options())
    dead = {s.port for s in servers.servers.values()}

    def all_tried():
        peers = [q for q in carol.call("peers.list")["peers"] if q.get("static")]
        tried = [q for q in peers if q.get("connecting") not in (None, "", "dialling", "not dialled yet")]
        return peers if len(tried) >= len(dead) else None

    def told():
        peers = wait_for(all_tried, 20, what="every bad server to be tried; %s" % [
            (q.get("addresses"), q.get("connecting")) for q in carol.call("peers.list")["peers"]])
        for q in peers:
            assert not q["online"], q
            assert "\x1b" not in q["connecting"] and "\u202e" not in q["connecting"], q
        counters = carol.counters()
        assert counters["handshakes_ok"] == 0 and counters["handshakes_failed"] >= len(dead) - 3, counters
        assert counters["dials"] >= len(dead), counters
        assert not carol.status()["peers"]["online"]
        assert not carol.status()["peers"]["trusted"], "a bad server was pinned: %s" % carol.status()["peers"]
    w.lab.check("dialling: %d bad servers, none gets a session, each says why" % len(dead), told)
    w.kinds += len(dead)
    for title, server in servers.servers.items():
        def one(server=server):
            for session in list(server.accepted.queue):
                assert session.over.wait(8), "the session stays"
                assert not session.controls and session.messages.empty(), "it sent frames"
        w.lab.check("dialling: %s gets no frame" % title, one)
    w.lab.check("dialling: no proof for a palindromic nonce", proof_must_not_leave, palindrome)
    w.lab.check("dialling: the key alarm of the configured peer is shown", lambda: wait_for(
        lambda: any(a["was"] == "12" * 16 for a in carol.status()["alarms"]), what="an alarm"))
    w.lab.check("dialling: honest session of the other daemon still works", w.honest_works)
    assert before is not None
