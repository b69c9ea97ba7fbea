"""proxy -- who sits between two daemons: a TCP relay that cuts, counts, records and rewrites.

Over TLS it is an outage and nothing more. Over plain ws:// it reads the WebSocket frames of both directions: `units`
is what passed, and `rewrite(from_listener, opcode, payload)` gives what passes instead (None: as it is).
"""
import os
import socket
import struct
import threading

from rawws import BINARY, TEXT


class Frames:
    """One direction of a WebSocket, whole frames out of a stream of pieces."""

    def __init__(self):
        self.buffer = b""
        self.upgraded = False

    def feed(self, piece):
        """(None, raw) for what is no frame, else (frame fields, raw)."""
        self.buffer += piece
        if not self.upgraded:
            if b"\r\n\r\n" not in self.buffer:
                return
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            self.upgraded = True
            yield None, head + b"\r\n\r\n"
        while len(self.buffer) >= 2:
            n, at = self.buffer[1] & 127, 2
            if n > 125:
                at = 4 if n == 126 else 10
                if len(self.buffer) < at:
                    return
                n = int.from_bytes(self.buffer[2:at], "big")
            key = b""
            if self.buffer[1] & 128:
                key = self.buffer[at:at + 4]
                at += 4
            if len(self.buffer) < at + n:
                return
            raw, self.buffer = self.buffer[:at + n], self.buffer[at + n:]
            payload = raw[at:]
            if key:
                payload = xor(payload, key)
            yield (raw[0] & 15, bool(raw[0] & 128), payload), raw


def xor(payload, key):
    pad = (key * (len(payload) // 4 + 1))[:len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(payload), "big")


def frame(opcode, payload, mask):
    n, bit = len(payload), 0x80 if mask else 0
    head = bytes([0x80 | opcode])
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if mask:
        key = os.urandom(4)
        return head + key + xor(payload, key)
    return head + payload


class Proxy:
    def __init__(self, port, target, plain=False, rewrite=None):
        """Listens on 127.0.0.1:`port` for 127.0.0.1:`target`. `plain`: TLS is refused, so that diallers that may
        fall back to ws://."""
        self.target, self.plain, self.rewrite = target, plain, rewrite
        self.open = True            # False: callers are turned away
        self.units = []             # (from_listener, payload) of whole data frames, plain only
        self.calls = 0
        self.lock = threading.Lock()
        self.pairs = []
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", port))
        self.server.listen(16)
        self.port = port
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def _accept(self):
        while True:
            try:
                caller, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller):
        try:
            first = caller.recv(65536)
            if not self.open or not first or (self.plain and first[:1] == b"\x16"):
                caller.close()
                return
            callee = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            caller.close()
            return
        for s in (caller, callee):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.pairs.append((caller, callee))
            self.calls += 1
        threading.Thread(target=self._pump, args=(callee, caller, True, b""), daemon=True).start()
        self._pump(caller, callee, False, first)

    def _pump(self, source, sink, from_listener, piece):
        frames = Frames() if self.plain else None
        try:
            while True:
                if piece and not frames:
                    sink.sendall(piece)
                elif piece:
                    for fields, raw in frames.feed(piece):
                        sink.sendall(self._passed(from_listener, fields, raw))
                piece = source.recv(65536)
                if not piece:
                    break
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _passed(self, from_listener, fields, raw):
        if not fields:
            return raw
        opcode, fin, payload = fields
        if opcode in (TEXT, BINARY) and fin:
            instead = self.rewrite(from_listener, opcode, payload) if self.rewrite else None
            with self.lock:
                self.units.append((from_listener, payload))
            if instead is not None:
                return frame(opcode, instead, not from_listener)
        return raw

    def cut(self):
        """Ends every connection of now; new ones pass."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()

    def close(self):
        self.server.close()
        self.cut()
