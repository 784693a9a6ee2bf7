/** A binary min-heap of (key, value) numbers in typed arrays: 16 bytes an entry, nothing for the collector. */
export class MinHeap {
  #keys = new Float64Array(16);
  #values = new Float64Array(16);
  #size = 0;

  get size(): number {
    return this.#size;
  }
  /** The smallest key; Infinity when empty. */
  get key(): number {
    return this.#size ? this.#keys[0]! : Infinity;
  }
  /** The value beside the smallest key. */
  get value(): number {
    return this.#values[0]!;
  }

  push(key: number, value: number): void {
    if (this.#size === this.#keys.length) {
      this.#keys = grown(this.#keys);
      this.#values = grown(this.#values);
    }
    let hole = this.#size++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (this.#keys[parent]! <= key) break;
      this.#keys[hole] = this.#keys[parent]!;
      this.#values[hole] = this.#values[parent]!;
      hole = parent;
    }
    this.#keys[hole] = key;
    this.#values[hole] = value;
  }

  pop(): void {
    if (this.#size === 0) return;
    const key = this.#keys[--this.#size]!;
    const value = this.#values[this.#size]!;
    let hole = 0;
    for (;;) {
      let child = hole * 2 + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#keys[child + 1]! < this.#keys[child]!) child++;
      if (this.#keys[child]! >= key) break;
      this.#keys[hole] = this.#keys[child]!;
      this.#values[hole] = this.#values[child]!;
      hole = child;
    }
    this.#keys[hole] = key;
    this.#values[hole] = value;
  }

  clear(): void {
    this.#size = 0;
  }
}

function grown(from: Float64Array): Float64Array<ArrayBuffer> {
  const to = new Float64Array(from.length * 2);
  to.set(from);
  return to;
}
