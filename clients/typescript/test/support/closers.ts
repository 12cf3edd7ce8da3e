// What a test opens is closed after it, whether it passes or not.
import { afterEach } from "node:test";

/** Called after the test that adds them, in the order they were added. */
export const closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers.splice(0)) {
    close();
  }
});
