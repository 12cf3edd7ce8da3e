// A child process that does not outlive this one, however this one ends: a shell waits for the end
// of a pipe that only this process holds, and stops the child then.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";

/** What is kept of the child's output, in characters. */
const MAX_OUTPUT = 1024 * 1024;

/** How long the child may take to stop before it is killed, in tenths of a second. */
const STOP_TENTHS = 100;

/** How long its output may go on when it has ended, in milliseconds. */
const OUTPUT_MS = 1000;

// The shell would give a command in the background /dev/null as its input; descriptor 3 keeps the
// pipe. The watcher ends with the child, so that it never signals a number that has become another
// process's, and has no part in the output, whose end tells that all has ended.
const GUARD = `
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{
  read -r _ <&3
  kill -TERM $child
  tenths=0
  while kill -0 $child && [ $tenths -lt ${STOP_TENTHS} ]; do sleep 0.1; tenths=$((tenths + 1)); done
  kill -KILL $child
} >/dev/null 2>&1 &
watcher=$!
wait $child
status=$?
kill $watcher 2>/dev/null
exit $status
`;

/** Streams of a child are sockets, which can be kept from keeping the process alive. */
function unref(stream: unknown): void {
  (stream as { unref?: () => void } | null)?.unref?.();
}

export class GuardedProcess {
  private readonly child: ChildProcess;
  private text = "";
  private readonly listeners = new Set<() => void>();
  private end: string | undefined;

  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;

  /** Starts it. It does not keep this process alive. */
  constructor(program: string, args: string[], env: NodeJS.ProcessEnv) {
    const child = spawn("/bin/sh", ["-c", GUARD, "sh", program, ...args], {
      env,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.child = child;
    child.unref();
    [child.stdin, child.stdout, child.stderr].forEach(unref);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => this.add(text));
    }
    // The shell may be gone when the pipe is closed.
    child.stdin?.on("error", () => undefined);
    this.ended = new Promise((resolve) => {
      const over = (end: string) => {
        this.end ??= end;
        this.tell();
        resolve();
      };
      child.on("error", (error) => over(error.message));
      let timer: NodeJS.Timeout | undefined;
      const end = (status: number | null, signal: string | null) => {
        clearTimeout(timer);
        over(signal ?? `status ${status}`);
      };
      child.on("close", end);
      // What the program itself started, and left behind, may hold the output open for ever.
      child.on("exit", (...how) => {
        timer = setTimeout(end, OUTPUT_MS, ...how);
      });
    });
  }

  private add(text: string): void {
    this.text = (this.text + text).slice(-MAX_OUTPUT);
    this.tell();
  }

  private tell(): void {
    this.listeners.forEach((listener) => listener());
  }

  /** What it printed, the last million characters. */
  get output(): string {
    return this.text;
  }

  /** How it ended; undefined while it runs. */
  get status(): string | undefined {
    return this.end;
  }

  /** Calls the listener at any output and at the end, until the function returned is called. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Asks it to stop, kills it if it does not, and resolves when it has ended. */
  stop(): Promise<void> {
    this.child.ref();
    this.child.stdin?.end();
    return this.ended;
  }
}
