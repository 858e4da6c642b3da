/**
 * Owns: writing a Hugging Face tokenizer as the fields of a GGUF file.
 * Refuses to know: where the texts lie, GGUF's bytes.
 */
import { HadalError } from '../error.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import { tokenizerFromJson } from './from-json.ts';
import { JsonFields } from './json-fields.ts';
import { readPipeline } from './json-pipeline.ts';
import { PRE_TOKENIZERS, type Step } from './pre-tokenizers.ts';
import { looksLikeControl, TokenKind } from './vocabulary.ts';

/** What {@link ggufTokenizer} is given. */
export interface FolderTokenizer {
  /** The parsed tokenizer.json and tokenizer_config.json. */
  readonly json: unknown;
  readonly config: unknown;
  /** Ids that end an answer, of generation_config.json. */
  readonly ends: readonly number[];
  /** Rows of the embedding: ids that the tokenizer does not have become unused tokens. */
  readonly vocabSize: number;
  readonly chatTemplate?: string;
}

/**
 * The keys `tokenizer.*` of a GGUF file for a byte-level tokenizer.
 *
 * @throws HadalError as {@link tokenizerFromJson} does; `tokenizer-unsupported` for a tokenizer that GGUF has no name for.
 * @example ggufTokenizer({ json, config, ends: [1], vocabSize: 129280 }).get('tokenizer.ggml.pre') // 'deepseek-v3'
 */
export function ggufTokenizer(of: FolderTokenizer): Map<string, MetaValue> {
  const { json, config, ends, vocabSize, chatTemplate } = of;
  const tokenizer = tokenizerFromJson(json, config, ends);
  const root = new JsonFields(json, 'tokenizer.json');
  const { tokens, kinds } = vocabulary(root, new JsonFields(config, 'tokenizer_config.json'), vocabSize);
  const pad = padOf(config);
  const padId = pad === undefined ? undefined : tokenizer.idOf(pad);
  const otherEnd = ends.find((id) => id !== tokenizer.eosId);
  const fields: [string, MetaValue | undefined][] = [
    ['ggml.model', 'gpt2'],
    ['ggml.pre', preTokenizerName(root)],
    ['ggml.tokens', tokens],
    ['ggml.token_type', kinds],
    ['ggml.merges', mergesOf(root)],
    ['ggml.bos_token_id', tokenizer.bosId],
    ['ggml.eos_token_id', tokenizer.eosId],
    ['ggml.eot_token_id', otherEnd],
    ['ggml.padding_token_id', padId],
    ['ggml.add_bos_token', tokenizer.addsBos],
    ['chat_template', chatTemplate],
  ];
  return new Map(
    fields.flatMap(([key, value]) => (value === undefined ? [] : [[`tokenizer.${key}`, value] as const])),
  );
}

/** GGUF's name of the way in which text is cut. */
function preTokenizerName(root: JsonFields): string {
  const { steps, writing } = readPipeline(root);
  const ignoreMerges = root.object('model').boolean('ignore_merges', false);
  const alike = (other: readonly Step[]) =>
    other.length === steps.length && other.every((step, i) => step === steps[i]);
  for (const [name, known] of PRE_TOKENIZERS) {
    if (writing === 'byte-alphabet' && known.ignoreMerges === ignoreMerges && alike(known.steps)) return name;
  }
  throw new HadalError('tokenizer-unsupported', {
    what: 'the tokenizer of the folder',
    expected: `one that cuts text like ${[...PRE_TOKENIZERS.keys()].join(', ')}`,
    got: writing === 'byte-alphabet' ? 'other patterns' : 'a vocabulary of characters',
    next: 'run the folder as it is: GGUF has no name for its tokenizer that Hadal knows',
  });
}

/** Texts and kinds by id, as llama.cpp's converter writes them. Source: `get_vocab_base` of its conversion code. */
function vocabulary(
  root: JsonFields,
  settings: JsonFields,
  vocabSize: number,
): { readonly tokens: string[]; readonly kinds: Int32Array } {
  const texts = new Map<number, string>();
  for (const [text, id] of root.object('model').object('vocab').entries()) texts.set(Number(id), text);
  const added = new Map<number, number>();
  const add = (id: number, token: JsonFields) => {
    const text = token.string('content');
    texts.set(id, text);
    const control = token.boolean('special', false) || looksLikeControl(text);
    added.set(id, control ? TokenKind.CONTROL : TokenKind.USER_DEFINED);
  };
  if (settings.has('added_tokens_decoder')) {
    const listed = settings.object('added_tokens_decoder');
    for (const [id] of listed.entries()) add(Number(id), listed.object(id));
  }
  for (const token of root.objects('added_tokens')) add(Number(token.get('id')), token);
  let count = vocabSize;
  for (const id of texts.keys()) count = Math.max(count, id + 1);
  const tokens = Array.from({ length: count }, (_, id) => texts.get(id) ?? `[PAD${id}]`);
  const kinds = Int32Array.from(tokens, (_, id) =>
    texts.has(id) ? (added.get(id) ?? TokenKind.NORMAL) : TokenKind.UNUSED,
  );
  return { tokens, kinds };
}

function mergesOf(root: JsonFields): string[] {
  return root
    .object('model')
    .array('merges')
    .map((rule) => (typeof rule === 'string' ? rule : (rule as readonly string[]).join(' ')));
}

function padOf(config: unknown): string | undefined {
  const settings = new JsonFields(config, 'tokenizer_config.json');
  if (!settings.has('pad_token')) return undefined;
  const value = settings.get('pad_token');
  return typeof value === 'string' ? value : settings.object('pad_token').optionalString('content');
}
