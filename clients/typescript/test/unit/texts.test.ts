// Texts that UTF-8 cannot hold are refused: two ids never become one on their way.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SiloGRPCClient, ValueNotEncodableError } from "../../src/index";
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
  value: { payload: ["\ud800"] },
})) {
  test(`enqueue refuses a lone surrogate at ${field}`, async () => {
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
