/**
 * Owns: what can be told of a model on disk without loading it: size, type, what its format has a place for.
 * Refuses to know: engines, protocols, where models are fetched from.
 */
import { stat } from 'node:fs/promises';
import { supportsInfill } from '../chat/infill.ts';
import type { ChatSupport } from '../chat/support.ts';
import { HadalError } from '../error.ts';
import { closeModelFile, openModelFile } from '../formats/open.node.ts';
import type { MetaValue, TensorInfo } from '../formats/tensor-info.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import type { Environment } from '../hub/store.node.ts';
import { chatFormatOf, readHeader } from './open.node.ts';

/** A model on disk. */
export interface ModelFacts {
  readonly bytes: number;
  readonly modifiedMs: number;
  readonly format: 'gguf' | 'safetensors';
  readonly architecture: string;
  /** Numbers in all tensors. */
  readonly parameters: number;
  /** The number format that most of them have. */
  readonly mainType: string;
  readonly contextTokens: number;
  readonly embeddingLength: number;
  readonly chatTemplate: string;
  /** Undefined where no format is known. */
  readonly chat: ChatSupport | undefined;
  readonly infill: boolean;
  /** Everything that the file says of itself, lists apart. */
  readonly metadata: ReadonlyMap<string, string | number | boolean>;
}

/** Reads what is known of a model on disk, by a path or a name of the catalogue. */
export type FactsReader = (name: string) => Promise<ModelFacts>;

/**
 * A reader that reads each file once until it changes. Nothing is fetched.
 *
 * @throws HadalError as `resolveModel`, `openModelFile` and `readHeader` do.
 * @example (await factsReader(process.env)('model.gguf')).parameters;
 */
export function factsReader(env: Environment): FactsReader {
  const known = new Map<string, { readonly modifiedMs: number; readonly facts: Promise<ModelFacts> }>();
  return async (name) => {
    const path = await resolveModel(name, { env, fetch: false });
    const { mtimeMs } = await stat(path);
    const before = known.get(path);
    if (before?.modifiedMs === mtimeMs) return await before.facts;
    const facts = readFacts(path, mtimeMs);
    known.set(path, { modifiedMs: mtimeMs, facts });
    facts.catch(() => known.delete(path));
    return await facts;
  };
}

async function readFacts(path: string, mtimeMs: number): Promise<ModelFacts> {
  const file = await openModelFile(path);
  try {
    const { description, tokenizer, metadata } = await readHeader(path, file);
    const tensors = [...file.tensors.values()];
    const template = metadata.get('tokenizer.chat_template');
    return {
      bytes: file.sources.reduce((sum, { size }) => sum + size, 0),
      modifiedMs: mtimeMs,
      format: file.format,
      architecture: description.architecture,
      parameters: tensors.reduce((sum, tensor) => sum + elements(tensor), 0),
      mainType: mainType(tensors),
      contextTokens: description.contextTokens,
      embeddingLength: description.config.hidden,
      chatTemplate: typeof template === 'string' ? template : '',
      chat: await supportOf(chatFormatOf(metadata, tokenizer)),
      infill: supportsInfill(tokenizer),
      metadata: plainValues(metadata),
    };
  } finally {
    await closeModelFile(file);
  }
}

/** A model without a known chat format still completes text, so this is no failure here. */
async function supportOf(format: ReturnType<typeof chatFormatOf>): Promise<ChatSupport | undefined> {
  try {
    return (await format)().supports;
  } catch (error) {
    if (error instanceof HadalError) return undefined;
    throw error;
  }
}

function elements({ shape }: TensorInfo): number {
  return shape.reduce((product, length) => product * length, 1);
}

function mainType(tensors: readonly TensorInfo[]): string {
  const counts = new Map<string, number>();
  for (const tensor of tensors) {
    counts.set(tensor.dtype, (counts.get(tensor.dtype) ?? 0) + elements(tensor));
  }
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? 'F32';
}

function plainValues(metadata: ReadonlyMap<string, MetaValue>): Map<string, string | number | boolean> {
  const plain = new Map<string, string | number | boolean>();
  for (const [key, value] of metadata) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
      plain.set(key, value);
    else if (typeof value === 'bigint') plain.set(key, Number(value));
  }
  return plain;
}
