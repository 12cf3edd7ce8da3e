// What a worker says of a server that it cannot reach.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SiloGRPCClient, SiloUnavailableError, SiloWorker } from "../../src/index";
import { Outage } from "../../src/worker/outage";
import { FakeServer, until } from "../fake-server";

test("a server that is down is told at the first try, and once until it is back", async () => {
  const first = await FakeServer.start();
  const { address } = first;
  first.stop();
  const shardRouting = { retryDelayMs: 20, topologyRefreshIntervalMs: 0 };
  const client = new SiloGRPCClient({ servers: address, shardRouting });
  let refusals = 0;
  const { leaseTasks } = client;
  client.leaseTasks = (options, index, onUnreachable) =>
    leaseTasks.call(client, options, index, (error) => {
      refusals++;
      onUnreachable?.(error);
    });
  const told: { error: Error; refusals: number }[] = [];
  const worker = new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "group",
    pollIntervalMs: 1,
    handler: () => undefined,
    onError: (error) => told.push({ error, refusals }),
  });
  await worker.start();
  await until(() => refusals > 3, "more tries");
  assert.deepEqual(told.map((each) => each.refusals), [1]);
  assert.ok(told[0].error instanceof SiloUnavailableError);
  assert.match(told[0].error.message, /nothing listens at/);
  assert.equal(told[0].error.address, address);
  const port = Number(address.split(":")[1]);
  const back = await FakeServer.start({ leaseTasks: () => ({}) }, port);
  await until(() => back.requests("leaseTasks").length > 1, "polls that are answered");
  back.stop();
  const again = () => told.slice(1).some(({ error }) => /nothing listens/.test(error.message));
  await until(again, "the next outage");
  await worker.stop(0);
  client.close();
});

test("each trouble is news once, until a poll that met it is answered", () => {
  const outage = new Outage();
  const refused = new SiloUnavailableError("refused");
  assert.equal(outage.knows(refused), false);
  assert.equal(outage.meets("0", refused, false), true);
  assert.equal(outage.meets("1", refused, false), false);
  assert.equal(outage.meets("0", new SiloUnavailableError("another"), false), true);
  const beneath = Object.assign(new Error("the time is over"), { cause: refused });
  assert.deepEqual([outage.knows(refused), outage.knows(beneath)], [true, true]);
  assert.equal(outage.knows(new Error("refused")), false);
  outage.ends("2");
  assert.equal(outage.knows(refused), true);
  outage.ends("1");
  assert.equal(outage.knows(refused), false);
  assert.equal(outage.meets("0", refused, false), true);
});

test("one server of several is told of only when it stays away", async () => {
  const refused = new SiloUnavailableError("refused");
  const patient = new Outage(50);
  assert.equal(patient.meets("0", refused, true), false);
  assert.equal(patient.knows(refused), true);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(patient.meets("0", refused, true), true);
  assert.equal(patient.meets("0", refused, true), false);
  const last = new Outage(60_000);
  assert.equal(last.meets("0", refused, true), false);
  assert.equal(last.meets("0", refused, false), true, "when no other is left");
});
