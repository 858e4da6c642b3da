import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EVENTS, LINES, type SseItem, sseText, streamBody } from './sse.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

/** What a parser of the specification reads from items. */
function readBack(items: readonly SseItem[]): { events: EventSourceMessage[]; comments: string[] } {
  const events: EventSourceMessage[] = [];
  const comments: string[] = [];
  const onComment = (comment: string) => void comments.push(comment);
  const parser = createParser({ onEvent: (event) => void events.push(event), onComment });
  parser.feed(items.map(sseText).join(''));
  return { events, comments };
}

test('events and comments are read back by a parser of the specification', () => {
  const { events, comments } = readBack([
    { comment: 'prefill 1/2\ndata: forged' },
    { data: '{"a":1}' },
    { event: 'delta', data: 'two\nlines\r\nthree\rfour' },
  ]);
  expect(comments).toEqual(['prefill 1/2 data: forged']);
  expect(events.map(({ event, data }) => [event, data])).toEqual([
    [undefined, '{"a":1}'],
    ['delta', 'two\nlines\nthree\nfour'],
  ]);
});

const textOf = async (reader: ReadableStreamDefaultReader<Uint8Array>) => {
  const { value, done } = await reader.read();
  return done ? undefined : new TextDecoder().decode(value);
};

test('pings while nothing comes; what comes then is not lost', async () => {
  let give!: () => void;
  async function* source(): AsyncGenerator<SseItem> {
    await new Promise<void>((resolve) => {
      give = resolve;
    });
    yield { data: 'late' };
  }
  const reader = streamBody(source(), { framing: EVENTS, pingMs: 100, onLeave() {} }).getReader();
  for (let i = 0; i < 3; i++) {
    const text = textOf(reader);
    await vi.advanceTimersByTimeAsync(100);
    expect(await text).toBe(': ping\n\n');
  }
  const text = textOf(reader);
  await vi.advanceTimersByTimeAsync(1);
  give();
  expect(await text).toBe('data: late\n\n');
  expect(await textOf(reader)).toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});

test('a reader that leaves is told of once, and the source is closed', async () => {
  const onLeave = vi.fn();
  const closed = vi.fn();
  async function* source(): AsyncGenerator<SseItem> {
    try {
      for (let i = 0; ; i++) yield { data: `${i}` };
    } finally {
      closed();
    }
  }
  const body = streamBody(source(), { framing: EVENTS, pingMs: 100, onLeave });
  const reader = body.getReader();
  expect(await textOf(reader)).toBe('data: 0\n\n');
  await reader.cancel();
  expect(onLeave).toHaveBeenCalledOnce();
  expect(closed).toHaveBeenCalledOnce();
});

test('lines of JSON have no comments, and pings do not break them', async () => {
  async function* source(): AsyncGenerator<SseItem> {
    yield { comment: 'prefill 1/2' };
    await new Promise((resolve) => setTimeout(resolve, 350));
    yield { data: '{"a":1}' };
  }
  const reader = streamBody(source(), { framing: LINES, pingMs: 100, onLeave() {} }).getReader();
  const text = textOf(reader);
  await vi.advanceTimersByTimeAsync(400);
  expect(await text).toBe('{"a":1}\n');
  expect(await textOf(reader)).toBeUndefined();
});
