/**
 * Owns: whether a model fits this machine's memory, and how much context fits beside it.
 * Refuses to know: files, backends, how memory is used.
 */
import { totalmem } from 'node:os';
import type { CacheDType } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { ModelDescription } from '../model/load.ts';
import { cacheCost } from '../model/streams.ts';

/** The memory of this machine or container. */
export interface Memory {
  /** All there is. */
  readonly presentBytes: number;
  /** What could be had now without others losing theirs. */
  readonly availableBytes: number;
}

/** Scratch tensors, buffers and the program itself. */
const WORKING_BYTES = 128 << 20;
/** Context that a model gets whatever else runs on the machine, where it is no more than the model's own. */
const LEAST_CONTEXT_TOKENS = 2_048;
/** The part of the memory left beside the weights that a default context may take. */
const CONTEXT_SHARE = 0.8;
/** The part of the memory left beside one context that more of a cache may take. */
const CACHE_SHARE = 0.25;

/**
 * What memory this process may use: the machine's, or the container's where that is less.
 *
 * @example memoryHere().presentBytes
 */
export function memoryHere(): Memory {
  const presentBytes = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  // Only Linux says what could be freed; elsewhere "available" leaves out every file that is merely cached.
  const availableBytes = process.platform === 'linux' ? process.availableMemory() : presentBytes / 2;
  return { presentBytes, availableBytes: Math.min(availableBytes, presentBytes) };
}

/**
 * Bytes that a model takes with a cache of so many tokens.
 *
 * @example bytesNeeded(description, 8192, 'F16');
 */
export function bytesNeeded(
  description: Pick<ModelDescription, 'streams' | 'heldBytes'>,
  cacheTokens: number,
  cacheDType: CacheDType,
): number {
  return description.heldBytes + WORKING_BYTES + cacheTokens * bytesPerToken(description, cacheDType);
}

/** What is asked of {@link contextThatFits}. */
export interface ContextQuestion {
  /** The model, in messages. */
  readonly name: string;
  readonly description: Pick<ModelDescription, 'contextTokens' | 'streams' | 'heldBytes'>;
  /** What the person wants; chosen here when absent. */
  readonly wantedTokens?: number | undefined;
  readonly cacheDType: CacheDType;
  readonly memory: Memory;
}

/**
 * How many tokens of context to hold: what was wanted, else the model's own limit as far as memory allows.
 *
 * @throws HadalError `model-too-large` when the weights alone do not fit, `context-impossible` when the wanted context
 *   is beyond the model, `context-too-large` when it is beyond the memory.
 * @example contextThatFits({ name, description, cacheDType: 'F16', memory: memoryHere() }); // 8192
 */
export function contextThatFits(question: ContextQuestion): number {
  const { name, description, wantedTokens, cacheDType, memory } = question;
  const { contextTokens: own, heldBytes } = description;
  const { presentBytes, availableBytes } = memory;
  const tokenBytes = bytesPerToken(description, cacheDType);
  const leastTokens = Math.min(own, LEAST_CONTEXT_TOKENS, wantedTokens ?? own);
  const needed = heldBytes + WORKING_BYTES + leastTokens * tokenBytes;
  if (needed > presentBytes) {
    throw new HadalError('model-too-large', {
      what: name,
      expected: `a model that fits the ${bytes(presentBytes)} of memory here`,
      got: `one that needs ${bytes(needed)} (${bytes(heldBytes)} of weights)`,
      next: 'take a smaller model or quantization, or a machine with more memory',
    });
  }
  if (wantedTokens === undefined) {
    const free = (availableBytes - heldBytes - WORKING_BYTES) * CONTEXT_SHARE;
    return Math.min(own, Math.max(leastTokens, Math.floor(free / tokenBytes)));
  }
  if (wantedTokens < 2 || wantedTokens > own) {
    throw new HadalError('context-impossible', {
      what: 'the context',
      expected: `2 to ${own} tokens, which is what this model was made for`,
      got: `${wantedTokens}`,
      next: 'choose a context in that range',
    });
  }
  const room = presentBytes - heldBytes - WORKING_BYTES;
  if (wantedTokens * tokenBytes > room) {
    throw new HadalError('context-too-large', {
      what: `a context of ${wantedTokens} tokens`,
      expected: `at most ${bytes(room)} for it beside the weights`,
      got: bytes(wantedTokens * tokenBytes),
      next: `choose at most ${Math.floor(room / tokenBytes)} tokens`,
    });
  }
  return wantedTokens;
}

/**
 * How many tokens of cache to hold for answers at the same time, and for prefixes of those to come: the whole context of
 * each, as far as memory allows; one context in any case.
 *
 * @param answers at the same time
 * @example cacheThatFits({ description, cacheDType: 'F16', memory: memoryHere() }, 8192, 16); // 131072
 */
export function cacheThatFits(
  { description, cacheDType, memory }: Pick<ContextQuestion, 'description' | 'cacheDType' | 'memory'>,
  contextTokens: number,
  answers: number,
): number {
  const free = memory.availableBytes - bytesNeeded(description, contextTokens, cacheDType);
  const more = (free * CACHE_SHARE) / bytesPerToken(description, cacheDType);
  return Math.min(contextTokens * answers, contextTokens + Math.max(0, Math.floor(more)));
}

function bytesPerToken({ streams }: Pick<ModelDescription, 'streams'>, cacheDType: CacheDType): number {
  return cacheCost(streams, cacheDType).reduce((sum, cost) => sum + cost.bytesPerToken, 0);
}

function bytes(count: number): string {
  return `${Math.ceil(count).toLocaleString('en-US')} bytes`;
}
