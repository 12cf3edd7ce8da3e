// What a block of the documentation may use without declaring it: the things that the text around
// it speaks of.
import type {
  EnqueueJobOptions,
  JobHandle,
  SiloGRPCClient,
  SiloWorker,
  TaskContext,
  TaskHandler,
} from "@silo-ai/client";
import type { TestServer } from "@silo-ai/client/testing";

declare global {
  const client: SiloGRPCClient;
  const worker: SiloWorker;
  const handler: TaskHandler;
  const workerId: string;
  const task: TaskContext;

  const server: TestServer;
  const job: EnqueueJobOptions;
  const handle: JobHandle;
  const id: string;
  const tenant: string;
  const payload: { to: string; subject: string };
  const startedAtMs: bigint;
  const finishedAtMs: bigint;

  function sendEmail(to: string, subject?: string): Promise<void>;
  function fetchAllowance(queueKey: string, metadata: Record<string, string>): Promise<number>;
}
