import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidOptionError, SiloGRPCClient, SiloWorker } from "../../src/index";
import type { SiloWorkerOptions } from "../../src/index";
import { numbered } from "../support/schema";

const client = new SiloGRPCClient({
  servers: "127.0.0.1:1",
  shardRouting: { topologyRefreshIntervalMs: 0 },
});

function make(options: object): SiloWorker {
  const good: SiloWorkerOptions = { client, workerId: "w", taskGroup: "g", handler: () => 1 };
  return new SiloWorker({ ...good, ...options });
}

test("defaults, and times as number or bigint", () => {
  const worker = make({});
  assert.deepEqual(
    [worker.concurrentPollers, worker.maxConcurrentTasks, worker.tasksPerPoll],
    [1, 10, 10],
  );
  assert.deepEqual([worker.prefetchTasks, worker.pollIntervalMs], [0, 1000]);
  assert.equal(worker.heartbeatIntervalMs, 5000);
  assert.equal(make({ pollIntervalMs: 250n }).pollIntervalMs, 250);
  assert.equal(make({ maxConcurrentTasks: 3 }).tasksPerPoll, 3);
  make({ tenant: "t", payloadSchema: numbered, typo: undefined });
});

test("what is missing, wrong or misspelt is named", () => {
  const bad: [object, string][] = [
    [{ client: {} }, "client: expected a SiloGRPCClient, not "],
    [{ client: undefined }, "client: expected a SiloGRPCClient, not undefined"],
    [{ workerId: "" }, 'workerId: expected a name of 1 to 4096 bytes, not ""'],
    [{ workerId: 7 }, "workerId: expected a name of 1 to 4096 bytes, not 7"],
    [{ taskGroup: "g".repeat(65) }, "taskGroup: expected a name of 1 to 64 characters"],
    [{ taskGroup: undefined }, "taskGroup: expected a name of 1 to 64 characters, not undefined"],
    [{ handler: undefined }, "handler: expected a function, not undefined"],
    [{ refreshHandler: 1 }, "refreshHandler: expected a function, not 1"],
    [{ onError: "log" }, 'onError: expected a function, not "log"'],
    [{ payloadSchema: {} }, "payloadSchema: expected a validator with the Standard Schema interface"],
    [{ maxConcurrentTasks: 0 }, "maxConcurrentTasks: expected a whole number of at least 1, not 0"],
    [{ tasksPerPoll: 1.5 }, "tasksPerPoll: expected a whole number of at least 1, not 1.5"],
    [{ prefetchTasks: -1 }, "prefetchTasks: expected a whole number of at least 0, not -1"],
    [{ concurrentPollers: NaN }, "concurrentPollers: expected a whole number of at least 1, not NaN"],
    [{ pollIntervalMs: "1s" }, 'pollIntervalMs: expected a whole number of at least 0, not "1s"'],
    [{ pollWaitMs: 60_001 }, "pollWaitMs: expected a whole number from 0 to 60000, not 60001"],
    [{ heartbeatIntervalMs: 0 }, "heartbeatIntervalMs: expected a whole number of at least 1, not 0"],
    [{ maxConcurrenTasks: 5 }, "maxConcurrenTasks: unknown option; did you mean maxConcurrentTasks?"],
    [{ heartBeatIntervalMS: 5 }, "unknown option; did you mean heartbeatIntervalMs?"],
    [{ concurrency: 5 }, "concurrency: unknown option; a worker has client, workerId, taskGroup,"],
  ];
  for (const [options, text] of bad) {
    assert.throws(
      () => make(options),
      (error) => {
        assert.ok(error instanceof InvalidOptionError, String(error));
        assert.ok(error.message.includes(text), `${error.message}\n${text}`);
        assert.ok(text.includes(error.option) || text.startsWith("unknown"));
        return true;
      },
    );
  }
});
