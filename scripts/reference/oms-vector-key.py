"""Finds the public key of the specification's vector that is signed by a key, which comes without it.

    python scripts/reference/oms-vector-key.py key.bundle.json        (nothing but Python)

A signature by ECDSA fits two keys, which follow from it and from what it signs (SEC 1, section 4.1.6). Which of them it is
says the bundle: its `hint` is the SHA-256 of the signer's key in PEM, as model_signing writes it. So that the key is the right one
does not hang on the signature that it verifies. Prints the key, or ends with an error where neither fits.
"""

import base64
import hashlib
import json
import sys

# P-384.
P = 2**384 - 2**128 - 2**96 + 2**32 - 1
A = P - 3
B = 0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
BASE = (
    0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
    0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
)
SPKI = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200")


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = (3 * a[0] ** 2 + A) * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope**2 - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(count, point):
    total = None
    while count:
        if count & 1:
            total = add(total, point)
        point = add(point, point)
        count >>= 1
    return total


def numbers(der):
    """r and s of a signature."""
    at, found = 2, []
    for _ in range(2):
        length = der[at + 1]
        found.append(int.from_bytes(der[at + 2 : at + 2 + length], "big"))
        at += 2 + length
    return found


bundle = json.load(open(sys.argv[1]))
envelope = bundle["dsseEnvelope"]
payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
r, s = numbers(base64.b64decode(envelope["signatures"][0]["sig"]))
digest = int.from_bytes(hashlib.sha384(signed).digest(), "big")
root = pow(r**3 + A * r + B, (P + 1) // 4, P)
for y in (root, P - root):
    inverse = pow(r, -1, ORDER)
    x, y = add(times(s * inverse % ORDER, (r, y)), times(-digest * inverse % ORDER, BASE))
    text = base64.b64encode(SPKI + b"\x04" + x.to_bytes(48, "big") + y.to_bytes(48, "big")).decode()
    lines = "".join(f"{text[i:i + 64]}\n" for i in range(0, len(text), 64))
    pem = f"-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n"
    if hashlib.sha256(pem.encode()).hexdigest() == bundle["verificationMaterial"]["publicKey"]["hint"]:
        print(pem, end="")
        break
else:
    sys.exit("neither key has the digest that the bundle gives")
