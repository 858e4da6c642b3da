/**
 * Owns: what takes minutes and is the same every time, kept on disk: llama.cpp's answers and the float32 logits.
 * Refuses to know: what is made of them.
 *
 * It is kept in HADAL_TEST_CACHE, else node_modules/.cache/hadal, under a digest of all that it was made from.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./llama-cpp.mjs', import.meta.url));
const SOURCES = ['src/backend/reference', 'src/dtypes', 'src/model', 'test/peer/forced.ts'];

/** What llama.cpp said. */
export interface Answers {
  /** e.g. `ggml-org/llama.cpp b9999`. */
  readonly release: string;
  readonly vocab: number;
  /** Its ids of the texts, special tokens recognised. */
  readonly textIds: readonly (readonly number[])[];
  /** Its greedy continuation of each prompt. */
  readonly continuations: readonly (readonly number[])[];
  /** Logits [tokens, vocab] by which it chose continuation `index`. */
  logits(index: number): Promise<Float32Array>;
}

/** What {@link llamaCppAnswers} asks. */
export interface Question {
  /** Folder with node_modules/node-llama-cpp. */
  readonly peer: string;
  readonly modelPath: string;
  readonly texts: readonly string[];
  readonly prompts: readonly (readonly number[])[];
  /** Tokens of each continuation. */
  readonly tokens: number;
  /** Continuations to follow instead of greedy ones. */
  readonly continuations?: readonly (readonly number[])[];
}

/** Asks llama.cpp in a child process, or takes what it said before to the same question. */
export async function llamaCppAnswers({ peer, modelPath, ...request }: Question): Promise<Answers> {
  const version = readFileSync(join(peer, 'node_modules/node-llama-cpp/package.json'), 'utf8');
  const key = digest(version, readFileSync(SCRIPT), readFileSync(modelPath), JSON.stringify(request));
  const folder = await kept(`llama-cpp-${key}`, async (part) => {
    const requestPath = join(part, 'request.json');
    await writeFile(requestPath, JSON.stringify(request));
    await promisify(execFile)(process.execPath, [SCRIPT, peer, modelPath, requestPath, part]);
  });
  return {
    ...JSON.parse(await readFile(join(folder, 'answers.json'), 'utf8')),
    logits: (index: number) => readFloats(join(folder, `logits-${index}.f32`)),
  };
}

/**
 * A copy of the peer that has the kernels of one older processor only, and therefore runs them.
 *
 * @param kernels as in the name of its library: `haswell` is AVX2
 * @returns the folder to give as {@link Question.peer}
 */
export function peerWithKernels(peer: string, kernels: string): Promise<string> {
  return kept(`${basename(peer)}-${kernels}`, (part) =>
    cp(peer, part, {
      recursive: true,
      filter: (path) => {
        const [, name] = /libggml-cpu-(\w+)\.so$/.exec(path) ?? [];
        return name === undefined || name === kernels;
      },
    }),
  );
}

/**
 * Logits of a text by the float32 reference backend, computed by `compute` unless the same sources have done so before
 * for the same model and ids.
 */
export async function float32Logits(
  modelPath: string,
  ids: readonly (readonly number[])[],
  compute: () => Promise<Float32Array>,
): Promise<Float32Array> {
  const key = digest(...SOURCES.flatMap(texts), readFileSync(modelPath), JSON.stringify(ids));
  const folder = await kept(`float32-${key}`, async (part) => {
    const { buffer, byteOffset, byteLength } = await compute();
    await writeFile(join(part, 'logits.f32'), new Uint8Array(buffer, byteOffset, byteLength));
  });
  return readFloats(join(folder, 'logits.f32'));
}

/** The folder of that name, filled by `fill` if it is new: it appears only when it is whole. */
async function kept(name: string, fill: (part: string) => Promise<void>): Promise<string> {
  const cache = process.env.HADAL_TEST_CACHE || join(ROOT, 'node_modules', '.cache', 'hadal');
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  const part = `${folder}.part-${process.pid}`;
  await rm(part, { recursive: true, force: true });
  await mkdir(part, { recursive: true });
  await fill(part);
  await rename(part, folder);
  return folder;
}

async function readFloats(path: string): Promise<Float32Array> {
  const { buffer, byteOffset, byteLength } = await readFile(path);
  return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
}

function digest(...parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
}

/** Contents of a file, or of a folder's source files in order of their names, tests left out. */
function texts(path: string): string[] {
  const full = join(ROOT, path);
  const names = path.endsWith('.ts') ? [''] : readdirSync(full).sort();
  return names
    .filter((name) => !name.endsWith('.test.ts'))
    .map((name) => readFileSync(join(full, name), 'utf8'));
}
