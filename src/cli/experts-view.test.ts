import { expect, test } from 'vitest';
import { expertBalance } from '../engine/expert-balance.ts';
import { expertsDocument, expertsPicture } from './experts-view.ts';

test('figures by hand: evenness is entropy over the most it can be', () => {
  expect(expertBalance([2, 2, 0, 4])).toEqual({
    choices: 8,
    evenness: expect.closeTo(0.75, 12),
    dead: 1,
    busiest: 3,
    busiestShare: 2,
  });
  expect(expertBalance([5, 5, 5, 5])).toMatchObject({ evenness: expect.closeTo(1, 12), dead: 0, busiest: 0 });
  expect(expertBalance([0, 7, 0, 0])).toMatchObject({ evenness: 0, dead: 3, busiest: 1, busiestShare: 4 });
  expect(expertBalance([0, 0])).toMatchObject({ choices: 0, dead: 2, busiestShare: 0 });
});

test('a strip has a bar for each expert by its share, and says what is dead', () => {
  const picture = expertsPicture([{ layer: 3, counts: Int32Array.of(0, 1, 4, 4, 6, 2, 14, 1) }], 2);
  expect(picture).toBe(
    'Experts: 2 of 8 for each of 16 tokens in 1 layer\n' +
      'layer 3  ·▁▄▄▅▂█▁  even 76 %  1 dead  most: 6, 3.5 times its share\n' +
      '· never   ▄ its even share   █ more than three times that   even 100 %: all alike   dead: never chosen\n',
  );
});

test('many experts share bars and fit a terminal', () => {
  const counts = Int32Array.from({ length: 256 }, (_, e) => (e < 128 ? 2 : 0));
  const picture = expertsPicture([{ layer: 60, counts }], 8);
  expect(picture).toContain(`layer 60  ${'▆'.repeat(32)}${'·'.repeat(32)}  even 88 %  128 dead`);
  expect(picture).toContain('a bar stands for 4 neighbours');
});

test('as JSON nothing is rounded or joined', () => {
  expect(expertsDocument([{ layer: 1, counts: Int32Array.of(3, 1) }], 1)).toEqual([
    {
      layer: 1,
      tokens: 4,
      counts: [3, 1],
      evenness: expect.closeTo(0.8113, 4),
      dead: 0,
      busiest: 0,
      busiest_share: 1.5,
    },
  ]);
});
