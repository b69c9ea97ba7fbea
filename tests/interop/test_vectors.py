#!/usr/bin/python3
"""peer09 against the published vectors of the old wire: what checks others must be right itself."""
import hashlib
import json
import sys

import nacl.bindings
import nacl.utils

import peer09 as p

passed = failed = 0


def is_equal(title, got, want):
    global passed, failed
    if got == want:
        passed += 1
    else:
        failed += 1
        print("  FAIL %s\n    got  %r\n    want %r" % (title, got, want))


S = p.Identity(bytes(32), bytes(range(1, 17)))
PASS = "testpassphrase1234"
NONCE = bytes(range(32))
A, B = b"\1" * 32, b"\2" * 32
BOX_NONCE = bytes(range(24))
T = 1753500000.25
BOB = "28fff9342c7030d3d899cc9e7bc11878"


def identity():
    is_equal("ed25519 public", S.public.hex(), "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
    is_equal("node id", S.id, "139e3940e64b5491722088d9a0d74162")
    is_equal("x25519 seed", S.x_secret.hex(), "ce7108ff0eca1ceecad3694e28326172e3ee1bc42cce6b12f10decc128d090ab")
    is_equal("x25519 public", S.x_public.hex(), "c6dba2b75b4701f39f307f2e9b94ad2a1bcadf360936a8cc502c24c6968dca5f")
    is_equal("x25519 binding", S.binding.hex(),
             "36ec773252ec8cae3f53948091f0f2159b26edf449ab38f1f6c4cf17eadd340220a338caa13f3641139b038658006e9cb5c6"
             "f62001d2cb71b2debadaccb2300e")
    is_equal("converted public", p.converted_public(S.public).hex(),
             "5bf55c73b82ebe22be80f3430667af570fae2556a6415e6b30d4065300aa947d")
    is_equal("converted secret", S.converted_secret().hex(),
             "5046adc1dba838867b2bbbfdd0c3423e58b57970b5267a90f57960924a87f156")
    for name, length in (("hello", 22), ("capability-announce", 36), ("trust-pin-export", 33),
                         ("x25519-identity-binding", 40), ("frame-outer", 28), ("frame-inner-source", 35),
                         ("revocation", 27), ("invite", 23)):
        is_equal("context " + name, len(p.context(name)), length)
    is_equal("context bytes", p.context("frame-inner-source").hex(),
             "69726f6e6d6573682d7369672d76312f6672616d652d696e6e65722d736f7572636500")
    for key, want in (("r0DH10r8vnEvP/5I72gGjqNveh2zV+D5P4rqFImMUB8=", "99c7282c98a15293b19a897d89e14548"),
                      ("AOHgeRjh99sSDDITSyRW6qKMPuT0gHPYfgBlqSDWfag=", BOB),
                      ("mtqMfWa4zTVezJVMWjv0wOqTGXcvEkCpeg6Ob4teXHo=", "1ba145aa2ed6fa01ea237b28e569dbb6")):
        is_equal("node id of " + key, p.node_id(p.unb64(key)), want)


def stage_1():
    is_equal("proof", p.client_proof(PASS, NONCE), "2cd3ec826f5114f1c45332b7ba24285c9983aaa0f757c14066d09dc46027eacb")
    is_equal("server proof", p.server_proof(PASS, NONCE),
             "d892d7184297ea4d7d6820dc36916cb95bf4e688190fc6172ee4afa8bb76b079")
    is_equal("proof of a UTF-8 passphrase", p.client_proof("p\u00e4ssw\u00f6rd-mesh-\u6d4b\u8bd5", NONCE),
             "125960b09ed5262205a97c02edda9b75670f3c86e67df0a6173c1d411de84c9a")
    mirror = bytes.fromhex("000102030405060708090a0b0c0d0e0f0f0e0d0c0b0a09080706050403020100")
    is_equal("palindrome", (p.client_proof(PASS, mirror), p.server_proof(PASS, mirror)),
             ("b8100c7706354776559a37ccf64ca35b540ec759ef612b70cc1ed61b0bdcfd66",) * 2)
    is_equal("skip sentinel", p.SKIP_SENTINEL, "d56294e40f47c8c7a524ec8c0fd83711968de30b951414088b82014b131d79ef")


def versions():
    for text, want in (("ironmesh/0.9", (0, 9)), ("ironmesh/0.5.2", (0, 5)), ("ironmesh/1.0", (1, 0)),
                       ("ironmesh/0.10", (0, 10)), ("foo/0.9", (0, 9)), ("0.9", (0, 0)), ("ironmesh/0", (0, 0)),
                       ("ironmesh/0.x", (0, 0)), ("", (0, 0))):
        is_equal("version %r" % text, p.parse_version(text), want)


def hello_of(version, name="alice", **more):
    hello = {"type": "HELLO", "from": S.id, "name": name,
             "ephemeral_public": p.b64(nacl.bindings.crypto_scalarmult_base(A)), "identity_public": p.b64(S.public),
             "protocol_version": version, "channel_binding": NONCE.hex()}
    hello.update(more)
    return hello


def hello():
    one = hello_of("ironmesh/0.9")
    is_equal("ephemeral A", one["ephemeral_public"], "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=")
    is_equal("canonical length", len(p.hello_canonical(one)), 266)
    want = ("eNHAlo/+lsTfUYGhIYOgjbB+jeMUJiXB8yeX8rp+aoMU+kBndJ2v2PrTXTnT6eQ7I2UQwKUDW9rd5sQ38lA7Cg==")
    is_equal("context signature", p.hello_signature(S, one, "context"), want)
    is_equal("it verifies", p.hello_verifies(dict(one, signature=want), "context"), True)
    is_equal("not as attached", p.hello_verifies(dict(one, signature=want), "attached"), False)
    old = hello_of("ironmesh/0.8")
    signature = p.unb64(p.hello_signature(S, old, "attached"))
    is_equal("attached length", len(signature), 330)
    is_equal("attached signature", hashlib.sha256(signature).hexdigest(),
             "a527ba919a40ea07fc10236b21b43f56da69757bfe8316baefb9be3b3edf16fe")
    is_equal("it verifies", p.hello_verifies(dict(old, signature=p.b64(signature)), "attached"), True)
    rns = hello_of("ironmesh/0.9", rns_link_id="00112233445566778899aabbccddeeff")
    is_equal("six keys", p.unb64(p.hello_signature(S, rns, "context")).hex(),
             "9cddbc0cb561458f477bb5a71c1e5bc418eca258de8e49b6888f41bd6e4e5e9de401271031f1d6bdb67b470357f4c1d6fe99fb5b"
             "cb89289f473f571bb3713b0c")
    odd = hello_of("ironmesh/0.9", "caf\u00e9-\U0001f600\"\\/\x7f\t")
    is_equal("escaping length", len(p.hello_canonical(odd)), 296)
    is_equal("escaping", p.unb64(p.hello_signature(S, odd, "context")).hex(),
             "8e0a7c71cae3fdd21adf6d81738b5d34ccdfe5dab1be57c9e3c668c778877ed2d02a905d47da10969eca118b7ccc83426d4b6021b5"
             "d1512dbece22033d7f1102")
    config = p.Config(S, "alice", PASS)
    is_equal("whole HELLO", len(json.dumps(p.make_hello(config, NONCE.hex(), A, "context"))), 634)
    key = p.session_key(A, nacl.bindings.crypto_scalarmult_base(B))
    is_equal("session key", key.hex(), "18a99320f3488fa18a04239715d8ee738065e65c3d4b2898522d6c3d4ead588c")
    is_equal("session key of the other side", p.session_key(B, nacl.bindings.crypto_scalarmult_base(A)), key)


def numbers():
    for value, want in ((1736812800.0, "1736812800.0"), (1753500000.1234567, "1753500000.1234567"), (1e15, "1000000000000000.0"),
                        (1e16, "1e+16"), (0.00001, "1e-05"), (5e-324, "5e-324"), (-0.0, "-0.0")):
        is_equal("number %r" % value, p.canonical(value).decode(), want)
    is_equal("string", p.canonical("\x7f\x80\u2028/<>&\U0001f600\0\x1f\"\\").decode(),
             '"\\u007f\\u0080\\u2028/<>&\\ud83d\\ude00\\u0000\\u001f\\"\\\\"')


def frame():
    key = bytes.fromhex("18a99320f3488fa18a04239715d8ee738065e65c3d4b2898522d6c3d4ead588c")
    m = p.Message("MSG", b"hello mesh", bytes(range(16)).hex(), S.id, BOB, T, "HIGH", 5, sequence=1)
    is_equal("inner input", len(p.inner_input("v2", m.source, m.destination, m.msg_id, m.payload)), 35 + 122)
    m.sign(S)
    is_equal("v2", m.signature.hex(),
             "f4b23c5e6a751557f0511caafedb06555ee87cf04d641258aefe3a4d4a363ec7ecde31ce52b370a73cc6911eaedcaaee78882f86f0230"
             "5cbaf7ae7fe87be7107")
    is_equal("body length", len(p.compact(m.body())), 467)
    data = p.seal_frame(m, key, S, nonce=BOX_NONCE)
    is_equal("header", data[:32].hex(), "e7f6040d00000000000000010000019844be9ffad65df89f702eec58000001fb")
    is_equal("frame length", len(data), 603)
    is_equal("frame", hashlib.sha256(data).hexdigest(), "e8868a0e6ce45c0b02887b485dc402c4c4de4756a70ca64c6b0c372c67a59b58")
    got, header, used, text = p.open_frame(data, [bytes(32), key], S.public)
    is_equal("opens", (got.payload, got.msg_id, header.sequence, used), (b"hello mesh", m.msg_id, 1, 1))
    is_equal("inner verifies", got.inner_verifies(S.public), True)
    remote = type("Remote", (), {"id": S.id})
    is_equal("no complaint", p.lint_frame(data, got, header, text, remote, 1, T), [])
    m.e2e = p.unb64("Xf7dO2vUf2+ijuFdlp1bsOpTd01Ii9r53xxuASSz7yLWLi7goL5bZRuV9i+WU+k9q0cWJjlU7Y3Tzg==")
    is_equal("beside", len(p.compact(m.body())), 564)
    is_equal("strict", len(p.compact(m.body(b""))), 548)
    v1 = p.Message("MSG", b"hello mesh").sign(S, "v1")
    is_equal("v1", v1.signature.hex(),
             "d267a424f1746545b119d4a6d958b8aee6ec46103dcbe96c5bba851f10ec3511e03b82207c643455b7630e0be232530c9faf51240f7d78df"
             "b225e935121e780b")
    ping = p.Message("PING", ('{"type":"PING","from":"%s"}' % S.id).encode(), bytes(range(15, -1, -1)).hex(), S.id, "*", T,
                     ttl=3, sequence=7).sign(S)
    is_equal("PING", p.b64(ping.signature),
             "jg3W9tCYD/XnH+lIEAzbs3UWFk+NrfDclafNaN5P/CuvmbXW41kQ7SFmY8jiqdPA01HM8SrcOfP0aq6L78GqCg==")
    for name, change in (("one byte changed", lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:]),
                         ("version 5", lambda d: d[:2] + b"\5" + d[3:]), ("one byte less", lambda d: d[:-1]),
                         ("not encrypted", lambda d: d[:3] + b"\x09" + d[4:])):
        try:
            p.open_frame(change(data), [key], S.public)
            is_equal(name, "opened", "dropped")
        except p.Drop:
            is_equal(name, "dropped", "dropped")


def sealed():
    to_master = bytes.fromhex("5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22d62e2ee0a0be5b651b95f62f9653e93dab4716"
                              "263954ed8dd3ce")
    to_converted = bytes.fromhex("5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef225ad0cd8ea913c99363a32f0bb08f5938880"
                                 "1d98ca88a1de35644")
    legacy = p.Identity(bytes(32), master_seed=False)
    is_equal("master-seed key", S.unseal(to_master), b"hello mesh")
    is_equal("master-seed identity opens only that", S.unseal(to_converted), None)
    is_equal("converted key", legacy.unseal(to_converted), b"hello mesh")
    is_equal("round trip", S.unseal(p.seal(b"x", S.x_public)), b"x")


def replay():
    now = 1753500000.0
    r = p.Replay()
    table = ((1, 0, None), (1, 0, "replay"), (5, -29.9, None), (4, 0, "replay"), (6, -30.1, "old"), (6, 4.9, None),
             (7, 5.1, "future"), (0, 0, "zero"), (281474976710657, 0, "large"), (281474976710656, 0, None))
    for i, (sequence, offset, want) in enumerate(table, 1):
        is_equal("replay %d" % i, r.refusal(sequence, now + offset, now), want)
    is_equal("everything later", r.refusal(7, now, now), "replay")


if __name__ == "__main__":
    for test in (identity, stage_1, versions, hello, numbers, frame, sealed, replay):
        test()
    print("test_vectors: %d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)
