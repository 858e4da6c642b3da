/**
 * Owns: where the tokenizer of a model is: in its GGUF file, or beside it in its Hugging Face folder.
 * Refuses to know: what tokenizers do, who needs one.
 */
import { HadalError } from '../error.ts';
import { TOKENIZER_CONFIG_JSON, TOKENIZER_JSON } from '../formats/hf-folder.ts';
import { readFolderText } from '../formats/open.node.ts';
import type { ModelFile } from '../formats/tensor-info.ts';
import { tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import { tokenizerFromJson } from '../tokenizer/from-json.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { endIdsOfFolder, jsonOf } from './hf-settings.ts';

/**
 * Reads what the tokenizer of a model is made of, unless it was read with the file; it is made when the result is called.
 *
 * @throws HadalError `tokenizer-missing`, `folder-json`; what is returned throws as `tokenizerFromGguf` and `tokenizerFromJson` do.
 * @example const tokenizer = (await tokenizerMaker(path, file))();
 */
export async function tokenizerMaker(
  path: string,
  { format, metadata, whole = false }: Pick<ModelFile, 'format' | 'metadata' | 'whole'>,
): Promise<() => Tokenizer> {
  if (format === 'gguf') return () => tokenizerFromGguf(metadata);
  const held = metadata.get(TOKENIZER_JSON);
  const later = () => (whole ? undefined : readFolderText(path, TOKENIZER_JSON));
  const text = typeof held === 'string' ? held : await later();
  if (text === undefined) {
    throw new HadalError('tokenizer-missing', {
      what: path,
      expected: TOKENIZER_JSON,
      got: 'no such file',
      next: 'fetch it too, or save it with `AutoTokenizer.from_pretrained(…).save_pretrained(…)`',
    });
  }
  const json = jsonOf(new Map([[TOKENIZER_JSON, text]]), TOKENIZER_JSON);
  return () => tokenizerFromJson(json, jsonOf(metadata, TOKENIZER_CONFIG_JSON), endIdsOfFolder(metadata));
}
