// Texts that UTF-8 cannot hold are refused: two ids never become one on their way.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { JobStatus, SiloGRPCClient, ValueNotEncodableError } from "../../src/index";
import type { EnqueueJobOptions } from "../../src/index";
import { enqueueEcho, FakeServer } from "../fake-server";

let server: FakeServer;
let client: SiloGRPCClient;

before(async () => {
  server = await FakeServer.start({ enqueue: enqueueEcho });
  client = new SiloGRPCClient({ servers: server.address });
});
after(() => {
  client.close();
  server.stop();
});

for (const [field, more] of Object.entries<Partial<EnqueueJobOptions>>({
  id: { id: "a\ud800" },
  tenant: { tenant: "\udc00" },
  taskGroup: { taskGroup: "\ud800" },
  metadata: { metadata: { "\ud800": "x" } },
  "metadata.key": { metadata: { key: "\ud800" } },
  "value.__proto__": { payload: JSON.parse('{"__proto__": 1}') },
  value: { payload: ["\ud800"] },
})) {
  test(`enqueue refuses what would be changed at ${field}`, async () => {
    const job = { payload: 1, taskGroup: "g", ...more };
    await assert.rejects(client.enqueue(job), (error: Error) => {
      assert.ok(error instanceof ValueNotEncodableError);
      assert.ok(error.place.startsWith(field));
      return true;
    });
    assert.equal(server.requests("enqueue").length, 0);
  });
}

test("whole characters pass, in every other call lone surrogates do not", async () => {
  assert.equal((await client.enqueue({ payload: "😀", taskGroup: "g", id: "😀" })).id, "😀");
  await assert.rejects(client.getJob("a\ud800"), /lone surrogate/);
  await assert.rejects(client.heartbeat("w\ud800", "task", "shard"), /lone surrogate/);
  assert.equal(server.requests("getJob").length, 0);
});

test("a label named __proto__ is refused", async () => {
  const metadata = JSON.parse('{"__proto__": "x"}');
  await assert.rejects(client.enqueue({ payload: 1, taskGroup: "g", metadata }), /__proto__/);
});

test("of many jobs one that cannot be encoded fails alone", async () => {
  server.handlers.enqueueMany = ({ jobs }) => ({ results: jobs.map(enqueueEcho) });
  const jobs = [1, new Map(), 3].map((payload, i) => ({ id: `j${i}`, payload, taskGroup: "g" }));
  const results = await client.enqueueMany(jobs);
  assert.deepEqual(results.map(({ id }) => id), ["j0", undefined, "j2"]);
  assert.ok(results[1].error instanceof ValueNotEncodableError);
  assert.equal(server.requests("enqueueMany")[0].jobs.length, 2);
});

test("of many imports one that cannot be encoded fails alone", async () => {
  server.handlers.importJobs = ({ jobs }) => ({
    results: jobs.map(({ id }: { id: string }) => ({ id, success: true, status: 0 })),
  });
  const jobs = [1, new Map(), 3].map((payload, i) => ({ id: `j${i}`, payload, taskGroup: "g" }));
  const results = await client.importJobs(jobs);
  assert.deepEqual(
    results.map(({ id, success, status }) => [id, success, status]),
    [
      ["j0", true, JobStatus.Scheduled],
      ["j1", false, JobStatus.Failed],
      ["j2", true, JobStatus.Scheduled],
    ],
  );
  assert.match(results[1].error ?? "", /a Map/);
  const [bad] = await client.importJobs([jobs[1]]);
  assert.equal(bad.success, false);
  assert.equal(server.requests("importJobs").length, 1, "nothing to send, no call");
});
