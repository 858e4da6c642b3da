/**
 * Owns: reading the `tokenizer.ggml.*` fields of a GGUF file into a tokenizer.
 * Refuses to know: how the fields lie in the file, chat templates.
 */
import { HadalError } from '../error.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import { bpeTokenizer } from './bpe.ts';
import { endIds } from './end-tokens.ts';
import { Merges } from './merges.ts';
import { PRE_TOKENIZERS } from './pre-tokenizers.ts';
import { ByteSymbols } from './symbols.ts';
import type { AddedToken } from './token-cutter.ts';
import type { Tokenizer } from './tokenizer.ts';
import { MOST_TOKENS, TokenKind, Vocabulary } from './vocabulary.ts';

const KEY = 'tokenizer.ggml.';

/**
 * The tokenizer that a GGUF file describes.
 *
 * @param metadata the file's metadata, by full key.
 * @throws HadalError `tokenizer-unsupported` for a kind or pre-tokenizer that is not supported, `tokenizer-field` for a
 *   field that is missing or of the wrong type, `tokenizer-vocabulary` and `tokenizer-merges` for contents that cannot be.
 * @example tokenizerFromGguf((await openModelFile('model.gguf')).metadata).encode('Hello')
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, MetaValue>): Tokenizer {
  const fields = new Fields(metadata);
  const model = fields.string('model');
  if (model !== 'gpt2') throw unsupported(`${KEY}model`, '"gpt2" (byte-level BPE)', quote(model));
  const pre = fields.optionalString('pre');
  const preTokenizer = PRE_TOKENIZERS.get(pre ?? '');
  if (preTokenizer === undefined) {
    const known = `one of ${[...PRE_TOKENIZERS.keys()].join(', ')}`;
    throw unsupported(`${KEY}pre`, known, pre === undefined ? 'nothing' : quote(pre));
  }
  const texts = fields.strings('tokens');
  const vocabulary = new Vocabulary(texts, fields.kinds('token_type', texts.length));
  const merges = new Merges(fields.strings('merges'), vocabulary);
  const id = (name: string) => fields.tokenId(name, texts.length);
  const bosId = id('bos_token_id');
  const eosId = id('eos_token_id');
  const addsBos = fields.optionalBoolean('add_bos_token') ?? preTokenizer.addsBos;
  return bpeTokenizer({
    vocabulary,
    merges,
    symbols: new ByteSymbols(vocabulary),
    added: addedTokens(vocabulary),
    preTokenizer,
    bosId,
    eosId,
    endIds: endIds(vocabulary, [eosId, id('eot_token_id'), id('eom_token_id')]),
    addsBos: bosId !== undefined && addsBos,
    addsEos: fields.optionalBoolean('add_eos_token') ?? false,
  });
}

/** The tokens that are found in text as they stand; a GGUF file says nothing of their manners. */
function addedTokens(vocabulary: Vocabulary): AddedToken[] {
  const { USER_DEFINED, CONTROL, UNKNOWN } = TokenKind;
  const manners = { normalized: false, lstrip: false, rstrip: false, singleWord: false };
  return vocabulary.idsOfKind(USER_DEFINED, CONTROL, UNKNOWN).map((id) => ({
    id,
    text: vocabulary.textOf(id),
    control: vocabulary.kindOf(id) !== USER_DEFINED,
    ...manners,
  }));
}

/** Typed access to the fields, with errors that name the key. */
class Fields {
  readonly #metadata: ReadonlyMap<string, MetaValue>;

  constructor(metadata: ReadonlyMap<string, MetaValue>) {
    this.#metadata = metadata;
  }

  string(name: string): string {
    const text = this.optionalString(name);
    if (text === undefined) throw this.#wrong(name, 'a string', undefined);
    return text;
  }

  optionalString(name: string): string | undefined {
    const value = this.#metadata.get(KEY + name);
    if (value === undefined || typeof value === 'string') return value;
    throw this.#wrong(name, 'a string', value);
  }

  optionalBoolean(name: string): boolean | undefined {
    const value = this.#metadata.get(KEY + name);
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.#wrong(name, 'a boolean', value);
  }

  strings(name: string): readonly string[] {
    const value = this.#metadata.get(KEY + name);
    if (!Array.isArray(value)) throw this.#wrong(name, 'an array of strings', value);
    const odd = value.findIndex((item) => typeof item !== 'string');
    if (odd >= 0) throw this.#wrong(`${name}[${odd}]`, 'a string', value[odd]);
    return value as readonly string[];
  }

  /** Token kinds; all normal where the file does not say. [tokens] */
  kinds(name: string, tokens: number): Uint8Array {
    const value = this.#metadata.get(KEY + name);
    if (value === undefined) return new Uint8Array(Math.min(tokens, MOST_TOKENS)).fill(TokenKind.NORMAL);
    if (typeof value !== 'object' || value instanceof BigInt64Array || value instanceof BigUint64Array) {
      throw this.#wrong(name, 'an array of small integers', value);
    }
    if (value.length !== tokens) throw this.#wrong(name, `${tokens} entries, one for each token`, value);
    const kinds = new Uint8Array(tokens);
    for (let id = 0; id < tokens; id++) {
      const kind = value[id];
      if (typeof kind !== 'number' || !Number.isInteger(kind) || kind < 0 || kind > TokenKind.BYTE) {
        throw this.#wrong(`${name}[${id}]`, 'a token type from 1 to 6', kind);
      }
      kinds[id] = kind === 0 ? TokenKind.NORMAL : kind;
    }
    return kinds;
  }

  tokenId(name: string, tokens: number): number | undefined {
    const value = this.#metadata.get(KEY + name);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= tokens) {
      throw this.#wrong(name, `a token id below ${tokens}`, value);
    }
    return value;
  }

  #wrong(name: string, expected: string, value: MetaValue | undefined): HadalError {
    const got =
      value === undefined
        ? 'nothing'
        : typeof value === 'object'
          ? `an array of ${value.length}`
          : `${typeof value} ${String(value).slice(0, 40)}`;
    return new HadalError('tokenizer-field', {
      what: KEY + name,
      expected,
      got,
      next: 'use an intact model file',
    });
  }
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 40));

function unsupported(what: string, expected: string, got: string): HadalError {
  return new HadalError('tokenizer-unsupported', {
    what,
    expected,
    got,
    next: 'use a model of a supported family',
  });
}
