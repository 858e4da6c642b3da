/**
 * Owns: policies: which model files may be loaded here, held against a file that is open already.
 * Refuses to know: who loads it, and how.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { bytesSource } from '../formats/byte-source.ts';
import { FOLDER_TEXTS, LATER_TEXTS } from '../formats/hf-folder.ts';
import { readFolderText } from '../formats/open.node.ts';
import type { ByteSource, ModelFile } from '../formats/tensor-info.ts';
import { digestOfSource } from './digests.ts';
import { quoted } from './finding.ts';
import { SIGNATURE_NAME, signatureFindings } from './origin.node.ts';
import { readSignature, readTrust, type Trust } from './signature.ts';
import { auditTemplate, readKnownTemplates } from './template.ts';
import { templatesOf } from './templates-of.ts';

const digest = z.string().regex(/^[0-9a-f]{64}$/);

/** The policy file. */
export const policySchema = z.strictObject({
  $schema: z.string().optional(),
  formats: z
    .array(z.enum(['gguf', 'safetensors']))
    .min(1)
    .optional()
    .describe('the formats that may be loaded; both otherwise'),
  digests: z
    .record(z.string().min(1), digest)
    .optional()
    .describe('SHA-256 of each file of weights by its name; others may not be loaded'),
  templates: z
    .array(z.union([z.enum(['published', 'audited']), digest]))
    .optional()
    .describe(
      'chat templates that may be used: published ones, those an audit finds nothing in, or by SHA-256',
    ),
  signers: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('PEM files, beside this one: a model has to be signed (OMS v1.0) by one of these'),
  signature: z
    .string()
    .min(1)
    .optional()
    .describe('the name of the signature beside the model; model.sig otherwise'),
});

/** What may be loaded. */
export interface Policy {
  readonly rules: z.output<typeof policySchema>;
  readonly trust: Trust | undefined;
  /** The policy file, for messages. */
  readonly name: string;
}

/** The schema as JSON Schema. Example: `policyJsonSchema()` */
export function policyJsonSchema(): object {
  return z.toJSONSchema(policySchema, { target: 'draft-2020-12' });
}

/**
 * Reads a policy and the keys that it names.
 *
 * @throws HadalError `policy-broken`, and as `readTrust` does.
 * @example await readPolicy('/etc/hadal/policy.json')
 */
export async function readPolicy(path: string): Promise<Policy> {
  const wrong = (got: string) =>
    new HadalError('policy-broken', {
      what: path,
      expected: 'JSON as docs/guide/audit.md describes a policy',
      got,
      next: 'mend the file; without it nothing is loaded',
    });
  const read = (at: string) =>
    readFile(at, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw wrong(`${error.code} at ${at}`);
    });
  let json: unknown;
  try {
    json = JSON.parse(await read(path));
  } catch (error) {
    throw error instanceof HadalError ? error : wrong(error instanceof Error ? error.message : 'no JSON');
  }
  const result = policySchema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw wrong(`${issue?.path.join('.') || 'the document'}: ${issue?.message}`);
  }
  const { signers } = result.data;
  const texts = signers && (await Promise.all(signers.map((name) => read(resolve(dirname(path), name)))));
  return { rules: result.data, trust: texts && readTrust(texts), name: path };
}

/**
 * Refuses a model that the policy does not allow. What is digested are the open files themselves, so what is mapped from them
 * afterwards is what was allowed.
 *
 * @param path of the file or folder
 * @throws HadalError `policy-format`, `policy-digest`, `policy-template`, `policy-signature`
 * @example await admit(policy, path, file)
 */
export async function admit(policy: Policy, path: string, file: ModelFile): Promise<void> {
  const { formats, digests, templates } = policy.rules;
  if (formats !== undefined && !formats.includes(file.format)) {
    throw refused(policy, 'policy-format', path, formats.join(' or '), file.format);
  }
  if (templates !== undefined) checkTemplates(policy, path, file, templates);
  if (digests !== undefined) {
    for (const source of file.sources) {
      const wanted = digests[basename(source.name)];
      const got = wanted === undefined ? undefined : await digestOfSource(source);
      if (wanted === undefined || got !== wanted) {
        throw refused(
          policy,
          'policy-digest',
          source.name,
          wanted ?? 'a file that it lists',
          got ?? 'one that it does not',
        );
      }
    }
  }
  if (policy.trust !== undefined) await checkSignature(policy, policy.trust, path, file);
}

function checkTemplates(policy: Policy, path: string, file: ModelFile, allowed: readonly string[]): void {
  const known = readKnownTemplates();
  for (const { where, template } of templatesOf(file.metadata)) {
    const { sha256, known: published, findings } = auditTemplate(template, known, where);
    const harmless = findings.every(({ level }) => level === 'note');
    const may =
      allowed.includes(sha256) ||
      (allowed.includes('published') && published !== undefined) ||
      (allowed.includes('audited') && harmless);
    if (!may) {
      const why = findings.find(({ level }) => level !== 'note')?.says ?? `one with the SHA-256 ${sha256}`;
      throw refused(
        policy,
        'policy-template',
        `${path}, ${where}`,
        `a chat template of ${quoted(allowed.join(', '))}`,
        why,
      );
    }
  }
}

/** The folder is held against the signature; of what was opened or read before, that is digested, since that is used. */
async function checkSignature(policy: Policy, trust: Trust, path: string, file: ModelFile): Promise<void> {
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  const name = policy.rules.signature ?? SIGNATURE_NAME;
  const at = join(folder, name);
  const text = await readFolderText(folder, name);
  if (text === undefined) {
    throw refused(policy, 'policy-signature', path, 'a signature beside it', `none at ${at}`);
  }
  const signature = readSignature(text, at);
  const open = new Map<string, ByteSource>(textSources(path, file));
  for (const source of file.sources) open.set(resolve(source.name), source);
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const names = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)));
  const findings = await signatureFindings(folder, names, { signature, path: at }, trust, Date.now(), open);
  const bad = findings.find(({ level }) => level !== 'note');
  if (bad !== undefined)
    throw refused(policy, 'policy-signature', `${path}, ${bad.where}`, 'what was signed', bad.says);
  const signed = new Set(signature.parts.map((part) => part.path));
  for (const { name } of open.values()) {
    if (signed.has(relative(folder, name).split(sep).join('/'))) continue;
    throw refused(policy, 'policy-signature', name, 'a file that the signature lists', 'one that it ignores');
  }
}

/** The texts of a folder as they were read, and will be used, by their whole paths. */
function textSources(folder: string, { format, metadata, sources }: ModelFile): [string, ByteSource][] {
  // What a GGUF file calls by the name of a text is a part of that file.
  if (format !== 'safetensors' || sources.some(({ name }) => resolve(name) === resolve(folder))) return [];
  return [...FOLDER_TEXTS, ...LATER_TEXTS].flatMap((name) => {
    const text = metadata.get(name);
    const at = join(folder, name);
    return typeof text === 'string' ? [[resolve(at), bytesSource(Buffer.from(text), at)]] : [];
  });
}

function refused(policy: Policy, code: string, what: string, expected: string, got: string): HadalError {
  return new HadalError(code, {
    what: `${what}, by the policy ${policy.name}`,
    expected,
    got,
    next: 'take a model that the policy allows, or have the policy changed',
  });
}
