// Runs pieces of work in the order they came, at most so many at once.

/** A piece of work. */
export interface Work {
  /** Must not reject. */
  run(): Promise<void>;
}

export class SlotQueue<W extends Work> {
  private waiting: W[] = [];
  private running = 0;
  private watchers: (() => void)[] = [];

  /** @param slots how many run at once, at least 1. */
  constructor(private readonly slots: number) {}

  /** Work waiting for a slot. */
  get queued(): number {
    return this.waiting.length;
  }

  /** Work that holds a slot. */
  get active(): number {
    return this.running;
  }

  /** Takes a piece of work, to start at once if a slot is free. */
  add(work: W): void {
    this.waiting.push(work);
    this.fill();
  }

  /** Takes the work that has not started out of the queue. */
  clear(): W[] {
    const waiting = this.waiting;
    this.waiting = [];
    this.notify();
    return waiting;
  }

  /** Resolves at the next change of `queued` or `active`. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.watchers.push(resolve));
  }

  /** Resolves when nothing waits or runs. */
  async idle(): Promise<void> {
    while (this.running > 0 || this.waiting.length > 0) {
      await this.changed();
    }
  }

  private fill(): void {
    while (this.running < this.slots && this.waiting.length > 0) {
      const work = this.waiting.shift() as W;
      this.running++;
      void work.run().finally(() => {
        this.running--;
        this.fill();
        this.notify();
      });
    }
    this.notify();
  }

  /** Wakes those who wait for a change. */
  notify(): void {
    const watchers = this.watchers;
    this.watchers = [];
    for (const wake of watchers) {
      wake();
    }
  }
}
