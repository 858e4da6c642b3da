/**
 * Owns: the files that a Hugging Face folder is made of: their names, and which texts of it are read.
 * Refuses to know: where folders lie, what the texts say.
 */

/** Which file holds which tensor, where they are in several. */
export const INDEX_NAME = 'model.safetensors.index.json';
/** What the model is. */
export const CONFIG_JSON = 'config.json';
/** How it is best sampled, and what ends an answer. */
export const GENERATION_JSON = 'generation_config.json';
/** Which tokens begin and end a text; often the chat template. */
export const TOKENIZER_CONFIG_JSON = 'tokenizer_config.json';
/** The chat template, where it has a file of its own. */
export const CHAT_TEMPLATE = 'chat_template.jinja';
/** How an embedding model makes one vector of its hidden states. */
export const POOLING_JSON = '1_Pooling/config.json';
/** The vocabulary: by far the longest, so it is read only when it is wanted. */
export const TOKENIZER_JSON = 'tokenizer.json';

/** The texts that are read with the headers: they become metadata of the model file under these names. */
export const FOLDER_TEXTS = [
  CONFIG_JSON,
  GENERATION_JSON,
  TOKENIZER_CONFIG_JSON,
  CHAT_TEMPLATE,
  POOLING_JSON,
] as const;

/** Those that are read later or apart: all of them together are all that is ever read of a folder beside its tensors. */
export const LATER_TEXTS = [TOKENIZER_JSON, INDEX_NAME] as const;

/** Longest text of a folder in bytes; the longest vocabularies known today take half of it. */
export const MOST_TEXT_BYTES = 64 << 20;
