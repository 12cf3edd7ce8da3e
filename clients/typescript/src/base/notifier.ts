/** Tells whoever listens that something has changed. */
export class Notifier {
  private readonly listeners = new Set<() => void>();

  /** @returns what ends the listening. */
  listen(listener: () => void): () => void {
    // A function of its own: the same listener may be given twice.
    const own = () => listener();
    this.listeners.add(own);
    return () => void this.listeners.delete(own);
  }

  /** Calls all that listen now. They must not throw. */
  tell(): void {
    for (const listener of [...this.listeners]) {
      listener();
    }
  }
}
