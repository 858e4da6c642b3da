/**
 * Owns: what a tokenizer.json says of normalising, splitting, decoding and framing text, read into our terms.
 * Refuses to know: vocabularies, added tokens.
 *
 * Patterns are known by their text, not compiled: each stands for rules that match it in linear time. What is not
 * known is refused with a sentence, never ignored.
 */
import type { Normalize } from './bpe.ts';
import { type JsonFields, unsupported } from './json-fields.ts';
import { NAMED_STEPS, PRE_TOKENIZERS, type Step } from './pre-tokenizers.ts';
import { METASPACE, type Writing } from './vocabulary.ts';

/** How text is prepared, in our terms. */
export interface Pipeline {
  readonly writing: Writing;
  readonly normalize: Normalize | undefined;
  readonly steps: readonly Step[];
  readonly dropsLeadingSpace: boolean;
  /** The special token that a template puts before a text. */
  readonly first: string | undefined;
}

const FORMS: readonly string[] = ['NFC', 'NFD', 'NFKC', 'NFKD'];

/** Published patterns by their text, with line breaks written as escapes. */
const PATTERNS: ReadonlyMap<string, Step> = new Map(
  Object.values(NAMED_STEPS).map(({ pattern, step }) => [canonical(pattern), step]),
);

/**
 * Reads the stages around the model of a tokenizer.json.
 *
 * @throws HadalError `tokenizer-unsupported` for a stage that is not supported, `tokenizer-field` for a malformed one.
 * @example readPipeline(new JsonFields(JSON.parse(text), 'tokenizer.json')).writing // 'byte-alphabet'
 */
export function readPipeline(json: JsonFields): Pipeline {
  const normalizers = stages(json, 'normalizer', 'normalizers');
  const splitters = stages(json, 'pre_tokenizer', 'pretokenizers');
  const decoders = stages(json, 'decoder', 'decoders');
  const writing = decoders.some((stage) => stage.string('type') === 'ByteLevel')
    ? 'byte-alphabet'
    : 'metaspace';
  const rewrites = normalizers.map(readNormalizer);
  const first = readTemplate(stages(json, 'post_processor', 'processors'));
  if (writing === 'byte-alphabet') {
    for (const stage of decoders)
      if (stage.string('type') !== 'ByteLevel') throw unknownStage(stage, '"ByteLevel"');
    return {
      writing,
      normalize: chain(rewrites),
      steps: readSplitters(json, splitters),
      dropsLeadingSpace: false,
      first,
    };
  }
  rewrites.push(...splitters.map(readMetaspace));
  return {
    writing,
    normalize: chain(rewrites),
    steps: [],
    dropsLeadingSpace: readDecoders(json, decoders),
    first,
  };
}

/** The stages of a field: those of a sequence, the one that it is, or none. */
function stages(json: JsonFields, name: string, list: string): JsonFields[] {
  if (!json.has(name)) return [];
  const open = (stage: JsonFields): JsonFields[] =>
    stage.string('type') === 'Sequence' ? stage.objects(list).flatMap(open) : [stage];
  return open(json.object(name));
}

function chain(rewrites: readonly Normalize[]): Normalize | undefined {
  if (rewrites.length === 0) return undefined;
  return (text, first) => rewrites.reduce((rewritten, rewrite) => rewrite(rewritten, first), text);
}

function readNormalizer(stage: JsonFields): Normalize {
  const type = stage.string('type');
  if (FORMS.includes(type)) return (text) => text.normalize(type);
  if (type === 'Prepend') {
    const start = stage.string('prepend');
    return (text) => (text === '' ? '' : start + text);
  }
  if (type === 'Replace') {
    const [from, to] = readReplacement(stage);
    return (text) => text.replaceAll(from, () => to);
  }
  throw unknownStage(
    stage,
    `one of ${[...FORMS, 'Prepend', 'Replace'].map((name) => `"${name}"`).join(', ')}`,
  );
}

/** The `String` pattern of a Replace and what it becomes. */
function readReplacement(stage: JsonFields): readonly [from: string, to: string] {
  const from = stage.object('pattern').optionalString('String');
  if (from === undefined || from === '') {
    throw unsupported(stage.at('pattern'), 'a text to replace', 'a regular expression or nothing');
  }
  return [from, stage.string('content')];
}

/** Steps of the pre-tokenizers of a byte-level vocabulary. */
function readSplitters(json: JsonFields, splitters: readonly JsonFields[]): Step[] {
  if (splitters.at(-1)?.string('type') !== 'ByteLevel') {
    const got = splitters.length === 0 ? 'none' : `"${splitters.at(-1)?.string('type')}"`;
    throw unsupported(json.at('pre_tokenizer'), 'one that ends with "ByteLevel"', got);
  }
  return splitters.flatMap((stage) => {
    const type = stage.string('type');
    if (type === 'ByteLevel') {
      stage.only('add_prefix_space', false);
      return stage.boolean('use_regex', true) ? [NAMED_STEPS.gpt2.step] : [];
    }
    if (type === 'Digits') {
      const { digit, digits } = NAMED_STEPS;
      return [stage.boolean('individual_digits', false) ? digit.step : digits.step];
    }
    if (type !== 'Split') throw unknownStage(stage, '"Split", "Digits" or "ByteLevel"');
    stage.only('behavior', 'Isolated');
    stage.only('invert', false);
    const pattern = stage.object('pattern').string('Regex');
    const step = PATTERNS.get(canonical(pattern));
    if (step === undefined) {
      const known = [...PRE_TOKENIZERS.keys()].join(', ');
      throw unsupported(stage.at('pattern'), `a pattern of ${known}`, JSON.stringify(pattern.slice(0, 80)));
    }
    return [step];
  });
}

/** A Metaspace stage, which rewrites spaces and does not split. */
function readMetaspace(stage: JsonFields): Normalize {
  if (stage.string('type') !== 'Metaspace')
    throw unknownStage(stage, '"Metaspace" before a decoder that is not "ByteLevel"');
  stage.only('replacement', METASPACE);
  stage.only('split', false);
  if (!stage.has('split')) throw unsupported(stage.at('split'), 'false', 'nothing, which means true');
  const scheme = stage.optionalString('prepend_scheme') ?? 'always';
  stage.only('prepend_scheme', 'always', 'first', 'never');
  return (text, first) => {
    const rewritten = text.replaceAll(' ', METASPACE);
    const prepends = scheme === 'always' || (scheme === 'first' && first);
    return prepends && text !== '' && !rewritten.startsWith(METASPACE) ? METASPACE + rewritten : rewritten;
  };
}

/** Whether the decoders of a vocabulary of characters leave out a space at the start. */
function readDecoders(json: JsonFields, decoders: readonly JsonFields[]): boolean {
  let spaces = false; // whether U+2581 becomes a space
  let drops = false;
  for (const stage of decoders) {
    const type = stage.string('type');
    if (type === 'Metaspace') {
      stage.only('replacement', METASPACE);
      const scheme = stage.optionalString('prepend_scheme') ?? 'always';
      if (scheme !== 'never')
        throw unsupported(stage.at('prepend_scheme'), '"never"', JSON.stringify(scheme));
      spaces = true;
    } else if (type === 'Replace') {
      const [from, to] = readReplacement(stage);
      if (from !== METASPACE || to !== ' ') {
        throw unsupported(
          stage.place,
          `"${METASPACE}" to " "`,
          `${JSON.stringify(from)} to ${JSON.stringify(to)}`,
        );
      }
      spaces = true;
    } else if (type === 'Strip') {
      stage.only('content', ' ');
      stage.only('start', 1);
      stage.only('stop', 0);
      drops = true;
    } else if (type !== 'ByteFallback' && type !== 'Fuse') {
      throw unknownStage(stage, '"ByteLevel", "Metaspace", "Replace", "ByteFallback", "Fuse" or "Strip"');
    }
  }
  if (!spaces)
    throw unsupported(json.at('decoder'), `"ByteLevel", or one that makes "${METASPACE}" a space`, 'neither');
  return drops;
}

/** The special token that a template puts before a text; one behind it is refused. */
function readTemplate(processors: readonly JsonFields[]): string | undefined {
  let first: string | undefined;
  for (const stage of processors) {
    const type = stage.string('type');
    if (type === 'ByteLevel') continue; // concerns offsets only
    if (type !== 'TemplateProcessing') throw unknownStage(stage, '"ByteLevel" or "TemplateProcessing"');
    const items = stage.objects('single');
    const sequence = items.findIndex((item) => item.has('Sequence'));
    if (sequence > 1 || sequence !== items.length - 1) {
      throw unsupported(
        stage.at('single'),
        'at most one special token, before the text',
        `${items.length} items`,
      );
    }
    if (sequence === 1) first = items[0]?.object('SpecialToken').string('id');
  }
  return first;
}

function unknownStage(stage: JsonFields, expected: string) {
  return unsupported(stage.at('type'), expected, JSON.stringify(stage.string('type')));
}

/** A pattern in one spelling: line breaks as escapes, other characters as themselves. */
function canonical(pattern: string): string {
  return pattern
    .replaceAll('\r', '\\r')
    .replaceAll('\n', '\\n')
    .replace(/\\u([0-9A-Fa-f]{4})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
