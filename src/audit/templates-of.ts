/**
 * Owns: finding every chat template in a model file, and in the texts that lie beside one.
 * Refuses to know: what is in one.
 */
import { HadalError } from '../error.ts';
import { CHAT_TEMPLATE, TOKENIZER_CONFIG_JSON } from '../formats/hf-folder.ts';
import type { MetaValue } from '../formats/tensor-info.ts';

/** A template and where it stands. */
export interface FoundTemplate {
  readonly where: string;
  readonly template: string;
}

/** Texts in JSON that transformers takes a template from: those of tokenizers and of processors. */
const IN_JSON = /(^|[/\\])(tokenizer_config|chat_template|processor_config)\.json$/i;
const JINJA = /\.(jinja2?|j2)$/i;

/** What of a template a file is by its name: all of one, a holder of some, or nothing. */
export function holdsTemplates(name: string): 'whole' | 'json' | undefined {
  if (JINJA.test(name)) return 'whole';
  return IN_JSON.test(name) ? 'json' : undefined;
}

/**
 * All chat templates of a model: those of a GGUF file, or of a folder's `chat_template.jinja` and `tokenizer_config.json`.
 *
 * @throws HadalError as {@link templatesOfJson} does.
 * @example templatesOf(file.metadata).map(({ where }) => where)
 */
export function templatesOf(metadata: ReadonlyMap<string, MetaValue>): FoundTemplate[] {
  const found: FoundTemplate[] = [];
  for (const [key, value] of metadata) {
    if (typeof value !== 'string') continue;
    if (key === CHAT_TEMPLATE || /^tokenizer\.chat_template(\.|$)/.test(key)) {
      found.push({ where: key, template: value });
    } else if (key === TOKENIZER_CONFIG_JSON) found.push(...templatesOfJson(key, value));
  }
  return found;
}

/**
 * The templates under `chat_template` of a text in JSON: one, a list of named ones, or an object of them.
 *
 * @param name of the text
 * @throws HadalError `template-unreadable` for a text that is no JSON, and for templates of another form.
 * @example templatesOfJson('tokenizer_config.json', '{"chat_template": "{{ messages }}"}').length // 1
 */
export function templatesOfJson(name: string, text: string): FoundTemplate[] {
  const where = `chat_template of ${name}`;
  let value: unknown;
  try {
    value = (JSON.parse(text) as { chat_template?: unknown } | null)?.chat_template ?? undefined;
  } catch {
    throw unreadable(name, 'JSON', 'something else');
  }
  if (value === undefined) return [];
  if (typeof value === 'string') return [{ where, template: value }];
  const named = Array.isArray(value)
    ? (value as ({ name?: unknown; template?: unknown } | null)[]).map((one) => [one?.name, one?.template])
    : typeof value === 'object'
      ? Object.entries(value as object)
      : [];
  if (named.length === 0 || named.some(([, template]) => typeof template !== 'string')) {
    throw unreadable(where, 'a text, or a list or an object of named texts', 'something else');
  }
  return named.map(([called, template]) => ({
    where: `${where}, "${String(called)}"`,
    template: template as string,
  }));
}

function unreadable(what: string, expected: string, got: string): HadalError {
  return new HadalError('template-unreadable', { what, expected, got, next: 'fetch it again' });
}
