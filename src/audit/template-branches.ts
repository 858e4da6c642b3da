/**
 * Owns: finding where a chat template decides by what a message says, by the date or by chance, or reaches for what no
 * template needs.
 * Refuses to know: the wording of templates, which templates are known.
 *
 * Whether a message has content, of what type it is and who wrote it may decide; what it says may not. The one exception
 * are marks of thinking and of tool results, by which published templates cut old answers.
 */
import { type Finding, type Level, quoted } from './finding.ts';
import { isNode, keyOf, list, type Node, nameOf, one, operatorOf, walk } from './jinja-tree.ts';
import { CLOCK, MESSAGE, type Origins, PIECE, TEXT, TOOLS, WRITTEN } from './template-values.ts';

/** What a template may look for in a text. */
const MARKS: ReadonlySet<string> = new Set(['<think>', '</think>', '<tool_response>', '</tool_response>']);
const COMPARING: ReadonlySet<string> = new Set(['==', '!=', '<', '>', '<=', '>=', 'in', 'not in']);
const JOINING: ReadonlySet<string> = new Set(['+', '~', 'and', 'or']);
/** Tests that see of what type a value is, and nothing of what it says. */
const TYPE_TESTS = words('defined undefined none string mapping iterable sequence number boolean true false');
const TEXT_FILTERS = words(
  'trim strip tojson fromjson from_json string safe e escape length count list first last join map select reject ' +
    'selectattr rejectattr default d indent lower upper capitalize title items dictsort reverse sort unique',
);
const SHAPING = words('strip lstrip rstrip upper lower capitalize title');
const READING = words('get items keys values');
const SEARCHING = words(
  'split rsplit partition rpartition replace startswith endswith removeprefix removesuffix',
);
const FUNCTIONS = words('namespace range dict raise_exception strftime_now caller');
const JOINING_METHODS = words('append update join format encode decode');

/**
 * The findings about a template's decisions and reach.
 *
 * @example branchFindings(tree, new Origins(tree), 'the chat template')
 */
export function branchFindings(tree: Node, origins: Origins, where: string): Finding[] {
  const found = new Map<string, Finding>();
  const macros = new Set<string | undefined>();
  walk(tree, (node) => {
    if (node.type === 'Macro') macros.add(nameOf(one(node.name)));
  });
  const tell: Tell = (level, code, says) => {
    if (found.size < 20) found.set(says, { level, code, where, says });
  };
  walk(tree, (node) => {
    CHECKS[node.type]?.(node, origins, tell, macros);
  });
  return [...found.values()];
}

type Tell = (level: Level, code: string, says: string) => void;
type Check = (node: Node, origins: Origins, tell: Tell, macros: ReadonlySet<string | undefined>) => void;

const CHECKS: Readonly<Record<string, Check>> = {
  BinaryExpression(node, origins, tell) {
    const operator = operatorOf(node);
    const [left, right] = [one(node.left), one(node.right)];
    const [l, r] = [origins.of(left), origins.of(right)];
    if (operator === 'and' || operator === 'or') truth([left, right], origins, tell);
    if (((l | r) & CLOCK) !== 0 && !JOINING.has(operator)) tell('refuse', 'template-clock', byClock(node));
    if (((l | r) & WRITTEN) === 0 || JOINING.has(operator)) return;
    if (COMPARING.has(operator)) {
      // 'tool_calls' in message: whether it has such a field.
      if (/in$/.test(operator) && r === MESSAGE && l === 0) return;
      if ([left, right].some((side) => isNothing(side) || isMark(side))) return;
    }
    tell('refuse', 'template-content', `it decides by what a message says: ${shown(node)}`);
  },
  TestExpression(node, origins, tell) {
    const of = origins.of(one(node.operand));
    const name = nameOf(one(node.test)) ?? '';
    if ((of & CLOCK) !== 0 && !TYPE_TESTS.has(name)) tell('refuse', 'template-clock', byClock(node));
    if ((of & WRITTEN) === 0 || TYPE_TESTS.has(name)) return;
    tell('refuse', 'template-content', `it tests what a message says: ${shown(node)}`);
  },
  If: (node, origins, tell) => truth([one(node.test)], origins, tell),
  Ternary: (node, origins, tell) => truth([one(node.condition)], origins, tell),
  SelectExpression: (node, origins, tell) => truth([one(node.test)], origins, tell),
  UnaryExpression: (node, origins, tell) => truth([one(node.argument)], origins, tell),
  MemberExpression(node, origins, tell) {
    const key = keyOf(node);
    if (key?.startsWith('_')) {
      tell('refuse', 'template-escape', `it reaches into the interpreter: ${shown(node)}`);
    }
    const property = one(node.property);
    if (
      node.computed === true &&
      property !== undefined &&
      (origins.of(property) & (WRITTEN | CLOCK)) !== 0
    ) {
      if (keyIsName(property, origins)) return;
      tell('refuse', 'template-content', `it looks something up by what a message says: ${shown(node)}`);
    }
  },
  CallExpression(node, origins, tell, macros) {
    const callee = one(node.callee);
    if (callee?.type === 'MemberExpression') return method(node, callee, origins, tell);
    const name = nameOf(callee);
    if (name === undefined || FUNCTIONS.has(name) || macros.has(name) || name.startsWith('is ')) return;
    if (TEXT_FILTERS.has(name) || SEARCHING.has(name) || isFilterCall(name)) return;
    tell('look', 'template-function', `it calls ${quoted(name)}, which no published template needs`);
  },
  FilterExpression(node, origins, tell) {
    filtered(one(node.filter), origins.of(one(node.operand)), node, tell);
  },
  FilterStatement(node, _origins, tell) {
    filtered(one(node.filter), TEXT, node, tell);
  },
};

/** Whether something is there may be asked of a text, and not of a piece of one: that would be its length. */
function truth(asked: readonly (Node | undefined)[], origins: Origins, tell: Tell): void {
  for (const node of asked) {
    if (node === undefined) continue;
    const of = origins.of(node);
    if ((of & PIECE) !== 0)
      tell('refuse', 'template-content', `it decides by how long a text is: ${shown(node)}`);
    if ((of & CLOCK) !== 0) tell('refuse', 'template-clock', byClock(node));
  }
}

function method(call: Node, callee: Node, origins: Origins, tell: Tell): void {
  const of = origins.of(one(callee.object));
  const name = keyOf(callee) ?? '';
  const given = list(call.args);
  const byText = given.some((argument) => (origins.of(argument) & WRITTEN) !== 0);
  const ofText = (of & WRITTEN) !== 0;
  const known = SHAPING.has(name) || READING.has(name) || SEARCHING.has(name) || JOINING_METHODS.has(name);
  if ((of & CLOCK) !== 0) tell('refuse', 'template-clock', byClock(call));
  else if (!known && !ofText && !byText) {
    tell('look', 'template-function', `it calls .${name}(), which no published template needs`);
  } else if (!mayDo(name, ofText, byText, given)) {
    tell('refuse', 'template-content', `it searches or changes what a message says: ${shown(call)}`);
  }
}

/** Whether a method may be called on, or with, what a message says. */
function mayDo(name: string, ofText: boolean, byText: boolean, given: readonly Node[]): boolean {
  if (name === 'join') return true;
  if (READING.has(name)) return !byText;
  if (SEARCHING.has(name)) return (!ofText && !byText) || (!byText && given.every(isHarmless));
  if (SHAPING.has(name)) return !ofText || given.every(isHarmless);
  return !ofText && !byText;
}

function filtered(filter: Node | undefined, of: number, whole: Node, tell: Tell): void {
  const name = nameOf(filter) ?? nameOf(one(filter?.callee)) ?? '';
  if (name === 'attr') tell('refuse', 'template-escape', `it reaches for an attribute: ${shown(whole)}`);
  else if (name === 'random' || name === 'shuffle') {
    tell('refuse', 'template-clock', `it decides by chance: ${shown(whole)}`);
  } else if ((of & CLOCK) !== 0) tell('refuse', 'template-clock', byClock(whole));
  else if ((of & WRITTEN) !== 0 && !mayFilter(name, of, list(filter?.args))) {
    tell('refuse', 'template-content', `it searches or changes what a message says: ${shown(whole)}`);
  }
}

/** Whether a filter may be put on what a message says. */
function mayFilter(name: string, of: number, given: readonly Node[]): boolean {
  if (/^(select|reject)/.test(name)) {
    // Messages may be chosen by their role, or by whether they have something.
    const [attribute, test] = name.endsWith('attr') ? given : [undefined, given[0]];
    if (attribute?.type === 'StringLiteral' && /^(role|type)$/.test(String(attribute.value))) return true;
    return test === undefined || (test.type === 'StringLiteral' && TYPE_TESTS.has(String(test.value)));
  }
  if (name === 'replace') return given.every(isHarmless);
  if (name === 'int' || name === 'float') return (of & (TEXT | MESSAGE)) === 0;
  return TEXT_FILTERS.has(name);
}

/** Filters with arguments are calls of their names. */
function isFilterCall(name: string): boolean {
  return /^(replace|attr|int|float|random|shuffle|batch|slice|round|abs|sum|min|max)$/.test(name);
}

/** A key out of tools (their parameters' names) may name a field of theirs. */
function keyIsName(property: Node, origins: Origins): boolean {
  return origins.of(property) === TOOLS;
}

/** Nothing, or an empty text: whether there is one may be asked. */
function isNothing(node: Node | undefined): boolean {
  if (node === undefined) return false;
  if (node.type === 'StringLiteral') return String(node.value) === '';
  if (node.type === 'Identifier') return /^(none|true|false)$/i.test(String(node.value));
  return node.type === 'NullLiteral' || node.type === 'BooleanLiteral' || isEmptyList(node);
}

function isEmptyList(node: Node): boolean {
  return (node.type === 'ArrayLiteral' || node.type === 'TupleLiteral') && list(node.value).length === 0;
}

function isMark(node: Node | undefined): boolean {
  return node?.type === 'StringLiteral' && MARKS.has(String(node.value));
}

/** An argument by which nothing that people write is found: marks, space and punctuation, numbers. */
function isHarmless(node: Node): boolean {
  if (node.type === 'KeywordArgumentExpression') return isNode(node.value) && isHarmless(node.value);
  if (node.type === 'IntegerLiteral') return true;
  return isMark(node) || (node.type === 'StringLiteral' && /^\s*$/.test(String(node.value)));
}

function byClock(node: Node): string {
  return `it decides by the date or by chance: ${shown(node)}`;
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(' '));
}

/** An expression as it might have been written, cut. */
function shown(node: Node): string {
  return quoted(written(node), 100);
}

function written(node: Node | undefined): string {
  if (node === undefined) return '';
  const args = (of: Node) => `(${list(of.args).map(written).join(', ')})`;
  switch (node.type) {
    case 'Identifier':
      return String(node.value);
    case 'StringLiteral':
      return `'${node.value}'`;
    case 'IntegerLiteral':
    case 'FloatLiteral':
      return String(node.value);
    case 'MemberExpression':
      return node.computed === true
        ? `${written(one(node.object))}[${written(one(node.property))}]`
        : `${written(one(node.object))}.${written(one(node.property))}`;
    case 'CallExpression':
      return `${written(one(node.callee))}${args(node)}`;
    case 'FilterExpression':
      return `${written(one(node.operand))} | ${written(one(node.filter))}`;
    case 'BinaryExpression':
      return `${written(one(node.left))} ${operatorOf(node)} ${written(one(node.right))}`;
    case 'UnaryExpression':
      return `${operatorOf(node)} ${written(one(node.argument))}`;
    case 'TestExpression':
      return `${written(one(node.operand))} is ${written(one(node.test))}`;
    case 'SliceExpression':
      return [one(node.start), one(node.stop)].map(written).join(':');
    default:
      return '…';
  }
}
