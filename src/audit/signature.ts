/**
 * Owns: model signatures of OpenSSF (OMS v1.0): reading a bundle, verifying it by a key or a certificate, and what it lists.
 * Refuses to know: files on disk, who is trusted.
 *
 * Source: ossf/model-signing-spec, spec/v1.0.md; DSSE's protocol.md for what is signed. Sigstore's keyless signatures are
 * read, and not trusted: that takes its transparency log, so a network.
 */
import { createHash, createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { quoted } from './finding.ts';

const STATEMENT = 'https://in-toto.io/Statement/v1';
const PREDICATE = 'https://model_signing/signature/v1.0';
const PAYLOAD = 'application/vnd.in-toto+json';
/** What a certificate must be for. */
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';
const MOST_BUNDLE_BYTES = 64 << 20;

const base64 = z.base64().min(1);
const hex = z.string().regex(/^([0-9a-f]{2})+$/);
const rawBytes = z.looseObject({ rawBytes: base64 });
const materialSchema = z.union([
  z.looseObject({ publicKey: z.union([z.looseObject({ hint: z.string() }), rawBytes]) }),
  z.looseObject({ x509CertificateChain: z.looseObject({ certificates: z.array(rawBytes).min(1) }) }),
  z.looseObject({ certificate: rawBytes, tlogEntries: z.array(z.looseObject({})).min(1) }),
]);
const bundleSchema = z.strictObject({
  mediaType: z.string().regex(/^application\/vnd\.dev\.sigstore\.bundle/),
  verificationMaterial: materialSchema,
  dsseEnvelope: z.strictObject({
    payload: base64,
    payloadType: z.literal(PAYLOAD),
    signatures: z.array(z.strictObject({ sig: base64, keyid: z.string().nullish() })).length(1),
  }),
});
const algorithm = z.enum(['sha256', 'blake2b', 'blake3']);
const statementSchema = z.strictObject({
  _type: z.literal(STATEMENT),
  subject: z.tuple([z.looseObject({ name: z.string().min(1), digest: z.looseObject({ sha256: hex }) })]),
  predicateType: z.literal(PREDICATE),
  predicate: z.strictObject({
    resources: z.array(z.looseObject({ name: z.string().min(1), digest: hex, algorithm })).min(1),
    serialization: z.strictObject({
      method: z.enum(['files', 'shards']),
      hash_type: algorithm,
      shard_size: z.int().min(1).optional(),
      allow_symlinks: z.boolean(),
      ignore_paths: z.array(z.string().min(1)).optional(),
    }),
  }),
});

/** A file, or a part of one, that a signature lists. */
export interface SignedPart {
  /** Relative to the folder, with slashes. */
  readonly path: string;
  /** From `start` to before `end`; the whole file where absent. */
  readonly range?: { readonly start: number; readonly end: number };
  readonly algorithm: 'sha256' | 'blake2b' | 'blake3';
  readonly digest: string;
}

/** A signature that was read; nothing of it is verified yet. */
export interface ModelSignature {
  readonly method: 'key' | 'certificate' | 'sigstore';
  /** What the signer calls the model. */
  readonly subject: string;
  readonly parts: readonly SignedPart[];
  readonly ignored: readonly string[];
  readonly allowSymlinks: boolean;
  /** What is signed: DSSE's encoding of the payload. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly certificates: readonly X509Certificate[];
}

/** Whom to trust: public keys, and certificates of authorities. */
export interface Trust {
  readonly keys: readonly KeyObject[];
  readonly certificates: readonly X509Certificate[];
}

/**
 * Reads a bundle.
 *
 * @throws HadalError `signature-broken` for what is no valid bundle of OMS v1.0.
 * @example readSignature(await readFile('model.sig', 'utf8'), 'model.sig').parts
 */
export function readSignature(text: string, name: string): ModelSignature {
  if (text.length > MOST_BUNDLE_BYTES)
    throw broken(name, 'a bundle of at most 64 MB', `${text.length} bytes`);
  const bundle = parsed(bundleSchema, text, name);
  const envelope = bundle.dsseEnvelope;
  const payload = Buffer.from(envelope.payload, 'base64');
  const { subject, predicate } = parsed(statementSchema, payload.toString('utf8'), `the payload of ${name}`);
  const { resources, serialization } = predicate;
  const { method, shard_size: shardBytes } = serialization;
  if ((method === 'shards') !== (shardBytes !== undefined)) {
    throw broken(name, 'a shard_size for shards, and for them alone', method);
  }
  if (resources.some((one) => one.algorithm !== serialization.hash_type)) {
    throw broken(name, `digests by ${serialization.hash_type} throughout`, 'others too');
  }
  const root = createHash('sha256');
  for (const { digest } of resources) root.update(Buffer.from(digest, 'hex'));
  const digest = root.digest('hex');
  if (digest !== subject[0].digest.sha256) {
    throw broken(name, `a digest of all files of ${digest}`, subject[0].digest.sha256);
  }
  const parts = resources.map((one) => partOf(one, method === 'shards', name));
  const keys = parts.map(({ path, range }) => `${path}:${range?.start ?? ''}`);
  if (new Set(keys).size !== keys.length) throw broken(name, 'every file once', 'one twice');
  return {
    ...materialOf(bundle.verificationMaterial, name),
    subject: subject[0].name,
    parts,
    ignored: serialization.ignore_paths ?? [],
    allowSymlinks: serialization.allow_symlinks,
    signed: encoded(payload),
    signature: Buffer.from(envelope.signatures[0]!.sig, 'base64'),
  };
}

/**
 * Reads what is to be trusted from PEM texts: public keys and certificates.
 *
 * @throws HadalError `trust-broken`
 * @example readTrust([await readFile('signer.pub', 'utf8')])
 */
export function readTrust(texts: readonly string[]): Trust {
  const keys: KeyObject[] = [];
  const certificates: X509Certificate[] = [];
  for (const text of texts) {
    const blocks = text.match(/-----BEGIN (PUBLIC KEY|CERTIFICATE)-----[^-]+-----END \1-----/g) ?? [];
    try {
      for (const block of blocks) {
        if (block.includes('CERTIFICATE')) certificates.push(new X509Certificate(block));
        else keys.push(createPublicKey(block));
      }
    } catch {
      blocks.length = 0;
    }
    if (blocks.length > 0) continue;
    throw new HadalError('trust-broken', {
      what: 'what is to be trusted',
      expected: 'public keys or certificates in PEM',
      got: quoted(text, 40),
      next: 'give the key or certificate that the publisher names',
    });
  }
  return { keys, certificates };
}

/**
 * Who made a signature, if that is somebody trusted: in words.
 *
 * @param now in milliseconds, for the certificates' times
 * @throws HadalError `signature-false` where it is not by a trusted key, or the certificate does not lead to a trusted one;
 *   `signature-untrusted` for a keyless one.
 * @example verifySignature(signature, readTrust([pem]), Date.now()) // 'CN=Publisher'
 */
export function verifySignature(signature: ModelSignature, trust: Trust, now: number): string {
  if (signature.method === 'key') {
    const key = trust.keys.find((candidate) => isBy(candidate, signature));
    if (key === undefined) throw untrue('a signature by a trusted key', 'one by none of them');
    return `the key ${fingerprint(key)}`;
  }
  if (signature.method === 'sigstore') {
    throw new HadalError('signature-untrusted', {
      what: 'the signature',
      expected: 'one by a key or a certificate',
      got: "a keyless one, which only Sigstore's log can confirm",
      next: 'verify it with `model_signing verify sigstore` on a machine with a network',
    });
  }
  const [leaf] = signature.certificates;
  if (leaf === undefined || !isBy(leaf.publicKey, signature)) {
    throw untrue('a signature by its own certificate', 'one by another key');
  }
  checkLeaf(leaf, now);
  checkChain(signature.certificates, trust, now);
  return leaf.subject.replaceAll('\n', ', ');
}

/** SHA-256 of a key, as `openssl pkey -pubin -outform DER | sha256sum` gives it. Example: `fingerprint(key)` */
export function fingerprint(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

function checkLeaf(leaf: X509Certificate, now: number): void {
  if (leaf.ca) throw untrue('a certificate of a signer', 'one of an authority');
  if (!(leaf.keyUsage ?? []).includes(CODE_SIGNING))
    throw untrue('a certificate for signing code', 'another');
  checkTime(leaf, now);
}

/** From the signer's certificate, by those of the bundle, to a trusted one. */
function checkChain(chain: readonly X509Certificate[], trust: Trust, now: number): void {
  const left = new Set(chain.slice(1));
  let at = chain[0]!;
  for (;;) {
    const trusted = trust.certificates.find((one) => one.raw.equals(at.raw) || issued(one, at));
    if (trusted !== undefined) {
      checkTime(trusted, now);
      return;
    }
    const above = [...left].find((one) => issued(one, at));
    if (above === undefined) {
      throw untrue('a certificate that a trusted one issued', `one that ends at ${quoted(at.issuer)}`);
    }
    left.delete(above);
    checkTime(above, now);
    at = above;
  }
}

function issued(authority: X509Certificate, certificate: X509Certificate): boolean {
  return authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

function checkTime(certificate: X509Certificate, now: number): void {
  if (Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo)) return;
  throw untrue(
    'a certificate that is valid today',
    `one from ${certificate.validFrom} to ${certificate.validTo}`,
  );
}

/** Curves and the digests that OMS signs with on them. */
const DIGESTS: Readonly<Record<string, string>> = {
  prime256v1: 'sha256',
  secp384r1: 'sha384',
  secp521r1: 'sha512',
};

function isBy(key: KeyObject, { signed, signature }: ModelSignature): boolean {
  const curve = key.asymmetricKeyDetails?.namedCurve ?? '';
  const digest = DIGESTS[curve];
  return key.asymmetricKeyType === 'ec' && digest !== undefined && verify(digest, signed, key, signature);
}

/** DSSE's pre-authentication encoding. */
function encoded(payload: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`DSSEv1 ${PAYLOAD.length} ${PAYLOAD} ${payload.length} `), payload]);
}

function partOf(
  {
    name: resource,
    digest,
    algorithm: by,
  }: { name: string; digest: string; algorithm: SignedPart['algorithm'] },
  sharded: boolean,
  name: string,
): SignedPart {
  const [, path = '', start, end] = (sharded ? /^(.*):(\d+):(\d+)$/s : /^(.*)$/s).exec(resource) ?? [];
  const parts = path.split('/');
  if (
    path === '' ||
    path.includes('\\') ||
    path.includes('\0') ||
    parts.some((part) => part === '' || part === '.' || part === '..')
  ) {
    throw broken(name, 'plain paths inside of the folder', quoted(resource));
  }
  if (!sharded) return { path, algorithm: by, digest };
  const range = { start: Number(start), end: Number(end) };
  if (!(range.start < range.end && Number.isSafeInteger(range.end)))
    throw broken(name, 'parts with bytes', quoted(resource));
  return { path, range, algorithm: by, digest };
}

function materialOf(
  material: z.output<typeof materialSchema>,
  name: string,
): Pick<ModelSignature, 'method' | 'certificates'> {
  try {
    if ('publicKey' in material) return { method: 'key', certificates: [] };
    const chain = material.x509CertificateChain as { certificates: { rawBytes: string }[] } | undefined;
    const kept = chain?.certificates ?? [material.certificate as { rawBytes: string }];
    const certificates = kept.map(({ rawBytes: der }) => new X509Certificate(Buffer.from(der, 'base64')));
    return { method: chain === undefined ? 'sigstore' : 'certificate', certificates };
  } catch {
    throw broken(name, 'certificates in X.509', 'others');
  }
}

function parsed<T>(schema: z.ZodType<T>, text: string, name: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw broken(name, 'JSON', quoted(text, 40));
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw broken(
    name,
    'a signature of OMS v1.0',
    `${issue?.path.join('.') || 'the document'}: ${issue?.message}`,
  );
}

function broken(what: string, expected: string, got: string): HadalError {
  return new HadalError('signature-broken', { what, expected, got, next: 'fetch the signature again' });
}

function untrue(expected: string, got: string): HadalError {
  return new HadalError('signature-false', {
    what: 'the signature',
    expected,
    got,
    next: 'do not load it, unless you know the signer and trust the right key',
  });
}
