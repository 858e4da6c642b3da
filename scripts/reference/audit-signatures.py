"""Makes test/golden/audit/signed.json: a small folder signed by OpenSSF's own tool, once by a key, once by a certificate.

    python scripts/reference/audit-signatures.py        (needs model-signing, pyOpenSSL and openssl; versions go into the file)

Keys are made for this alone and thrown away. The tool itself verifies both signatures before they are kept.
"""

import datetime
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "test" / "golden" / "audit" / "signed.json"
FILES = {"config.json": "{}\n", "sub/notes.txt": "deep\n", "weights.safetensors": "weights\n"}
CONFIG = """[req]
distinguished_name=dn
[dn]
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
[leaf]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
"""


def run(*words, cwd):
    subprocess.run(words, cwd=cwd, check=True, capture_output=True)


def sign(folder, *words):
    run(str(pathlib.Path(sys.executable).parent / "model_signing"), *words, cwd=folder)


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for path, text in FILES.items():
        (folder / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "model" / path).write_text(text)
    (folder / "openssl.cnf").write_text(CONFIG)
    for key, curve in (("signer", "prime256v1"), ("other", "prime256v1"), ("root", "secp384r1"), ("leaf", "secp384r1")):
        run("openssl", "ecparam", "-genkey", "-name", curve, "-noout", "-out", f"{key}.key", cwd=folder)
        run("openssl", "ec", "-in", f"{key}.key", "-pubout", "-out", f"{key}.pub", cwd=folder)
    run("openssl", "req", "-x509", "-new", "-key", "root.key", "-days", "36500", "-subj", "/CN=Hadal test root", "-config", "openssl.cnf", "-extensions", "ca", "-out", "root.pem", cwd=folder)
    run("openssl", "req", "-new", "-key", "leaf.key", "-subj", "/CN=Hadal test signer", "-config", "openssl.cnf", "-out", "leaf.csr", cwd=folder)
    run("openssl", "x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "36500", "-extfile", "openssl.cnf", "-extensions", "leaf", "-out", "leaf.pem", cwd=folder)
    sign(folder, "sign", "key", "model", "--private_key", "signer.key", "--signature", "key.sig")
    sign(folder, "verify", "key", "model", "--public_key", "signer.pub", "--signature", "key.sig")
    sign(folder, "sign", "certificate", "model", "--private_key", "leaf.key", "--signing_certificate", "leaf.pem", "--certificate_chain", "root.pem", "--signature", "certificate.sig")
    sign(folder, "verify", "certificate", "model", "--certificate_chain", "root.pem", "--signature", "certificate.sig")
    text = lambda path: (folder / path).read_text()
    kept = {
        "certificate": {
            "what": "a folder signed with OMS v1.0 by a key and by a certificate, and what to trust",
            "script": "scripts/reference/audit-signatures.py",
            "model-signing": importlib.metadata.version("model-signing"),
            "date": datetime.date.today().isoformat(),
        },
        "files": FILES,
        "keyBundle": text("key.sig"),
        "certificateBundle": text("certificate.sig"),
        "signerKey": text("signer.pub"),
        "otherKey": text("other.pub"),
        "root": text("root.pem"),
        "leaf": text("leaf.pem"),
    }
    OUT.write_text(json.dumps(kept, indent=1) + "\n")
