import { expect, test } from 'vitest';
import { MinHeap } from '../../src/cache/heap.ts';
import { Seeded } from '../support/seeded.ts';

test('an empty heap has no smallest key, and nothing to pop', () => {
  const heap = new MinHeap();
  expect(heap.key).toBe(Infinity);
  heap.pop();
  expect(heap.size).toBe(0);
});

test('what is pushed and popped in any order comes out by its keys, each with its value', () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Seeded(seed);
    const heap = new MinHeap();
    let model: [key: number, value: number][] = [];
    for (let i = 0; i < 120; i++) {
      if (random.chance(0.6)) {
        // Few different keys, so that there are equal ones; positions are beyond 32 bits.
        const key = random.below(30) * 2 ** 33 - 5;
        heap.push(key, i);
        model.push([key, i]);
      } else if (model.length > 0) {
        const smallest = Math.min(...model.map(([key]) => key));
        expect(heap.key).toBe(smallest);
        const { value } = heap;
        expect(model).toContainEqual([smallest, value]);
        heap.pop();
        model = model.filter(([, other]) => other !== value);
      }
      expect(heap.size).toBe(model.length);
    }
  }
});

test('a cleared heap is empty and can be used again', () => {
  const heap = new MinHeap();
  for (let i = 0; i < 100; i++) heap.push(100 - i, i);
  heap.clear();
  expect(heap.key).toBe(Infinity);
  heap.push(3, 1);
  expect([heap.key, heap.value]).toEqual([3, 1]);
});
