/**
 * Owns: signatures against the vectors of the specification and against a folder that its own tool signed.
 */
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { describeWith } from '../../test/fixtures/needs.ts';
import { auditPath } from './audit.node.ts';
import { readSignature, readTrust, verifySignature } from './signature.ts';

const kept = JSON.parse(
  readFileSync(new URL('../../test/golden/audit/signed.json', import.meta.url), 'utf8'),
) as {
  files: Record<string, string>;
  keyBundle: string;
  certificateBundle: string;
  signerKey: string;
  otherKey: string;
  root: string;
  leaf: string;
};
/** The vector comes without it: scripts/reference/oms-vector-key.py finds it by the digest that the bundle gives. */
const VECTOR_KEY = `-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEsu6rZGBTjxtvRWPMixT+3HyndV0J0Ybt
aHZUcO4DEK+OJHO/4e32bb/fbJKSpRgcBsIpKLcVijUomyFOERbd7u+BTPSUjGZD
Qq6J7lTvp/EAXQGOKxW9RP0MGX3qAkvi
-----END PUBLIC KEY-----
`;
const now = Date.parse('2027-01-01');
interface Bundle {
  dsseEnvelope: { payload: string; signatures: { sig: string }[] };
}
interface Statement {
  predicateType: string;
  subject: { digest: { sha256: string } }[];
  predicate: {
    resources: { name: string; algorithm: string }[];
    serialization: { method: string };
  };
}
const changed = <T = Bundle>(bundle: string, change: (json: T) => unknown) => {
  const json = JSON.parse(bundle) as T;
  change(json);
  return JSON.stringify(json);
};
const code = (work: () => unknown) => {
  try {
    work();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

describeWith(['shared'], 'the vectors of the specification', () => {
  const vectors = fileURLToPath(new URL('../../../shared/data/oms/test-vectors/v1.0', import.meta.url));
  test('valid bundles are read, invalid ones refused', () => {
    const judged = ['valid', 'invalid', 'invalid-payload'].flatMap((kind) =>
      readdirSync(join(vectors, kind)).map((name) => {
        const text = readFileSync(join(vectors, kind, name), 'utf8');
        return [name, kind, code(() => readSignature(text, name))];
      }),
    );
    expect(judged.length).toBe(8);
    for (const [name, kind, found] of judged) {
      expect([name, found]).toEqual([name, kind === 'valid' ? 'none' : 'signature-broken']);
    }
  });

  test('the key of the vector made its signature, by its digest in the bundle; no other did', () => {
    const text = readFileSync(join(vectors, 'valid', 'key.bundle.json'), 'utf8');
    const { verificationMaterial } = JSON.parse(text) as {
      verificationMaterial: { publicKey: { hint: string } };
    };
    expect(createHash('sha256').update(VECTOR_KEY).digest('hex')).toBe(verificationMaterial.publicKey.hint);
    const signature = readSignature(text, 'vector');
    expect(verifySignature(signature, readTrust([VECTOR_KEY]), now)).toMatch(/^the key [0-9a-f]{64}$/);
    expect(code(() => verifySignature(signature, readTrust([kept.signerKey]), now))).toBe('signature-false');
    const { signed } = signature;
    const other = Uint8Array.from(signed, (byte, i) => (i === signed.length - 5 ? byte ^ 1 : byte));
    expect(code(() => verifySignature({ ...signature, signed: other }, readTrust([VECTOR_KEY]), now))).toBe(
      'signature-false',
    );
  });

  test('the certificate of the vector made its signature, and is trusted by its authority alone', () => {
    const text = readFileSync(join(vectors, 'valid', 'certificate.bundle.json'), 'utf8');
    const signature = readSignature(text, 'vector');
    const authority = signature.certificates[1]!.toString();
    const then = Date.parse('2026-01-01');
    expect(verifySignature(signature, readTrust([authority]), then)).toContain('intermediate-ca');
    expect(code(() => verifySignature(signature, readTrust([kept.root]), then))).toBe('signature-false');
    expect(code(() => verifySignature(signature, readTrust([authority]), Date.parse('2040-01-01')))).toBe(
      'signature-false',
    );
  });

  test('a keyless signature is never trusted without its log', () => {
    const text = readFileSync(join(vectors, 'valid', 'sigstore.bundle.json'), 'utf8');
    const signature = readSignature(text, 'vector');
    expect(code(() => verifySignature(signature, readTrust([kept.root]), now))).toBe('signature-untrusted');
  });
});

describe('a signature by a key or a certificate', () => {
  test('is true for the right key and false for any other', () => {
    const signature = readSignature(kept.keyBundle, 'model.sig');
    expect(verifySignature(signature, readTrust([kept.otherKey, kept.signerKey]), now)).toMatch(
      /^the key [0-9a-f]{64}$/,
    );
    expect(code(() => verifySignature(signature, readTrust([kept.otherKey, kept.root]), now))).toBe(
      'signature-false',
    );
  });

  test('is true for the authority of its certificate, and for the certificate itself', () => {
    const signature = readSignature(kept.certificateBundle, 'model.sig');
    for (const pem of [kept.root, kept.leaf]) {
      expect(verifySignature(signature, readTrust([pem]), now)).toBe('CN=Hadal test signer');
    }
    expect(code(() => verifySignature(signature, readTrust([kept.signerKey]), now))).toBe('signature-false');
    expect(code(() => verifySignature(signature, readTrust([kept.root]), Date.parse('2020-01-01')))).toBe(
      'signature-false',
    );
  });

  test('any changed byte of what is signed, or of the signature, is found', () => {
    const trust = readTrust([kept.signerKey]);
    const payload = JSON.parse(kept.keyBundle).dsseEnvelope.payload as string;
    const text = Buffer.from(payload, 'base64').toString();
    const other = Buffer.from(text.replace('config.json', 'donfig.json')).toString('base64');
    const renamed = readSignature(
      changed(kept.keyBundle, (json) => Object.assign(json.dsseEnvelope, { payload: other })),
      'a',
    );
    expect(code(() => verifySignature(renamed, trust, now))).toBe('signature-false');
    const bundle = changed(kept.keyBundle, ({ dsseEnvelope }) => {
      const [only] = dsseEnvelope.signatures;
      const sig = Buffer.from(only!.sig, 'base64');
      sig[20]! ^= 1;
      only!.sig = sig.toString('base64');
    });
    expect(code(() => verifySignature(readSignature(bundle, 'a'), trust, now))).toBe('signature-false');
  });

  test('payloads that are not of the format are refused', () => {
    const payloadOf = (change: (json: Statement) => unknown) =>
      changed(kept.keyBundle, (json) => {
        const text = Buffer.from(json.dsseEnvelope.payload, 'base64').toString();
        json.dsseEnvelope.payload = Buffer.from(changed<Statement>(text, change)).toString('base64');
      });
    const changes: ((json: Statement) => unknown)[] = [
      (json) => Object.assign(json, { predicateType: 'https://example.com/other' }),
      (json) => Object.assign(json.subject[0]!.digest, { sha256: '00'.repeat(32) }),
      ({ predicate }) => Object.assign(predicate.resources[0]!, { name: '../up' }),
      ({ predicate }) => predicate.resources.push(predicate.resources[0]!),
      ({ predicate }) => Object.assign(predicate.serialization, { method: 'shards' }),
      ({ predicate }) => Object.assign(predicate.resources[0]!, { algorithm: 'md5' }),
    ];
    for (const change of changes) {
      expect(code(() => readSignature(payloadOf(change), 'a'))).toBe('signature-broken');
    }
    const twice = changed(kept.keyBundle, ({ dsseEnvelope }) =>
      dsseEnvelope.signatures.push(dsseEnvelope.signatures[0]!),
    );
    expect(code(() => readSignature(twice, 'a'))).toBe('signature-broken');
  });
});

describe('a signed folder', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hadal-signed-'));
    for (const [name, text] of Object.entries(kept.files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    writeFileSync(join(folder, 'model.sig'), kept.keyBundle);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const codes = async (...trusted: string[]) => {
    const { findings } = await auditPath(folder, trusted.length === 0 ? {} : { trust: readTrust(trusted) });
    return findings.map((finding) => finding.code).filter((found) => found.startsWith('signature'));
  };

  test('as it was signed, by a trusted key, by another, and by nobody', async () => {
    expect(await codes(kept.signerKey)).toEqual(['signature-true']);
    expect(await codes(kept.otherKey)).toEqual(['signature-false']);
    expect(await codes()).toEqual(['signature-untrusted']);
  });

  test('a file more, a file less, a changed one and a link are each refused', async () => {
    writeFileSync(join(folder, 'extra.json'), '{}');
    expect(await codes(kept.signerKey)).toEqual(['signature-true', 'signature-unlisted']);
    rmSync(join(folder, 'extra.json'));
    writeFileSync(join(folder, 'config.json'), '{ }');
    expect(await codes(kept.signerKey)).toEqual(['signature-true', 'signature-differs']);
    rmSync(join(folder, 'config.json'));
    expect(await codes(kept.signerKey)).toEqual(['signature-true', 'signature-missing']);
    writeFileSync(join(folder, '.gitignore'), kept.files['config.json']!);
    symlinkSync('.gitignore', join(folder, 'config.json'));
    expect(await codes(kept.signerKey)).toEqual(['signature-true', 'signature-link']);
  });

  test('whoever trusts somebody wants a signature', async () => {
    rmSync(join(folder, 'model.sig'));
    expect(await codes(kept.signerKey)).toEqual(['signature-missing']);
    writeFileSync(join(folder, 'model.sig'), '{}');
    expect(await codes(kept.signerKey)).toEqual(['signature-broken']);
  });
});
