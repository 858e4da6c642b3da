/**
 * Owns: reading a Hugging Face tokenizer.json, with its tokenizer_config.json, into a tokenizer.
 * Refuses to know: where the files lie, chat templates.
 */
import { bpeTokenizer } from './bpe.ts';
import { endIds } from './end-tokens.ts';
import { JsonFields, unsupported, wrongField } from './json-fields.ts';
import { readPipeline } from './json-pipeline.ts';
import { Merges } from './merges.ts';
import { ByteSymbols, CharacterSymbols } from './symbols.ts';
import type { AddedToken } from './token-cutter.ts';
import type { Tokenizer } from './tokenizer.ts';
import { looksLikeControl, MOST_TOKENS, TokenKind, Vocabulary, type Writing } from './vocabulary.ts';

const BYTE_TOKEN = /^<0x[0-9A-F]{2}>$/;

/**
 * The tokenizer that a tokenizer.json describes: byte-level BPE, or BPE of characters with byte fallback.
 *
 * Added tokens that look like control tokens (`<｜User｜>`) are control tokens even where the file calls them ordinary,
 * as in GGUF files: they are found only where special tokens are asked for.
 *
 * @param json the parsed tokenizer.json.
 * @param config the parsed tokenizer_config.json: which tokens begin and end a text, and whether the first is added.
 * @param ends ids that end a generation besides (eos_token_id of generation_config.json).
 * @throws HadalError `tokenizer-unsupported` for what is not supported, `tokenizer-field` for a field that is missing
 *   or of the wrong type, `tokenizer-vocabulary` and `tokenizer-merges` for contents that cannot be.
 * @example tokenizerFromJson(JSON.parse(tokenizerText), JSON.parse(configText)).encode('Hello')
 */
export function tokenizerFromJson(
  json: unknown,
  config: unknown = {},
  ends: Iterable<number> = [],
): Tokenizer {
  const root = new JsonFields(json, 'tokenizer.json');
  const settings = new JsonFields(config, 'tokenizer_config.json');
  const model = readModel(root);
  const pipeline = readPipeline(root);
  const added = [...readAdded(root.objects('added_tokens')), ...readConfigured(settings)];
  const vocabulary = readVocabulary(model, added, pipeline.writing);
  const ids = (name: string, fallback?: string) => {
    const text = tokenText(settings, name) ?? fallback;
    return text === undefined ? undefined : vocabulary.idOf(text);
  };
  const bosId = ids('bos_token', pipeline.first);
  const eosId = ids('eos_token');
  const { writing } = pipeline;
  return bpeTokenizer({
    vocabulary,
    merges: new Merges(readMerges(model), vocabulary),
    symbols: writing === 'byte-alphabet' ? new ByteSymbols(vocabulary) : new CharacterSymbols(vocabulary),
    preTokenizer: { steps: pipeline.steps, ignoreMerges: model.boolean('ignore_merges', false) },
    added: uniqueById(added),
    normalize: pipeline.normalize,
    dropsLeadingSpace: pipeline.dropsLeadingSpace,
    bosId,
    eosId,
    endIds: endIds(vocabulary, [eosId, ...ends]),
    addsBos: bosId !== undefined && settings.boolean('add_bos_token', pipeline.first !== undefined),
    addsEos: settings.boolean('add_eos_token', false),
  });
}

/** The BPE model, with nothing set that would change how it merges. */
function readModel(root: JsonFields): JsonFields {
  const model = root.object('model');
  model.only('type', 'BPE');
  model.only('dropout', 0);
  model.only('continuing_subword_prefix', '');
  model.only('end_of_word_suffix', '');
  return model;
}

function readMerges(model: JsonFields): readonly (string | readonly [string, string])[] {
  const merges = model.array('merges');
  const isPair = (rule: unknown) =>
    Array.isArray(rule) && rule.length === 2 && typeof rule[0] === 'string' && typeof rule[1] === 'string';
  const odd = merges.findIndex((rule) => typeof rule !== 'string' && !isPair(rule));
  if (odd >= 0)
    throw wrongField(`${model.at('merges')}[${odd}]`, 'a string or a pair of strings', merges[odd]);
  return merges as readonly (string | readonly [string, string])[];
}

function readAdded(tokens: readonly JsonFields[]): AddedToken[] {
  return tokens.map((token) => readToken(token, checkedId(token.get('id'), token.at('id'))));
}

/** Tokens that only the configuration adds, by id. */
function readConfigured(settings: JsonFields): AddedToken[] {
  if (!settings.has('added_tokens_decoder')) return [];
  const tokens = settings.object('added_tokens_decoder');
  return tokens.entries().map(([id, token]) => {
    const place = tokens.at(id);
    return readToken(new JsonFields(token, place), checkedId(/^\d+$/.test(id) ? Number(id) : id, place));
  });
}

function readToken(token: JsonFields, id: number): AddedToken {
  const text = token.string('content');
  const special = token.boolean('special', false);
  return {
    id,
    text,
    control: special || looksLikeControl(text),
    normalized: token.boolean('normalized', !special),
    lstrip: token.boolean('lstrip', false),
    rstrip: token.boolean('rstrip', false),
    singleWord: token.boolean('single_word', false),
  };
}

/** Tokens by id; of two that say the same id, the first (the configuration repeats the file). */
function uniqueById(added: readonly AddedToken[]): AddedToken[] {
  const byId = new Map<number, AddedToken>();
  for (const token of added) if (!byId.has(token.id)) byId.set(token.id, token);
  return [...byId.values()];
}

/** Texts and kinds by id, of the model's tokens and the added ones. */
function readVocabulary(model: JsonFields, added: readonly AddedToken[], writing: Writing): Vocabulary {
  const vocab = model.object('vocab');
  const texts: string[] = [];
  const put = (id: number, text: string, place: string) => {
    while (texts.length <= id) texts.push('');
    if (texts[id] !== '' && texts[id] !== text) {
      throw wrongField(place, `an id of its own, not that of ${JSON.stringify(texts[id])}`, id);
    }
    texts[id] = text;
  };
  for (const [text, id] of vocab.entries()) {
    put(
      checkedId(id, `${vocab.place} ${JSON.stringify(text)}`),
      text,
      `${vocab.place} ${JSON.stringify(text)}`,
    );
  }
  for (const { id, text } of added) put(id, text, `the added token ${JSON.stringify(text)}`);
  const kinds = Uint8Array.from(texts, (text) => (text === '' ? TokenKind.UNUSED : TokenKind.NORMAL));
  const bytesAreTokens = model.boolean('byte_fallback', false);
  if (bytesAreTokens) {
    for (let id = 0; id < texts.length; id++) {
      if (BYTE_TOKEN.test(texts[id] as string)) kinds[id] = TokenKind.BYTE;
    }
  } else if (writing === 'metaspace') {
    throw unsupported(model.at('byte_fallback'), 'true where tokens are not byte-level', 'false');
  }
  for (const { id, control } of added) kinds[id] = control ? TokenKind.CONTROL : TokenKind.USER_DEFINED;
  const unknown = model.optionalString('unk_token');
  const vocabulary = new Vocabulary(texts, kinds, writing);
  if (unknown !== undefined && vocabulary.idOf(unknown) === undefined) {
    throw wrongField(model.at('unk_token'), 'a token of the vocabulary', unknown);
  }
  return vocabulary;
}

function checkedId(id: unknown, place: string): number {
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MOST_TOKENS) {
    throw wrongField(place, `a token id below ${MOST_TOKENS}`, id);
  }
  return id;
}

/** A token that the configuration names, plainly or as an object. */
function tokenText(settings: JsonFields, name: string): string | undefined {
  if (!settings.has(name)) return undefined;
  const value = settings.get(name);
  return typeof value === 'string' ? value : settings.object(name).string('content');
}
