"""backupfile -- backups of docs/backup-format.md read and made by other code than the program's: PyNaCl, hashlib, tarfile, libzstd."""
import ctypes
import hashlib
import hmac
import io
import json
import os
import struct
import tarfile

import nacl.bindings as sodium
from nacl.pwhash import argon2id

MAGIC = b"IRONMESH BACKUP\n"
HEADER = 104
TAG = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
FINAL = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
MESSAGE = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
CHEAP = (1, 8192)  # passes, KiB: the least that is read
_zstd = ctypes.CDLL("libzstd.so.1")
_zstd.ZSTD_compressBound.restype = _zstd.ZSTD_compress.restype = _zstd.ZSTD_decompress.restype = ctypes.c_size_t


def compress(plain):
    room = _zstd.ZSTD_compressBound(ctypes.c_size_t(len(plain)))
    out = ctypes.create_string_buffer(room)
    n = _zstd.ZSTD_compress(out, ctypes.c_size_t(room), plain, ctypes.c_size_t(len(plain)), 3)
    return out.raw[:n]


def decompress(packed, most=1 << 28):
    """A frame of unknown size: through libzstd's streaming interface."""
    class Buffer(ctypes.Structure):
        _fields_ = [("p", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]
    _zstd.ZSTD_createDStream.restype = ctypes.c_void_p
    _zstd.ZSTD_decompressStream.restype = ctypes.c_size_t
    stream = ctypes.c_void_p(_zstd.ZSTD_createDStream())
    source = ctypes.create_string_buffer(packed, len(packed))
    piece = ctypes.create_string_buffer(1 << 17)
    given = Buffer(ctypes.addressof(source), len(packed), 0)
    out = b""
    while len(out) < most:
        took = Buffer(ctypes.addressof(piece), 1 << 17, 0)
        left = _zstd.ZSTD_decompressStream(stream, ctypes.byref(took), ctypes.byref(given))
        assert not _zstd.ZSTD_isError(ctypes.c_size_t(left)), "zstd"
        out += piece.raw[:took.pos]
        if left == 0 or (took.pos == 0 and given.pos == given.size):
            break
    _zstd.ZSTD_freeDStream(stream)
    return out


def keys(passphrase, salt, ops, mem):
    stretched = argon2id.kdf(32, passphrase, salt, opslimit=ops, memlimit=mem * 1024)
    prk = hmac.new(salt, stretched, hashlib.sha256).digest()
    one = hmac.new(prk, b"ironmesh-backup-v1\x01", hashlib.sha256).digest()
    two = hmac.new(prk, one + b"ironmesh-backup-v1\x02", hashlib.sha256).digest()
    return one, two


def seal(plain, passphrase, cost=CHEAP, chunk=65536, final=True, version=1, tag=MESSAGE):
    salt = os.urandom(16)
    key, mac_key = keys(passphrase, salt, *cost)
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    begin = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
    head = MAGIC + struct.pack(">HBBIII", version, 1, 1, cost[0], cost[1], chunk) + salt + begin
    head += hmac.new(mac_key, head, hashlib.sha256).digest()
    assert len(head) == HEADER
    out = head
    pieces = [plain[i:i + chunk] for i in range(0, len(plain), chunk)] or [b""]
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        out += sodium.crypto_secretstream_xchacha20poly1305_push(state, piece, head, FINAL if last and final else tag)
    return out


def unseal(data, passphrase):
    head = data[:HEADER]
    assert head[:16] == MAGIC
    version, kdf, cipher, ops, mem, chunk = struct.unpack(">HBBIII", head[16:32])
    assert (version, kdf, cipher) == (1, 1, 1)
    key, mac_key = keys(passphrase, head[32:48], ops, mem)
    assert hmac.compare_digest(hmac.new(mac_key, head[:72], hashlib.sha256).digest(), head[72:])
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, head[48:72], key)
    out, at = b"", HEADER
    while True:
        piece, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, data[at:at + chunk + TAG], head)
        out += piece
        at += chunk + TAG
        if tag == FINAL:
            assert at >= len(data)
            return out


def read(path, passphrase):
    """(manifest, {name: bytes}) of a file."""
    with open(path, "rb") as f:
        plain = decompress(unseal(f.read(), passphrase))
    members = {}
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        order = tar.getmembers()
        for m in order:
            assert m.isreg() and m.mtime == 0 and m.uid == 0 and m.gid == 0 and m.mode == 0o600, m
            members[m.name] = tar.extractfile(m).read()
    assert order[0].name == "manifest.json"
    manifest = json.loads(members.pop("manifest.json"))
    assert [f["name"] for f in manifest["files"]] == [m.name for m in order[1:]]
    for f in manifest["files"]:
        assert f["bytes"] == len(members[f["name"]]) and f["sha256"] == hashlib.sha256(members[f["name"]]).hexdigest()
    return manifest, members


def manifest_of(members, like, **change):
    files = [{"name": n, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in members]
    return dict(like, files=files, **change)


def make(path, passphrase, manifest, members, compressed=True, alter=None, **how):
    """members: [(name, bytes or TarInfo)]. `alter` changes the plain tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        for name, data in [("manifest.json", text)] + list(members):
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
    plain = out.getvalue()
    if alter:
        plain = alter(plain)
    with open(path, "wb") as f:
        f.write(seal(compress(plain) if compressed else plain, passphrase, **how))
