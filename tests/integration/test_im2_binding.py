#!/usr/bin/python3
"""Handshakes of im2 tied to their TLS connection (--tls-binding): who ends TLS in between is noticed.

The man in the middle of these tests is a TLS terminator with a certificate of his own. He passes on every
byte; only the connections differ.
"""
import os
import socket
import ssl
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402

lab = Lab("test_im2_binding", __doc__)
QUICK = ("--trust-on-first-use", "--log-level", "debug")


class Terminator:
    """Listens with TLS, dials `to` with TLS, and passes on what comes, both ways."""

    def __init__(self, to, newest=ssl.TLSVersion.TLSv1_3):
        self.to = to
        self.passed = 0
        cert, key = os.path.join(lab.folder, "mitm.pem"), os.path.join(lab.folder, "mitm.key")
        if not os.path.exists(cert):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=mitm", "-keyout", key, "-out", cert], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(cert, key)
        self.server.maximum_version = newest
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname = False
        self.client.verify_mode = ssl.CERT_NONE
        self.client.maximum_version = newest
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        lab.on_close(self.socket.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                raw, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.between, args=(raw,), daemon=True).start()

    def between(self, raw):
        host, port = self.to.rsplit(":", 1)
        try:
            near = self.server.wrap_socket(raw, server_side=True)
            far = self.client.wrap_socket(socket.create_connection((host, int(port))))
        except (OSError, ssl.SSLError):
            raw.close()
            return
        ends = [threading.Thread(target=self.pump, args=pair, daemon=True) for pair in ((near, far), (far, near))]
        for end in ends:
            end.start()

    def pump(self, source, sink):
        try:
            while True:
                piece = source.recv(65536)
                if not piece:
                    break
                self.passed += len(piece)
                sink.sendall(piece)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.close()
            except OSError:
                pass


def why(daemon, address):
    """Why this static peer is not connected."""
    for q in daemon.call("peers.list")["peers"]:
        if q.get("static") and (address in q.get("addresses", []) or q.get("address") == address):
            return "" if q["online"] else q.get("connecting") or ""
    return None


def reason(daemon, address, *words):
    """Waits until `peers list` explains with all of `words`; the text."""
    return wait_for(lambda: (lambda t: t if t and all(w in t for w in words) else None)(why(daemon, address)), 15,
                    what="%r in the reason for %s at %s (%r)" % (words, address, daemon.name, why(daemon, address)))


def pair(name, here, there, through=None, **more):
    """Two fresh daemons `name`-a and `name`-b; the second dials the first, perhaps through a terminator."""
    a, b = lab.daemon(name + "-a"), lab.daemon(name + "-b")
    a.start(*QUICK, "--tls-binding", here)
    middle = through(a.address, **more) if through else None
    b.start(*QUICK, "--tls-binding", there, "--peer", middle.address if middle else a.address)
    return a, b, middle


def both_on_speak_and_come_back():
    a, b, _ = pair("both", "on", "on")
    assert b.wait_online(a.id)["suite"] == "im2"
    assert a.status()["im2"]["tls_binding"] and b.status()["im2"]["tls_binding"]
    assert b"bound to TLS" in a.cli("status", check=True).stdout
    assert b.send(a.id, "first contact", wait_ms=8000)["state"] == "delivered"
    b.kill9()  # no session survives: the next handshake is that of known peers
    b.start()
    assert b.wait_online(a.id)["suite"] == "im2"
    assert b.send(a.id, "known peers", wait_ms=8000)["state"] == "delivered"
    assert a.counters()["im2_handshakes_known"] >= 1
    a.stop(), b.stop()


def a_terminator_is_noticed_when_both_are_on():
    a, b, middle = pair("term", "on", "on", Terminator)
    text = reason(b, middle.address, "--tls-binding", "ends TLS", "passphrase")
    assert middle.passed > 100, "the handshake itself was carried"
    assert not b.peer(a.id) and not a.peer(b.id), text
    assert b"ends TLS" in b.cli("peers", "list", check=True).stdout
    a.stop(), b.stop()


def a_terminator_that_offers_only_1_2_gets_nothing():
    a, b, middle = pair("old", "on", "on", Terminator, newest=ssl.TLSVersion.TLSv1_2)
    reason(b, middle.address, "tls")
    assert middle.passed == 0
    a.stop(), b.stop()


def a_terminator_goes_unnoticed_without_binding():
    """What the option is for: the same terminator with both off."""
    a, b, middle = pair("none", "off", "off", Terminator)
    b.wait_online(a.id)
    assert b.send(a.id, "through", wait_ms=8000)["state"] == "delivered"
    a.stop(), b.stop()


def on_against_off_says_what_to_compare():
    a, b, _ = pair("here", "on", "off")
    reason(b, a.address, "--tls-binding is on", "compare")
    a.stop(), b.stop()
    a, b, _ = pair("there", "off", "on")
    reason(b, a.address, "--tls-binding is off", "compare")
    a.stop(), b.stop()


def known_peers_hear_it_too():
    """After a first contact one side changes its mind."""
    a, b, _ = pair("later", "on", "on")
    b.wait_online(a.id)
    b.stop()
    b.start(*QUICK, "--tls-binding", "off", "--peer", a.address)
    reason(b, a.address, "--tls-binding is on", "compare")
    b.stop()
    b.start(*QUICK, "--tls-binding", "on", "--peer", a.address)
    assert b.wait_online(a.id)["suite"] == "im2"
    a.stop(), b.stop()


if lab.im2 == "off":
    print("test_im2_binding: nothing to bind without im2")
    sys.exit(0)
sys.exit(lab.run(both_on_speak_and_come_back, a_terminator_is_noticed_when_both_are_on,
                 a_terminator_that_offers_only_1_2_gets_nothing, a_terminator_goes_unnoticed_without_binding,
                 on_against_off_says_what_to_compare, known_peers_hear_it_too))
