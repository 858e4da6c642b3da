/**
 * Owns: a Llama file written anew in plain numbers, its rows padded with zeros to whole blocks of 256, its function unchanged.
 * Refuses to know: what is made of the file.
 *
 * SmolLM2's rows are 576 wide, so none of the types whose blocks are 256 wide would be in a file of it. Wider rows change
 * nothing when what is added is zero: of the embedding, of every matrix that reads or writes the hidden state, and whole
 * heads in their groups. Only the norms see how wide a row is: over `wide` in place of `hidden` numbers the mean of the
 * squares is smaller by hidden / wide, so eps is made smaller by the same, and the weights by its root.
 *
 *   node scripts/pad-model.mjs IN OUT [TYPE] [MULTIPLE]     (after a build)
 *     IN        a GGUF file of the architecture llama, in any type: it is decoded
 *     TYPE      F32, F16 or BF16; F16 otherwise
 *     MULTIPLE  what rows are padded to a multiple of; 256 otherwise, and 1 only decodes
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dtype, rowBytes } from '../dist/dtypes/table.js';
import { layOutGguf, typed } from '../dist/formats/gguf/write.js';
import { closeModelFile, openModelFile } from '../dist/formats/open.node.js';
import { fileTypeMetadata } from '../dist/quantize/quantize.node.js';

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [path, out, type = 'F16', multiple = '256'] = process.argv.slice(2);
  if (out === undefined) console.log('usage: node scripts/pad-model.mjs IN OUT [TYPE] [MULTIPLE]');
  else await padModel({ path, out, type, multiple: Number(multiple) });
}

/** Writes `path` to `out` in `type`, its rows padded to a multiple of `multiple`. */
export async function padModel({ path, out, type = 'F16', multiple = 256 }) {
  const file = await openModelFile(path);
  try {
    const widths = widthsOf(file, multiple);
    const plans = [...file.tensors.values()].map((info) => {
      const shape = paddedShape(info, widths);
      return { name: info.name, dtype: shape.length > 1 ? type : 'F32', shape, info };
    });
    const { header, places } = layOutGguf({ metadata: metadataOf(file, widths, type), tensors: plans });
    const handle = openSync(out, 'w');
    try {
      writeSync(handle, header, 0, header.length, 0);
      for (const [i, plan] of plans.entries()) {
        const bytes = encoded(await paddedValues(file, plan, widths), plan);
        writeSync(handle, bytes, 0, bytes.length, places[i].offset);
      }
    } finally {
      closeSync(handle);
    }
  } finally {
    await closeModelFile(file);
  }
}

/** What is how wide, and how wide it becomes. */
function widthsOf({ metadata, tensors }, multiple) {
  const of = (key) => Number(metadata.get(`llama.${key}`));
  if (metadata.get('general.architecture') !== 'llama')
    throw new Error('only the architecture llama is padded');
  const [hidden, heads, kvHeads] = [
    'embedding_length',
    'attention.head_count',
    'attention.head_count_kv',
  ].map(of);
  const headDim = tensors.get('blk.0.attn_q.weight').shape[1] / heads;
  const up = (n) => Math.ceil(n / multiple) * multiple;
  // Query heads share key heads in groups, so what is added is whole groups.
  const group = heads / kvHeads;
  let wideKv = kvHeads;
  while ((wideKv * group * headDim) % multiple !== 0) wideKv++;
  return {
    hidden: [hidden, up(hidden)],
    inter: [of('feed_forward_length'), up(of('feed_forward_length'))],
    heads: [heads, wideKv * group],
    kvHeads: [kvHeads, wideKv],
    headDim,
  };
}

function paddedShape({ name, shape }, { hidden, inter, heads, kvHeads, headDim }) {
  const wide = new Map([
    ['attn_q', [hidden[1], heads[1] * headDim]],
    ['attn_k', [hidden[1], kvHeads[1] * headDim]],
    ['attn_v', [hidden[1], kvHeads[1] * headDim]],
    ['attn_output', [heads[1] * headDim, hidden[1]]],
    ['ffn_gate', [hidden[1], inter[1]]],
    ['ffn_up', [hidden[1], inter[1]]],
    ['ffn_down', [inter[1], hidden[1]]],
    ['attn_norm', [hidden[1]]],
    ['ffn_norm', [hidden[1]]],
    ['output_norm', [hidden[1]]],
    ['token_embd', [hidden[1], shape[1]]],
    ['output', [hidden[1], shape[1]]],
  ]);
  const [, part] = /^(?:blk\.\d+\.)?(\w+)\.weight$/.exec(name) ?? [];
  if (!wide.has(part)) throw new Error(`no rule says how ${name} is padded`);
  return wide.get(part);
}

/** Values in their new shape: what there was comes first in every row and column, zeros after it. */
async function paddedValues(file, { info, shape }, { hidden }) {
  const { dtype: from, shape: old, source, offset, bytes } = info;
  const [cols, rows = 1] = old;
  const values = new Float32Array(cols * rows);
  dtype(from).decode(await file.sources[source].read(offset, bytes), 0, values, 0, values.length);
  const [wideCols, wideRows = 1] = shape;
  const wide = new Float32Array(wideCols * wideRows);
  for (let row = 0; row < rows; row++)
    wide.set(values.subarray(row * cols, (row + 1) * cols), row * wideCols);
  // The norms are all that is no matrix.
  return shape.length > 1 ? wide : wide.map((weight) => weight * Math.sqrt(hidden[0] / hidden[1]));
}

function encoded(values, { dtype: type, shape }) {
  const bytes = new Uint8Array(rowBytes(type, shape[0]) * (values.length / shape[0]));
  dtype(type).encode(values, 0, bytes, 0, values.length);
  return bytes;
}

function metadataOf({ metadata, metadataTypes }, { hidden, inter, heads, kvHeads, headDim }, type) {
  const eps = Number(metadata.get('llama.attention.layer_norm_rms_epsilon'));
  const changed = new Map([
    ['llama.embedding_length', typed('u32', hidden[1])],
    ['llama.feed_forward_length', typed('u32', inter[1])],
    ['llama.attention.head_count', typed('u32', heads[1])],
    ['llama.attention.head_count_kv', typed('u32', kvHeads[1])],
    ['llama.attention.key_length', typed('u32', headDim)],
    ['llama.attention.value_length', typed('u32', headDim)],
    ['llama.attention.layer_norm_rms_epsilon', typed('f32', (eps * hidden[0]) / hidden[1])],
    ...fileTypeMetadata(type),
  ]);
  const kept = [...metadata].filter(([key]) => !changed.has(key));
  return [...kept.map(([key, value]) => [key, typed(metadataTypes.get(key), value)]), ...changed];
}
