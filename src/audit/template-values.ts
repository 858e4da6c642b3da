/**
 * Owns: where the values of a chat template come from: for every name and expression, whether it holds what messages say.
 * Refuses to know: what may be done with which value.
 *
 * The order of statements is not looked at: a name has every origin that it has anywhere in the template.
 */
import { children, keyOf, list, type Node, nameOf, one, operatorOf, walk } from './jinja-tree.ts';

/** Origins of a value, as bits: a value can have several, none is harmless. */
export const MESSAGES = 1;
/** One message: its role is harmless, what it says is {@link TEXT}. */
export const MESSAGE = 2;
/** What somebody wrote: a message's content, or anything made of it. */
export const TEXT = 4;
/** Tools on offer or tools called, and all in them. */
export const TOOLS = 8;
/** The date, or chance. */
export const CLOCK = 16;
/** A piece of a text by its position: whether it is there says how long the text is. */
export const PIECE = 32;
/** What a person or a document can write. */
export const WRITTEN = MESSAGES | MESSAGE | TEXT | TOOLS;

const GIVEN: Readonly<Record<string, number>> = {
  messages: MESSAGES,
  tools: TOOLS,
  documents: TOOLS,
  functions: TOOLS,
  date_string: CLOCK,
  strftime_now: CLOCK,
  now: CLOCK,
};

/** Fields of a message that are not what somebody wrote. */
const STRUCTURE: ReadonlySet<string> = new Set(['role', 'type']);

/** Published templates take four at most; a chain of names written backwards takes one for each. */
const MOST_PASSES = 24;

/** Filters that keep what a list is a list of. */
const SELECTING: ReadonlySet<string> = new Set([
  'list',
  'reverse',
  'first',
  'last',
  'selectattr',
  'rejectattr',
  'select',
  'reject',
  'sort',
]);

/** The origins of the values of one template. */
export class Origins {
  readonly #names = new Map<string, number>(Object.entries(GIVEN));
  /** Set only while the origins are being found. */
  #changed = false;

  /** Throws an Error for names that hang on one another through more steps than in any template. */
  constructor(tree: Node) {
    for (let pass = 0; ; pass++) {
      if (pass === MOST_PASSES)
        throw new Error(`its names depend on one another in more than ${MOST_PASSES} steps`);
      this.#changed = false;
      walk(tree, (node) => this.#learn(node));
      if (!this.#changed) return;
    }
  }

  /** The origins of an expression. Example: `(origins.of(node) & TEXT) !== 0` */
  of(node: Node | undefined): number {
    if (node === undefined) return 0;
    switch (node.type) {
      case 'Identifier':
        return this.#named(String(node.value)) | this.#named(`${node.value}.*`);
      case 'MemberExpression':
        return this.#member(node);
      case 'CallExpression':
        return this.#call(node);
      case 'FilterExpression':
        return this.#filter(node);
      case 'BinaryExpression':
        return this.#binary(node);
      case 'SelectExpression':
        return this.of(one(node.lhs));
      case 'Ternary':
        return this.of(one(node.trueExpr)) | this.of(one(node.falseExpr));
      case 'TestExpression':
      case 'UnaryExpression':
        return 0;
      default:
        return children(node).reduce((origins, child) => origins | this.of(child), 0);
    }
  }

  /** What a loop over these origins goes through. Example: `elementOf(MESSAGES) === MESSAGE` */
  static elementOf(origins: number): number {
    const kept = origins & (TEXT | TOOLS | CLOCK);
    return kept | (origins & MESSAGES ? MESSAGE : 0) | (origins & MESSAGE ? TEXT : 0);
  }

  #named(name: string): number {
    return this.#names.get(name) ?? 0;
  }

  #add(name: string | undefined, origins: number): void {
    if (name === undefined) return;
    const before = this.#named(name);
    if ((before | origins) === before) return;
    this.#names.set(name, before | origins);
    this.#changed = true;
  }

  #learn(node: Node): void {
    switch (node.type) {
      case 'Set':
        this.#assign(one(node.assignee), this.of(one(node.value)) | this.#said(list(node.body)));
        break;
      case 'For': {
        const element = Origins.elementOf(this.of(one(node.iterable)));
        this.#assign(one(node.loopvar), element);
        this.#add('loop.item', element);
        break;
      }
      case 'Macro':
        this.#add(`${nameOf(one(node.name))}()`, this.#said(list(node.body)));
        for (const argument of list(node.args)) {
          this.#add(nameOf(argument), this.#named(`${nameOf(one(node.name))}(given)`));
          this.#parameter(argument);
        }
        break;
      case 'CallExpression':
        this.#arguments(node);
        break;
    }
  }

  /** A namespace's fields are told apart, where they are read by the namespace's own name. */
  #assign(target: Node | undefined, origins: number): void {
    if (target === undefined) return;
    if (target.type === 'MemberExpression') {
      const object = nameOf(one(target.object));
      this.#add(`${object}.${keyOf(target) ?? '*'}`, origins);
      this.#add(`${object}.*`, origins);
    } else if (target.type === 'Identifier') this.#add(String(target.value), origins);
    else for (const child of children(target)) this.#assign(child, origins);
  }

  #parameter(argument: Node): void {
    if (argument.type === 'KeywordArgumentExpression') {
      this.#add(nameOf(one(argument.key)), this.of(one(argument.value)));
    }
  }

  /** What is given to a macro may become any of its parameters: by place for those, by name for keywords. */
  #arguments(call: Node): void {
    const callee = nameOf(one(call.callee));
    if (callee === undefined || callee === 'namespace') return;
    const given = list(call.args).reduce((origins, argument) => origins | this.of(argument), 0);
    this.#add(`${callee}(given)`, given);
    for (const argument of list(call.args)) this.#parameter(argument);
  }

  #said(body: readonly Node[]): number {
    return body.reduce((origins, node) => origins | this.#saidBy(node), 0);
  }

  #saidBy(node: Node): number {
    switch (node.type) {
      case 'If':
        return this.#said(list(node.body)) | this.#said(list(node.alternate));
      case 'For':
        return this.#said(list(node.body)) | this.#said(list(node.defaultBlock));
      case 'Set':
      case 'Macro':
      case 'Comment':
        return 0;
      default:
        return this.of(node);
    }
  }

  #member(node: Node): number {
    const object = one(node.object);
    const key = keyOf(node);
    const name = nameOf(object);
    if (name === 'loop') return key === 'previtem' || key === 'nextitem' ? this.#named('loop.item') : 0;
    if (name !== undefined && key !== undefined && this.#names.has(`${name}.${key}`)) {
      return this.#named(`${name}.${key}`);
    }
    const origins = this.of(object);
    const property = one(node.property);
    const sliced = property?.type === 'SliceExpression';
    const placed = sliced || property?.type === 'IntegerLiteral' || property?.type === 'UnaryExpression';
    let found = origins & CLOCK;
    if (origins & MESSAGES) found |= sliced ? MESSAGES : MESSAGE;
    if (key !== undefined && STRUCTURE.has(key)) return found;
    if (origins & MESSAGE) found |= key === 'tool_calls' || key === 'tools' ? TOOLS : TEXT;
    if (origins & TOOLS) found |= TOOLS;
    if (origins & TEXT) found |= TEXT | (placed && !isSplit(object) ? PIECE : 0);
    return found;
  }

  #call(node: Node): number {
    const callee = one(node.callee);
    const given = list(node.args).reduce((origins, argument) => origins | this.of(argument), 0);
    if (callee?.type !== 'MemberExpression') {
      const name = nameOf(callee);
      if (name === 'namespace' || name === 'dict') return given;
      if (name === 'caller') return TEXT;
      return this.#named(`${name}()`) | this.#named(name ?? '');
    }
    const origins = this.of(one(callee.object));
    if (keyOf(callee) === 'get') {
      const [key] = list(node.args);
      return this.#member({ type: 'MemberExpression', object: callee.object, property: key, computed: true });
    }
    return given | (origins & MESSAGE ? origins | TEXT : origins);
  }

  #filter(node: Node): number {
    const operand = this.of(one(node.operand));
    const filter = one(node.filter);
    const name = nameOf(filter) ?? nameOf(one(filter?.callee));
    if (name === 'random') return CLOCK;
    if (name === 'length' || name === 'count') return operand & (TEXT | CLOCK);
    if (name === 'map') {
      const attribute = keywordOf(filter, 'attribute');
      if (attribute !== undefined && STRUCTURE.has(attribute)) return operand & CLOCK;
      return operand & MESSAGES ? operand | TEXT : operand;
    }
    if (SELECTING.has(name ?? '')) {
      return name === 'first' || name === 'last' ? Origins.elementOf(operand) : operand;
    }
    const given = list(filter?.args).reduce((origins, argument) => origins | this.of(argument), 0);
    return operand & (MESSAGES | MESSAGE) ? given | TEXT : given | operand;
  }

  #binary(node: Node): number {
    const both = this.of(one(node.left)) | this.of(one(node.right));
    return ['==', '!=', '<', '>', '<=', '>=', 'in', 'not in'].includes(operatorOf(node)) ? 0 : both;
  }
}

/** The text of a keyword argument. Example: `keywordOf(filter, 'attribute') // 'role'` */
export function keywordOf(call: Node | undefined, key: string): string | undefined {
  for (const argument of list(call?.args)) {
    if (argument.type !== 'KeywordArgumentExpression' || nameOf(one(argument.key)) !== key) continue;
    const value = one(argument.value);
    if (value?.type === 'StringLiteral') return String(value.value);
  }
  return undefined;
}

/** Whether an expression is what a text was split into: its first and last parts are always there. */
function isSplit(node: Node | undefined): boolean {
  if (node?.type === 'FilterExpression') return isSplit(one(node.operand));
  return node?.type === 'CallExpression' && /^r?split$/.test(keyOf(one(node.callee) ?? node) ?? '');
}
