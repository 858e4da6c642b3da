/**
 * Owns: policies: which model files may be loaded here, held against a file that is open already.
 * Refuses to know: who loads it, and how.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { FOLDER_TEXTS } from '../formats/hf-folder.ts';
import type { ByteSource, ModelFile } from '../formats/tensor-info.ts';
import { digestOfSource } from './digests.ts';
import { quoted } from './finding.ts';
import { signatureFindings } from './origin.node.ts';
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

/** The folder is held against the signature; of the files that are open, what is open is digested. */
async function checkSignature(policy: Policy, trust: Trust, path: string, file: ModelFile): Promise<void> {
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  const at = join(folder, policy.rules.signature ?? 'model.sig');
  const text = await readFile(at, 'utf8').catch(() => undefined);
  if (text === undefined) {
    throw refused(policy, 'policy-signature', path, 'a signature beside it', `none at ${at}`);
  }
  const signature = readSignature(text, at);
  const open = new Map<string, ByteSource>();
  for (const source of file.sources) open.set(resolve(source.name), source);
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const names = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)));
  const findings = await signatureFindings(folder, names, { signature, path: at }, trust, Date.now(), open);
  const bad = findings.find(({ level }) => level !== 'note');
  if (bad !== undefined)
    throw refused(policy, 'policy-signature', `${path}, ${bad.where}`, 'what was signed', bad.says);
  const signed = new Map(signature.parts.map((part) => [part.path, part]));
  for (const source of file.sources) {
    if (signed.has(relative(folder, source.name).split(sep).join('/'))) continue;
    throw refused(
      policy,
      'policy-signature',
      source.name,
      'a file that the signature lists',
      'one that it ignores',
    );
  }
  checkTexts(policy, path, file, signed);
}

/** The texts of a folder that were read with the headers are those that are used: they are held against the signature too. */
function checkTexts(
  policy: Policy,
  path: string,
  { format, metadata }: ModelFile,
  signed: ReadonlyMap<
    string,
    { readonly algorithm: string; readonly range?: unknown; readonly digest: string }
  >,
): void {
  if (format !== 'safetensors') return;
  for (const name of FOLDER_TEXTS) {
    const text = metadata.get(name);
    const part = signed.get(name);
    if (text === undefined) continue;
    const sha256 = createHash('sha256').update(String(text)).digest('hex');
    const same = part?.algorithm === 'sha256' && part.range === undefined && part.digest === sha256;
    // Parts and other digests were compared with the file itself.
    if (!same && (part === undefined || (part.algorithm === 'sha256' && part.range === undefined))) {
      throw refused(policy, 'policy-signature', `${path}, ${name}`, 'what was signed', 'something else');
    }
  }
}

function refused(policy: Policy, code: string, what: string, expected: string, got: string): HadalError {
  return new HadalError(code, {
    what: `${what}, by the policy ${policy.name}`,
    expected,
    got,
    next: 'take a model that the policy allows, or have the policy changed',
  });
}
