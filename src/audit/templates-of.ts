/**
 * Owns: finding every chat template in a model file.
 * Refuses to know: what is in one.
 */
import { CHAT_TEMPLATE, TOKENIZER_CONFIG_JSON } from '../formats/hf-folder.ts';
import type { MetaValue } from '../formats/tensor-info.ts';

/** A template and where it stands. */
export interface FoundTemplate {
  readonly where: string;
  readonly template: string;
}

/**
 * All chat templates of a model: those of a GGUF file, or of a folder's `chat_template.jinja` and `tokenizer_config.json`.
 *
 * @example templatesOf(file.metadata).map(({ where }) => where)
 */
export function templatesOf(metadata: ReadonlyMap<string, MetaValue>): FoundTemplate[] {
  const found: FoundTemplate[] = [];
  for (const [key, value] of metadata) {
    if (typeof value !== 'string') continue;
    if (key === CHAT_TEMPLATE || /^tokenizer\.chat_template(\.|$)/.test(key)) {
      found.push({ where: key, template: value });
    } else if (key === TOKENIZER_CONFIG_JSON) found.push(...templatesOfConfig(value));
  }
  return found;
}

function templatesOfConfig(text: string): FoundTemplate[] {
  let value: unknown;
  try {
    value = (JSON.parse(text) as { chat_template?: unknown } | null)?.chat_template;
  } catch {
    return [];
  }
  const where = `chat_template of ${TOKENIZER_CONFIG_JSON}`;
  if (typeof value === 'string') return [{ where, template: value }];
  if (!Array.isArray(value)) return [];
  return (value as { name?: unknown; template?: unknown }[]).flatMap((item) =>
    typeof item?.template === 'string'
      ? [{ where: `${where}, "${String(item.name)}"`, template: item.template }]
      : [],
  );
}
