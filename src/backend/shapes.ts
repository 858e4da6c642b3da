/**
 * Owns: what shapes every operation of the waist accepts, checked in the same words for all backends.
 * Refuses to know: how operations are carried out, the values inside tensors.
 *
 * Every check throws a HadalError with code `shape` whose sentence names the operation and the argument.
 */
import { HadalError } from '../error.ts';
import type {
  AttendOptions,
  Batch,
  CacheStore,
  ExpertWeights,
  LatentAttendOptions,
  LatentWeights,
  PickOptions,
  Product,
  RopeOptions,
  RouteOptions,
  ScaleBlock,
  Span,
  Tensor,
  Weight,
} from './backend.ts';
import { cacheRowBytes } from './cache-format.ts';

/** Throws unless the condition holds. Example: `demand(cols === 64, 'rope', 'x', '64 columns', cols)`. */
function demand(holds: boolean, operation: string, argument: string, expected: string, got: unknown): void {
  if (holds) return;
  throw new HadalError('shape', { what: `${operation}: ${argument}`, expected, got: String(got) });
}

/** Whole, at least 0 and below 2^31. */
function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < 2 ** 31;
}

function checkSpan(operation: string, { rows, decodeRows }: Span): void {
  demand(isCount(rows), operation, 'span', 'a whole number of rows', rows);
  demand(
    isCount(decodeRows) && decodeRows <= rows,
    operation,
    'span',
    `0 to ${rows} rows of the decode class`,
    decodeRows,
  );
}

function checkTensor(
  operation: string,
  argument: string,
  tensor: Tensor,
  dtype: Tensor['dtype'],
  rows: number,
  cols: number,
): void {
  demand(tensor.dtype === dtype, operation, argument, `numbers of type ${dtype}`, tensor.dtype);
  demand(tensor.rows >= rows, operation, argument, `at least ${rows} rows`, tensor.rows);
  demand(tensor.cols === cols, operation, argument, `${cols} columns`, tensor.cols);
}

function checkWeight(
  operation: string,
  argument: string,
  weight: Weight,
  experts: number,
  rows: number,
  cols: number,
): void {
  const shape = `[${weight.experts}, ${weight.rows}, ${weight.cols}]`;
  const fits = weight.experts === experts && weight.rows === rows && weight.cols === cols;
  const expected = `[experts, rows, cols] = [${experts}, ${rows}, ${cols}]`;
  demand(fits, operation, `${argument} "${weight.name}"`, expected, shape);
}

function checkVector(operation: string, argument: string, weight: Weight, cols: number): void {
  checkWeight(operation, argument, weight, 1, 1, cols);
}

function checkCache(operation: string, argument: string, cache: CacheStore, cols: number): void {
  demand(cache.cols === cols, operation, argument, `rows of ${cols} numbers`, cache.cols);
}

function checkBatch(operation: string, batch: Batch, pageRows: number): void {
  checkSpan(operation, batch);
  checkTensor(operation, 'batch.positions', batch.positions, 'I32', batch.rows, 1);
  checkTensor(operation, 'batch.sequences', batch.sequences, 'I32', batch.rows, 1);
  demand(batch.pages.dtype === 'I32', operation, 'batch.pages', 'numbers of type I32', batch.pages.dtype);
  demand(pageRows > 0, operation, 'cache', 'pages of at least one row', pageRows);
}

/** Checks {@link Backend.tensor}. Example: `checkNewTensor(4, 576)`. */
export function checkNewTensor(rows: number, cols: number): void {
  demand(isCount(rows) && rows > 0, 'tensor', 'rows', 'a whole number above 0', rows);
  demand(isCount(cols) && cols > 0, 'tensor', 'cols', 'a whole number above 0', cols);
}

/** Checks {@link Backend.columns}. Example: `checkColumns(q, 0, 64)`. */
export function checkColumns(of: Tensor, start: number, cols: number): void {
  demand(
    isCount(start) && isCount(cols) && cols > 0,
    'columns',
    'range',
    'whole numbers',
    `${start}, ${cols}`,
  );
  const end = start + cols;
  demand(end <= of.cols, 'columns', 'range', `an end of at most ${of.cols}`, end);
}

/** Checks {@link Backend.cache}. Example: `checkNewCache(8, 64, 192)`. */
export function checkNewCache(pages: number, pageRows: number, cols: number): void {
  demand(isCount(pages) && pages > 0, 'cache', 'pages', 'a whole number above 0', pages);
  demand(isCount(pageRows) && pageRows > 0, 'cache', 'pageRows', 'a whole number above 0', pageRows);
  demand(isCount(cols) && cols > 0, 'cache', 'cols', 'a whole number above 0', cols);
}

/** Checks {@link Backend.readPage}, and with bytes {@link Backend.writePage}. Example: `checkPage(store, 3)`. */
export function checkPage(
  { dtype, pages, pageRows, cols }: CacheStore,
  page: number,
  bytes?: Uint8Array,
): void {
  demand(isCount(page) && page < pages, 'page', 'page', `one of ${pages}`, page);
  const size = pageRows * cacheRowBytes(dtype, cols);
  if (bytes) demand(bytes.length === size, 'writePage', 'bytes', `${size} of them`, bytes.length);
}

/** Checks {@link Backend.reshape}. Example: `checkReshape(kvB, 16, 256, 512)`. */
export function checkReshape(weight: Weight, experts: number, rows: number, cols: number): void {
  const total = weight.experts * weight.rows * weight.cols;
  const got = `[${experts}, ${rows}, ${cols}]`;
  const whole = [experts, rows, cols].every((n) => isCount(n) && n > 0);
  demand(
    whole && experts * rows * cols === total,
    'reshape',
    `"${weight.name}"`,
    `a shape of ${total} numbers`,
    got,
  );
}

/** Checks {@link Backend.stack}. Example: `checkStack('blk.1.ffn_up_exps.weight', ups)`. */
export function checkStack(name: string, parts: readonly Weight[]): void {
  const first = parts[0];
  demand(first !== undefined, 'stack', `"${name}"`, 'at least one weight', parts.length);
  const kind = ({ dtype, experts, rows, cols, scaleBlock }: Weight) =>
    `${dtype} [${experts}, ${rows}, ${cols}]${scaleBlock ? ` scaled by ${scaleBlock.rows} x ${scaleBlock.cols}` : ''}`;
  const expected = kind({ ...first!, experts: 1 });
  for (const part of parts) demand(kind(part) === expected, 'stack', `"${part.name}"`, expected, kind(part));
}

/** Checks {@link Backend.scaled}. Example: `checkScaled(q, qScales, { rows: 128, cols: 128 })`. */
export function checkScaled(weight: Weight, scales: Weight, block: ScaleBlock): void {
  const whole = isCount(block.rows) && isCount(block.cols) && block.rows > 0 && block.cols > 0;
  demand(whole, 'scaled', 'block', 'whole numbers above 0', `${block.rows} x ${block.cols}`);
  demand(scales.dtype === 'F32', 'scaled', `scales "${scales.name}"`, 'numbers of type F32', scales.dtype);
  const rows = Math.ceil(weight.rows / block.rows);
  checkWeight('scaled', 'scales', scales, weight.experts, rows, Math.ceil(weight.cols / block.cols));
}

/** Checks {@link Backend.write}. Example: `checkWrite(tokens, Int32Array.of(1, 2))`. */
export function checkWrite(to: Tensor, data: Float32Array | Int32Array): void {
  const dtype = data instanceof Float32Array ? 'F32' : 'I32';
  demand(to.dtype === dtype, 'write', 'data', `numbers of type ${to.dtype}`, dtype);
  demand(
    data.length <= to.rows * to.cols,
    'write',
    'data',
    `at most ${to.rows * to.cols} numbers`,
    data.length,
  );
}

/** Checks {@link Backend.read}. Example: `checkRead(logits, 1)`. */
export function checkRead(from: Tensor, rows: number): void {
  demand(isCount(rows) && rows <= from.rows, 'read', 'rows', `0 to ${from.rows}`, rows);
}

/** Checks {@link Backend.embed}. */
export function checkEmbed(span: Span, out: Tensor, table: Weight, tokens: Tensor): void {
  checkSpan('embed', span);
  checkWeight('embed', 'table', table, 1, table.rows, table.cols);
  checkTensor('embed', 'out', out, 'F32', span.rows, table.cols);
  checkTensor('embed', 'tokens', tokens, 'I32', span.rows, 1);
}

/** Checks {@link Backend.rmsNorm}. */
export function checkRmsNorm(span: Span, out: Tensor, x: Tensor, weight: Weight): void {
  checkSpan('rmsNorm', span);
  checkVector('rmsNorm', 'weight', weight, weight.cols);
  demand(x.cols % weight.cols === 0, 'rmsNorm', 'x', `a multiple of ${weight.cols} columns`, x.cols);
  checkTensor('rmsNorm', 'x', x, 'F32', span.rows, x.cols);
  checkTensor('rmsNorm', 'out', out, 'F32', span.rows, x.cols);
}

/** Checks {@link Backend.layerNorm}. */
export function checkLayerNorm(span: Span, out: Tensor, x: Tensor, weight: Weight, bias: Weight): void {
  checkSpan('layerNorm', span);
  checkVector('layerNorm', 'weight', weight, weight.cols);
  checkVector('layerNorm', 'bias', bias, weight.cols);
  demand(x.cols % weight.cols === 0, 'layerNorm', 'x', `a multiple of ${weight.cols} columns`, x.cols);
  checkTensor('layerNorm', 'x', x, 'F32', span.rows, x.cols);
  checkTensor('layerNorm', 'out', out, 'F32', span.rows, x.cols);
}

/** Checks {@link Backend.matmul}. */
export function checkMatmul(span: Span, x: Tensor, products: readonly Product[]): void {
  checkSpan('matmul', span);
  checkTensor('matmul', 'x', x, 'F32', span.rows, x.cols);
  for (const { weight, out, bias, add, gate } of products) {
    checkWeight('matmul', 'weight', weight, 1, weight.rows, x.cols);
    checkTensor('matmul', `out of "${weight.name}"`, out, 'F32', span.rows, weight.rows);
    demand(out.id !== x.id, 'matmul', `out of "${weight.name}"`, 'another tensor than x', 'x itself');
    if (gate) {
      checkWeight('matmul', 'gate', gate, 1, weight.rows, x.cols);
      const beside = bias ? 'a bias' : 'something to add to';
      demand(!bias && !add, 'matmul', `gate "${gate.name}"`, 'neither bias nor add beside it', beside);
    }
    if (!bias) continue;
    checkVector('matmul', 'bias', bias, weight.rows);
    demand(bias.dtype === 'F32', 'matmul', `bias "${bias.name}"`, 'numbers of type F32', bias.dtype);
  }
}

/** Checks {@link Backend.rope}. */
export function checkRope(
  span: Span,
  x: Tensor,
  positions: Tensor,
  frequencies: Weight,
  { heads, headDim, offset, ropeDim }: RopeOptions,
): void {
  checkSpan('rope', span);
  checkTensor('rope', 'x', x, 'F32', span.rows, heads * headDim);
  checkTensor('rope', 'positions', positions, 'I32', span.rows, 1);
  demand(isCount(ropeDim) && ropeDim % 2 === 0, 'rope', 'ropeDim', 'an even number', ropeDim);
  const end = offset + ropeDim;
  demand(isCount(offset) && end <= headDim, 'rope', 'offset + ropeDim', `at most ${headDim}`, end);
  checkVector('rope', 'frequencies', frequencies, ropeDim / 2);
}

/** Checks {@link Backend.store}. */
export function checkStore(span: Span, cache: CacheStore, x: Tensor, slots: Tensor): void {
  checkSpan('store', span);
  checkTensor('store', 'x', x, 'F32', span.rows, cache.cols);
  checkTensor('store', 'slots', slots, 'I32', span.rows, 1);
}

/** Checks {@link Backend.attend}. */
export function checkAttend(
  batch: Batch,
  out: Tensor,
  q: Tensor,
  keys: CacheStore,
  values: CacheStore,
  { heads, kvHeads, headDim, valueDim }: AttendOptions,
): void {
  checkBatch('attend', batch, keys.pageRows);
  demand(
    kvHeads > 0 && heads % kvHeads === 0,
    'attend',
    'heads',
    `a multiple of kvHeads = ${kvHeads}`,
    heads,
  );
  checkTensor('attend', 'q', q, 'F32', batch.rows, heads * headDim);
  checkTensor('attend', 'out', out, 'F32', batch.rows, heads * valueDim);
  checkCache('attend', 'keys', keys, kvHeads * headDim);
  checkCache('attend', 'values', values, kvHeads * valueDim);
  demand(
    values.pageRows === keys.pageRows && values.pages === keys.pages,
    'attend',
    'values',
    `${keys.pages} pages of ${keys.pageRows} rows like the keys`,
    `${values.pages} of ${values.pageRows}`,
  );
}

/** Checks {@link Backend.latentAttend}. */
export function checkLatentAttend(
  batch: Batch,
  out: Tensor,
  q: Tensor,
  latents: CacheStore,
  weights: LatentWeights,
  { heads, nopeDim, ropeDim, valueDim, latentDim }: LatentAttendOptions,
  picks?: Tensor,
): void {
  checkBatch('latentAttend', batch, latents.pageRows);
  if (picks) checkTensor('latentAttend', 'picks', picks, 'I32', batch.rows, picks.cols);
  checkTensor('latentAttend', 'q', q, 'F32', batch.rows, heads * (nopeDim + ropeDim));
  checkTensor('latentAttend', 'out', out, 'F32', batch.rows, heads * valueDim);
  checkCache('latentAttend', 'latents', latents, latentDim + ropeDim);
  if ('kvB' in weights) {
    const { kvB } = weights;
    checkWeight('latentAttend', 'kvB', kvB, 1, heads * (nopeDim + valueDim), latentDim);
  } else {
    checkWeight('latentAttend', 'kB', weights.kB, heads, latentDim, nopeDim);
    checkWeight('latentAttend', 'vB', weights.vB, heads, valueDim, latentDim);
  }
}

/** Checks {@link Backend.pickRows}. */
export function checkPickRows(
  batch: Batch,
  picks: Tensor,
  q: Tensor,
  weights: Tensor,
  keys: CacheStore,
  { heads, dim }: PickOptions,
): void {
  checkBatch('pickRows', batch, keys.pageRows);
  checkTensor('pickRows', 'picks', picks, 'I32', batch.rows, picks.cols);
  checkTensor('pickRows', 'q', q, 'F32', batch.rows, heads * dim);
  checkTensor('pickRows', 'weights', weights, 'F32', batch.rows, heads);
  checkCache('pickRows', 'keys', keys, dim);
}

/** Checks {@link Backend.add}. */
export function checkAdd(span: Span, out: Tensor, x: Tensor): void {
  checkSpan('add', span);
  checkTensor('add', 'out', out, 'F32', span.rows, out.cols);
  checkTensor('add', 'x', x, 'F32', span.rows, out.cols);
}

/** Checks {@link Backend.gather}. */
export function checkGather(span: Span, out: Tensor, x: Tensor, rows: Tensor): void {
  checkSpan('gather', span);
  checkTensor('gather', 'out', out, 'F32', span.rows, x.cols);
  checkTensor('gather', 'x', x, 'F32', 1, x.cols);
  checkTensor('gather', 'rows', rows, 'I32', span.rows, 1);
  demand(out.id !== x.id, 'gather', 'out', 'another tensor than x', 'x itself');
}

/** Checks {@link Backend.route}. */
export function checkRoute(
  span: Span,
  ids: Tensor,
  weights: Tensor,
  logits: Tensor,
  bias: Weight | undefined,
  { used, groups, groupsUsed }: RouteOptions,
): void {
  checkSpan('route', span);
  checkTensor('route', 'logits', logits, 'F32', span.rows, logits.cols);
  checkTensor('route', 'ids', ids, 'I32', span.rows, used);
  checkTensor('route', 'weights', weights, 'F32', span.rows, used);
  const whole = isCount(groups) && groups > 0 && logits.cols % groups === 0;
  demand(whole, 'route', 'groups', `a divisor of ${logits.cols} experts`, groups);
  const someGroups = isCount(groupsUsed) && groupsUsed > 0 && groupsUsed <= groups;
  demand(someGroups, 'route', 'groupsUsed', `1 to ${groups}`, groupsUsed);
  const open = (logits.cols / groups) * groupsUsed;
  demand(isCount(used) && used > 0 && used <= open, 'route', 'used', `1 to ${open}`, used);
  if (bias) checkVector('route', 'bias', bias, logits.cols);
}

/** Checks {@link Backend.experts}. */
export function checkExperts(
  span: Span,
  out: Tensor,
  x: Tensor,
  ids: Tensor,
  weights: Tensor,
  { gate, up, down }: ExpertWeights,
): void {
  checkSpan('experts', span);
  checkTensor('experts', 'x', x, 'F32', span.rows, gate.cols);
  checkTensor('experts', 'out', out, 'F32', span.rows, gate.cols);
  checkTensor('experts', 'ids', ids, 'I32', span.rows, ids.cols);
  checkTensor('experts', 'weights', weights, 'F32', span.rows, ids.cols);
  checkWeight('experts', 'up', up, gate.experts, gate.rows, gate.cols);
  checkWeight('experts', 'down', down, gate.experts, gate.cols, gate.rows);
  demand(out.id !== x.id, 'experts', 'out', 'another tensor than x', 'x itself');
}

/** Checks {@link Backend.countExperts}. */
export function checkCountExperts(span: Span, counts: Tensor, ids: Tensor): void {
  checkSpan('countExperts', span);
  checkTensor('countExperts', 'counts', counts, 'I32', 1, counts.cols);
  checkTensor('countExperts', 'ids', ids, 'I32', span.rows, ids.cols);
}

/** Checks {@link Backend.argmax}. */
export function checkArgmax(span: Span, out: Tensor, logits: Tensor): void {
  checkSpan('argmax', span);
  checkTensor('argmax', 'out', out, 'I32', span.rows, 1);
  checkTensor('argmax', 'logits', logits, 'F32', span.rows, logits.cols);
}
