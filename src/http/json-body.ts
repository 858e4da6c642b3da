/**
 * Owns: reading a JSON request: its media type, its size and depth, before anybody looks at its fields.
 * Refuses to know: what the fields mean.
 */
import type { MiddlewareHandler } from 'hono';
import { HadalError } from '../error.ts';

/** Bounds of a request body. */
export interface BodyLimits {
  readonly maxBytes: number;
  /** Objects and lists inside one another. */
  readonly maxDepth: number;
}

/** What {@link readJson} leaves for the route. */
export interface JsonEnv {
  readonly Variables: { body: unknown };
}

/** Methods whose requests say something. */
const WITH_BODY: readonly string[] = ['POST', 'DELETE'];

/**
 * Refuses bodies that are too large, whatever they hold, and reads the body of every POST and DELETE into the variable
 * `body`. A page elsewhere can send text without asking first, but not `application/json`: so nothing else is taken.
 */
export function readJson({ maxBytes, maxDepth }: BodyLimits): MiddlewareHandler<JsonEnv> {
  return async (c, next) => {
    // Who says how long it is need not be counted, which would make a stream of it; Node takes no more than was said.
    const length = c.req.header('content-length');
    if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes);
    if (!WITH_BODY.includes(c.req.method)) return next();
    const type = c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (type !== 'application/json') {
      throw new HadalError('media-type-wrong', {
        what: 'content-type',
        expected: 'application/json',
        got: type === undefined ? 'none' : 'another',
        next: 'set that header',
      });
    }
    const encoding = c.req.header('content-encoding')?.trim().toLowerCase();
    if (encoding !== undefined && encoding !== 'identity') {
      throw new HadalError('media-type-wrong', {
        what: 'content-encoding',
        expected: 'none: bodies are read as they come',
        got: 'another',
        next: 'send it uncompressed',
      });
    }
    const text = await (length === undefined ? counted(c.req.raw, maxBytes) : c.req.text()).catch((cause) => {
      if (cause instanceof HadalError) throw cause;
      throw new HadalError(
        'client-left',
        { what: 'the client left before its request was whole' },
        { cause },
      );
    });
    if (depthOf(text, maxDepth) > maxDepth) {
      throw new HadalError('json-too-deep', {
        what: 'the request',
        expected: `at most ${maxDepth} objects and lists inside one another`,
        got: 'more',
        next: 'send something flatter',
      });
    }
    c.set('body', parsed(text));
    return next();
  };
}

/** The text of a body of unknown length. */
async function counted({ body }: Request, maxBytes: number): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function tooLarge(maxBytes: number): HadalError {
  return new HadalError('body-too-large', {
    what: 'the request',
    expected: `a body of at most ${maxBytes} bytes`,
    got: 'more',
    next: 'send less at once',
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new HadalError('json-broken', {
      what: 'the request',
      expected: 'a JSON document',
      got: text.trim() === '' ? 'nothing' : 'something else',
      next: 'correct its body',
    });
  }
}

/**
 * How deep objects and lists of a JSON text lie inside one another; stops counting above `most`.
 *
 * @example depthOf('[{"a": "[["}]', 10); // 2
 */
export function depthOf(json: string, most: number): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < json.length && deepest <= most; i++) {
    switch (json.charCodeAt(i)) {
      case 0x22:
        i = endOfString(json, i);
        break;
      case 0x5b:
      case 0x7b:
        deepest = Math.max(deepest, ++depth);
        break;
      case 0x5d:
      case 0x7d:
        depth--;
    }
  }
  return deepest;
}

/** Index of the quote that closes the string opened at `start`. */
function endOfString(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); end >= 0; end = json.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (json.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return json.length;
}
