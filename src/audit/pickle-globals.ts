/**
 * Owns: the table of the Python names that weights need, and what a pickle may do with each.
 * Refuses to know: opcodes.
 *
 * Everything that is not in this list is refused, whatever it is. Names are whole: no attribute of an attribute.
 * Sources: what torch.save of PyTorch 2.15 and numpy 1.26 and 2.4 write (test/golden/audit), and their older forms; the names that `torch.load` allows with
 * `weights_only=True` (torch/_weights_only_unpickler.py) are a superset.
 */

/** What a pickle may do with a name: call it, call it and then set its state, or only pass it on. */
export type Use = 'call' | 'call-and-build' | 'pass';

const STORAGES =
  'Double Float Half BFloat16 Long Int Short Char Byte Bool ComplexDouble ComplexFloat QInt8 QUInt8 QInt32 Untyped'
    .split(' ')
    .map((type) => `${type}Storage`);
const DTYPES = (
  'float16 float32 float64 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu ' +
  'uint8 uint16 uint32 uint64 int8 int16 int32 int64 bool complex32 complex64 complex128 qint8 quint8 qint32'
).split(' ');

const table = new Map<string, Use>([
  ['collections OrderedDict', 'call-and-build'],
  ['torch._utils _rebuild_tensor', 'call'],
  ['torch._utils _rebuild_tensor_v2', 'call'],
  ['torch._utils _rebuild_tensor_v3', 'call'],
  ['torch._utils _rebuild_parameter', 'call'],
  ['torch._utils _rebuild_sparse_tensor', 'call'],
  ['torch._utils _rebuild_qtensor', 'call'],
  ['torch.serialization _get_layout', 'call'],
  ['torch Size', 'call'],
  ['torch device', 'call'],
  ['torch.storage UntypedStorage', 'pass'],
  ['torch per_tensor_affine', 'pass'],
  ['torch per_channel_affine', 'pass'],
  ['torch contiguous_format', 'pass'],
  ['torch strided', 'pass'],
  ['torch.nn.parameter Parameter', 'pass'],
  ...STORAGES.map((name): [string, Use] => [`torch ${name}`, 'pass']),
  ...DTYPES.map((name): [string, Use] => [`torch ${name}`, 'pass']),
  ...['numpy.core.multiarray', 'numpy._core.multiarray'].flatMap((module): [string, Use][] => [
    [`${module} _reconstruct`, 'call-and-build'],
    [`${module} scalar`, 'call'],
  ]),
  ['numpy._core.numeric _frombuffer', 'call'],
  ['numpy.core.numeric _frombuffer', 'call'],
  ['numpy ndarray', 'pass'],
  ['numpy dtype', 'call-and-build'],
  ['_codecs encode', 'call'],
  ...['builtins', '__builtin__'].flatMap((module): [string, Use][] =>
    ['set', 'frozenset', 'complex', 'bytearray', 'bytes'].map((name) => [`${module} ${name}`, 'call']),
  ),
]);

/**
 * What may be done with a name; undefined for one that no weights need.
 *
 * @example useOf('collections', 'OrderedDict') // 'call-and-build'
 */
export function useOf(module: string, name: string): Use | undefined {
  return table.get(`${module} ${name}`);
}

/** Bytes of a number in each storage of torch. Example: `storageBytes('HalfStorage') // 2` */
export function storageBytes(name: string): number | undefined {
  return STORAGE_BYTES[name.replace(/Storage$/, '')];
}

const STORAGE_BYTES: Readonly<Record<string, number>> = {
  ComplexDouble: 16,
  Double: 8,
  Long: 8,
  ComplexFloat: 8,
  Float: 4,
  Int: 4,
  QInt32: 4,
  Half: 2,
  BFloat16: 2,
  Short: 2,
  Char: 1,
  Byte: 1,
  Bool: 1,
  QInt8: 1,
  QUInt8: 1,
  Untyped: 1,
};
