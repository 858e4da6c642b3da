/**
 * Owns: reading calls in DeepSeek's markup language, of V3.2, V4 and V4.1.
 * Refuses to know: thinking and content before them, prompts.
 */
import { DSML } from '../deepseek-tokens.ts';
import { quoted } from '../python-json.ts';
import type { DsmlNames } from '../renderers/dsml.ts';
import type { Routine } from './source.ts';
import { type Reading, taggedParser } from './tagged.ts';

/**
 * The parser of a model that spells its tags with `names`. Arguments come as JSON text while they are being written: a
 * parameter that says `string="false"` as the model wrote it, any other as a JSON string.
 *
 * @example const parser = dsmlParser(DSML_V4)({ tokenizer, opens: 'reasoning', tools });
 */
export function dsmlParser(names: DsmlNames): ReturnType<typeof taggedParser> {
  const read = (reading: Reading) => readBlock(reading, names);
  return taggedParser({ marks: [DSML], begin: `<${DSML}`, read }, { thinks: true });
}

const INVOKE = /^ ?invoke\s+name="([^"]*)"\s*$/s;
const PARAMETER = /^ ?parameter\s+name="([^"]*)"(?:\s+string="(true|false)")?\s*$/s;

/** Begins behind the `<｜DSML｜` that was found. Everything between tags is ignored. */
function* readBlock(reading: Reading, names: DsmlNames): Routine {
  const { source, marked } = reading;
  const open = marked.pattern(`<${DSML}`);
  const close = marked.pattern(`</${DSML}`);
  const call = new Call(reading);
  let bracket: string | undefined = open;
  while (bracket !== undefined) {
    const tag: string | undefined = yield* readTag(reading);
    if (tag === undefined) return;
    if (bracket === close) {
      if (tag.trim() === names.block.trim()) break;
      if (tag.trim() === names.invoke.trim()) call.close();
    } else {
      const name = INVOKE.exec(tag)?.[1];
      if (name !== undefined) call.open(name);
      const [, key, isText] = PARAMETER.exec(tag) ?? [];
      if (key !== undefined && call.isOpen) {
        call.key(key, isText !== 'false');
        bracket = yield* source.until([close], (text) => call.value(text));
        if (bracket !== undefined) call.endValue();
        continue;
      }
    }
    bracket = yield* source.until([open, close], () => undefined);
  }
  if (bracket === undefined) return;
  call.close();
  yield* source.until([], () => undefined);
}

/** The text of a tag up to its `>`; undefined when the answer ends inside it. */
function* readTag({ source }: Reading): Routine<string | undefined> {
  let tag = '';
  const end = yield* source.until(['>'], (text) => {
    tag += text;
  });
  return end === undefined ? undefined : tag;
}

/** The call that is being read, as JSON text. */
class Call {
  readonly #reading: Reading;
  isOpen = false;
  #keys = 0;
  #isText = false;

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  open(name: string): void {
    this.close();
    this.isOpen = true;
    this.#keys = 0;
    this.#reading.writer.call(name);
  }

  key(name: string, isText: boolean): void {
    this.#isText = isText;
    this.#reading.writer.arguments(`${this.#keys++ === 0 ? '{' : ', '}${quoted(name)}: ${isText ? '"' : ''}`);
  }

  value(text: string): void {
    const said = this.#reading.marked.spelled(text);
    this.#reading.writer.arguments(this.#isText ? quoted(said).slice(1, -1) : said);
  }

  endValue(): void {
    if (this.#isText) this.#reading.writer.arguments('"');
  }

  close(): void {
    if (this.isOpen) this.#reading.writer.arguments(this.#keys === 0 ? '{}' : '}');
    this.isOpen = false;
  }
}
