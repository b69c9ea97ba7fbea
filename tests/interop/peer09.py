"""peer09 -- an independent peer of the old wire that runs: it dials and listens over WebSocket (with the library
that the old software uses too), answers PING and REKEY, and keeps what it was sent.

It is as strict as the strictest old receiver: sequence numbers only upward, 30 s back and 5 s ahead, 20
frames a second. What it drops is in Session.drops; what it only grumbles at is in Session.complaints.
The wire itself is in wire09.py, whose names are here too.
"""
import asyncio
import gzip
import json
import os
import queue
import ssl
import threading
import time
import uuid

import nacl.bindings
import websockets

from wire09 import *  # noqa: F401,F403
from wire09 import (  # what this file itself uses
    MAX_UNIT, USER_TYPES, Config, Drop, Message, Replay, b64, client_handshake, compact, converted_public, lint_frame,
    open_frame, seal, seal_frame, server_handshake, session_key, unb64)


# --- channels ---------------------------------------------------------------------------------------
class _Loop:
    """One asyncio loop in a thread for every WebSocket of this process."""
    lock = threading.Lock()
    loop = None

    @classmethod
    def get(cls):
        with cls.lock:
            if cls.loop is None:
                cls.loop = asyncio.new_event_loop()
                threading.Thread(target=cls.loop.run_forever, name="peer09-loop", daemon=True).start()
            return cls.loop

    @classmethod
    def run(cls, coroutine, timeout=20.0):
        future = asyncio.run_coroutine_threadsafe(coroutine, cls.get())
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise


class WsChannel:
    """A WebSocket as the old software uses it: text for the handshake, binary for frames."""

    def __init__(self, socket):
        self.socket = socket
        self.units = queue.Queue()
        self.closed = threading.Event()

    async def pump(self):
        try:
            async for unit in self.socket:
                self.units.put(unit)
        except websockets.ConnectionClosed:
            pass
        finally:
            self.closed.set()
            self.units.put(None)

    def send(self, unit):
        try:
            _Loop.run(self.socket.send(unit))
        except websockets.ConnectionClosed:
            raise ConnectionError("closed") from None

    def recv(self, timeout):
        """The next unit, or None when the connection is over."""
        if self.closed.is_set() and self.units.empty():
            return None
        try:
            unit = self.units.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError("nothing came for %.1f s" % timeout) from None
        if unit is None:
            self.units.put(None)
        return unit

    def close(self):
        try:
            _Loop.run(self.socket.close())
        except Exception:  # already gone
            pass

    @property
    def close_code(self):
        return self.socket.close_code

    @property
    def extensions(self):
        return list(self.socket.extensions)


def client_tls():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    return tls


def server_tls(cert, key):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(cert, key)
    return tls


# --- a running peer -----------------------------------------------------------------------------------
class Session:
    """One conversation after the handshake, with the receive pipeline of the newest old daemon."""

    def __init__(self, peer, channel, remote, dialled):
        self.peer = peer
        self.config = peer.config
        self.me = peer.config.identity
        self.channel = channel
        self.remote = remote
        self.dialled = dialled
        self.lock = threading.RLock()
        self.key, self.sequence, self.replay, self.expected = remote.key, 0, Replay(), 1
        self.previous = None             # (key, Replay, expires), final generation only
        self.pending_rekey = None        # (rekey_id, private)
        self.rekeys = 0
        self.messages = queue.Queue()    # user messages that arrived
        self.controls = []               # every control message that arrived
        self.drops, self.complaints = [], []
        self.seen = set()
        self.tokens, self.tokens_at = 100.0, time.monotonic()
        self.pongs = queue.Queue()
        self.over = threading.Event()
        threading.Thread(target=self._read, name="peer09-session", daemon=True).start()

    # sending
    def send(self, type="MSG", payload=b"", destination=None, inner="v2", tag=True, sealed=None, msg_id=None,
             source=None, frame=None, **more):
        """Sends one message and returns it. `inner`: v2, v1 or None. `sealed`: None, "beside" or "strict",
        with the advertised key, or with "-converted" behind it the one made of the Ed25519 key.
        `frame`: keyword arguments of seal_frame(). The rest goes to Message()."""
        payload = payload.encode() if isinstance(payload, str) else payload
        if self.config.generation == "ts":
            more.setdefault("ttl", 3)
            more.setdefault("source_display", self.config.name)
            inner = None
            msg_id = msg_id or os.urandom(16).hex()
        message = Message(type, payload, msg_id, source or self.me.id,
                          self.remote.id if destination is None else destination, **more)
        if inner:
            message.sign(self.me, inner, tag)
        frame = dict(frame or {})
        if sealed:
            to = converted_public(self.remote.public) if "converted" in sealed else self.remote.sealing_key()
            message.e2e = seal(payload, to)
            if sealed.startswith("strict"):
                frame.setdefault("clear", b"")
        with self.lock:
            self.sequence += 1
            message.sequence = self.sequence
            self.channel.send(seal_frame(message, self.key, self.me, **frame))
        return message

    def control(self, type, **fields):
        payload = compact(dict({"type": type, "from": self.me.id}, **fields)).encode()
        scheme = "v2" if self.config.modern else "v1"
        return self.send(type, payload, destination="*", msg_id=os.urandom(16).hex(), ttl=3, inner=scheme,
                         tag=self.config.modern)

    def ping(self, timeout=5.0):
        began = time.monotonic()
        self.control("PING")
        self.pongs.get(timeout=timeout)
        return time.monotonic() - began

    # receiving
    def recv(self, timeout=8.0):
        """The next user message."""
        try:
            return self.messages.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("no message came for %.1f s; dropped: %s; complaints: %s"
                                 % (timeout, self.drops, self.complaints)) from None

    def _read(self):
        while True:
            try:
                unit = self.channel.recv(3600)
            except TimeoutError:
                continue
            if unit is None:
                break
            try:
                self._take(unit, time.time())
            except Drop as reason:
                self.drops.append(str(reason))
            except ConnectionError:
                break
            except Exception as problem:  # a bug of this file must fail the test, not hang it
                self.complaints.append("exception %r" % problem)
        self.over.set()

    def _bucket(self):
        now = time.monotonic()
        self.tokens = min(100.0, self.tokens + 20.0 * (now - self.tokens_at))
        self.tokens_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def _take(self, unit, now):
        if not self._bucket():
            if self.config.answers:
                self.control("RATE_LIMITED")
            raise Drop("rate-limited")
        if not isinstance(unit, bytes):
            self.complaints.append("text after the handshake: %r" % unit[:80])
            raise Drop("text")
        with self.lock:
            if self.previous and time.monotonic() > self.previous[2]:
                self.previous = None
            keys = [self.key] + ([self.previous[0]] if self.previous else [])
            message, header, used, text = open_frame(unit, keys, self.remote.public)
            replay = self.replay if used == 0 else self.previous[1]
            refusal = replay.refusal(header.sequence, message.timestamp, now)
            if refusal:
                raise Drop(refusal)
            if used == 0:
                self.complaints += lint_frame(unit, message, header, text, self.remote, self.expected, now)
                self.expected = header.sequence + 1
        self._pipeline(message)

    def _pipeline(self, m):
        direct = m.source == self.remote.id
        mesh = self.peer.mesh
        key = self.remote.public if direct else self.peer.known.get(m.source)

        def check_inner():
            if m.type not in USER_TYPES:
                return
            if m.signature is None:
                if not direct:
                    raise Drop("inner-missing")
            elif key is None or not m.inner_verifies(key):
                raise Drop("inner-signature")
        elsewhere = m.destination not in (self.me.id, "*", "")
        if m.e2e is None:
            check_inner()
            if m.routing.get("compressed") and not elsewhere:
                m.payload = gzip.decompress(m.payload)
        if m.type in ("ROUTE_ANNOUNCE", "ROUTE_UNREACHABLE"):
            self.controls.append(m)
            if mesh:
                mesh.control(self, m)
            return
        if elsewhere:
            if not mesh:
                raise Drop("not-for-me")
            mesh.transit(self, m)
            return
        if m.e2e is not None and self.config.generation not in ("ts", "old"):
            clear = m.payload
            m.payload = self.me.unseal(m.e2e)
            if m.payload is None:
                raise Drop("unseal")
            m.clear_copy = clear
            check_inner()
        if (m.source, m.msg_id) in self.seen:
            raise Drop("duplicate")
        self.seen.add((m.source, m.msg_id))
        if m.type in USER_TYPES:
            self.messages.put(m)
            return
        self.controls.append(m)
        handler = {"PING": self._on_ping, "PONG": self._on_pong, "REKEY_REQUEST": self._on_rekey_request,
                   "REKEY_RESPONSE": self._on_rekey_response}.get(m.type)
        if handler and (self.config.answers or m.type == "PONG"):
            handler(json.loads(m.payload))

    def _on_ping(self, _):
        self.control("PONG")

    def _on_pong(self, _):
        self.pongs.put(True)

    # rekey
    def _switch(self, key):
        grace = self.config.generation in ("final", "strict")
        self.previous = (self.key, self.replay, time.monotonic() + 30.0) if grace else None
        self.key, self.sequence, self.replay, self.expected = key, 0, Replay(), 1
        self.rekeys += 1

    def rekey(self, timeout=5.0):
        """Begins one and waits until it is done."""
        with self.lock:
            before = self.rekeys
            private = os.urandom(32)
            self.pending_rekey = (str(uuid.uuid4()), private)
            self.control("REKEY_REQUEST", new_ephemeral_public=b64(nacl.bindings.crypto_scalarmult_base(private)),
                         rekey_id=self.pending_rekey[0])
        deadline = time.monotonic() + timeout
        while self.rekeys == before:
            if time.monotonic() > deadline:
                raise AssertionError("the rekey was not answered; dropped: %s" % self.drops)
            time.sleep(0.01)

    def _on_rekey_request(self, request):
        with self.lock:
            if self.pending_rekey and self.me.id < self.remote.id:
                return
            self.pending_rekey = None
            private = os.urandom(32)
            key = session_key(private, unb64(request["new_ephemeral_public"]))
            self.control("REKEY_RESPONSE", new_ephemeral_public=b64(nacl.bindings.crypto_scalarmult_base(private)),
                         rekey_id=request["rekey_id"])
            self._switch(key)

    def _on_rekey_response(self, response):
        with self.lock:
            if not self.pending_rekey or response["rekey_id"] != self.pending_rekey[0]:
                return
            private = self.pending_rekey[1]
            self.pending_rekey = None
            self._switch(session_key(private, unb64(response["new_ephemeral_public"])))

    def close(self):
        self.channel.close()
        self.over.wait(5)


class OldPeer:
    """A peer that dials and listens. Sessions that were accepted come out of accept()."""

    def __init__(self, **config):
        self.config = Config(**config)
        self.accepted = queue.Queue()
        self.failures = queue.Queue()    # handshakes of callers that failed, with the reason
        self.server = None
        self.sessions = []
        self.mesh = None                 # oldmesh.Mesh: it routes
        self.known = {}                  # id -> Ed25519 key, of others than the neighbours

    @property
    def id(self):
        return self.config.identity.id

    def dial(self, host, port, tls=True, source=None, timeout=10.0):
        """Connects, shakes hands and returns the Session. HandshakeError when it is refused."""
        channel = dial_channel(host, port, tls, source, timeout)
        try:
            remote = client_handshake(channel, self.config, timeout)
        except BaseException:
            channel.close()
            raise
        session = Session(self, channel, remote, True)
        self.sessions.append(session)
        return session

    def listen(self, port, tls=None, host="127.0.0.1"):
        """`tls`: an SSLContext, or None for plain."""
        async def serve():
            return await websockets.serve(self._caller, host, port, ssl=tls, max_size=MAX_UNIT)
        self.server = _Loop.run(serve())
        self.port = port
        return self

    async def _caller(self, socket, path=None):
        channel = WsChannel(socket)

        def shake():
            try:
                session = Session(self, channel, server_handshake(channel, self.config), False)
                self.sessions.append(session)
                self.accepted.put(session)
            except Exception as problem:
                self.failures.put(problem)
                channel.close()
        threading.Thread(target=shake, name="peer09-caller", daemon=True).start()
        await channel.pump()

    def accept(self, timeout=15.0):
        try:
            return self.accepted.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("nobody called within %.1f s; failures: %s"
                                 % (timeout, list(self.failures.queue))) from None

    def close(self):
        for session in self.sessions:
            session.close()
        if self.server:
            async def stop(server):
                server.close()
                await server.wait_closed()
            _Loop.run(stop(self.server))
            self.server = None


def dial_channel(host, port, tls=True, source=None, timeout=10.0):
    """A WebSocket to a daemon before any handshake; OSError when it is not accepted."""
    async def open_it():
        more = {"local_addr": (source, 0)} if source else {}
        socket = await websockets.connect("%s://%s:%d" % ("wss" if tls else "ws", host, port),
                                          ssl=client_tls() if tls else None, max_size=MAX_UNIT,
                                          open_timeout=timeout, **more)
        channel = WsChannel(socket)
        asyncio.get_running_loop().create_task(channel.pump())
        return channel
    try:
        return _Loop.run(open_it(), timeout + 5)
    except (websockets.WebSocketException, asyncio.TimeoutError) as problem:
        raise ConnectionError("%s: %s" % (type(problem).__name__, problem)) from None
