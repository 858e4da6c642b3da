/**
 * Owns: the turns of the shown path, one below the other, and staying at the end while an answer grows.
 * Refuses to know: what is in a turn.
 */
import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { Icon } from '../shell/icons.tsx';
import { Lazy } from '../shell/lazy.tsx';
import type { Turn } from '../state/conversation.ts';
import { answering, conversation, path } from '../state/store.ts';
import { AnswerView, ResultView, UserView } from './turn.tsx';
import { Welcome } from './welcome.tsx';

/** So near the end counts as being there. */
const NEAR_PX = 80;

/** The conversation. */
export function Thread() {
  const box = useRef<HTMLElement>(null);
  const atEnd = useSignal(true);
  /** Where it was scrolled to when that was last looked at. */
  const top = useRef(0);
  const goToEnd = () => {
    atEnd.value = true;
    if (!box.current) return;
    box.current.scrollTop = box.current.scrollHeight;
    top.current = box.current.scrollTop;
  };
  const { id, title } = conversation.value;
  const turns = path.value;
  useLayoutEffect(goToEnd, [id]);
  const begun = answering.value?.conversationId === id ? answering.value.turnId : undefined;
  // Who asks from further up wants to see the answer.
  useLayoutEffect(() => {
    if (begun !== undefined) goToEnd();
  }, [begun]);
  useEffect(() => {
    const inner = box.current?.lastElementChild;
    if (inner == null) return undefined;
    const follow = new ResizeObserver(() => atEnd.peek() && goToEnd());
    follow.observe(inner);
    return () => follow.disconnect();
  }, [turns.length === 0]);
  const onScroll = ({
    currentTarget: { scrollHeight, scrollTop, clientHeight },
  }: {
    currentTarget: HTMLElement;
  }) => {
    const near = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    // What has grown below meanwhile takes nobody away from the end: going up does.
    if (near || scrollTop < top.current) atEnd.value = near;
    top.current = scrollTop;
  };
  if (turns.length === 0) return <Welcome />;
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a mouse */}
      <section class="thread" aria-label="Conversation" tabIndex={0} ref={box} onScroll={onScroll}>
        <h1 class="unseen">{title}</h1>
        <div class="turns">
          {turns.map((turn, i) => (
            <Lazy key={turn.id} characters={lengthOf(turn)} startsShown={i >= turns.length - 2}>
              {() => <TurnView turn={turn} />}
            </Lazy>
          ))}
        </div>
      </section>
      {!atEnd.value && (
        <button
          type="button"
          class="to-end icon"
          aria-label="To the end"
          title="To the end"
          onClick={goToEnd}
        >
          <Icon name="down" />
        </button>
      )}
    </>
  );
}

function TurnView({ turn }: { readonly turn: Turn }) {
  if (turn.role === 'user') return <UserView turn={turn} />;
  if (turn.role === 'tool') return <ResultView turn={turn} />;
  const live = answering.value?.turnId === turn.id ? answering.value : undefined;
  return <AnswerView turn={turn} {...(live === undefined ? {} : { live })} />;
}

function lengthOf({ content, reasoning = '' }: Turn): number {
  return 200 + content.length + Math.min(200, reasoning.length);
}
