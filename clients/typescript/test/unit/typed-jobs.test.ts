// Payloads and results typed and checked by a validator as programs use it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { z } from "zod";
import { bytesOf, decodeBytes, serialize } from "../../src/wire/codec";
import { JobStatus as ProtoJobStatus } from "../../src/gen/silo";
import {
  InvalidOptionError,
  SiloGRPCClient,
  SiloValidationError,
  SiloWorker,
} from "../../src/index";
import { batches, FakeServer, protoTask, until } from "../fake-server";

const email = z.object({ to: z.email(), sendAt: z.coerce.date().optional() });
const receipt = z.object({ sent: z.boolean() });

let server: FakeServer;
let client: SiloGRPCClient;

before(async () => {
  server = await FakeServer.start({ enqueue: ({ id }) => ({ id }), reportOutcome: () => ({}) });
  client = new SiloGRPCClient({ servers: server.address });
});
after(() => {
  client.close();
  server.stop();
});

test("a schema types and checks what producers send and handlers get", async () => {
  const to = "user@example.com";
  await client.enqueue({ taskGroup: "g", payload: { to }, payloadSchema: email });
  await assert.rejects(
    client.enqueue({ taskGroup: "g", payload: { to: "nobody" }, payloadSchema: email }),
    (error) => error instanceof SiloValidationError && error.message.includes("to: "),
  );
  server.handlers.leaseTasks = batches([protoTask("k", { to, sendAt: "2026-01-02" })]);
  let year: number | undefined;
  const worker = new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "g",
    payloadSchema: email,
    resultSchema: receipt,
    handler: ({ payload }) => {
      // A date by what the schema says, and by what it made.
      year = payload.sendAt?.getUTCFullYear();
      return { sent: payload.to.includes("@") };
    },
  });
  await worker.start();
  await until(() => server.requests("reportOutcome").length === 1);
  await worker.stop(1000);
  assert.equal(year, 2026);
  const [{ outcome }] = server.requests("reportOutcome");
  assert.deepEqual(decodeBytes(bytesOf(outcome.success), "result"), { sent: true });
});

test("a schema types and checks what awaitResult gives", async () => {
  server.handlers.getJobResult = () => ({
    status: ProtoJobStatus.SUCCEEDED,
    result: { oneofKind: "successData", successData: serialize({ sent: true }) },
  });
  const ended = await client.handle("j").awaitResult({ resultSchema: receipt });
  const sent: boolean | undefined = ended.result?.sent;
  assert.equal(sent, true);
});

// What does not fit does not compile.
export const refusedByTheCompiler = () => [
  // @ts-expect-error: no address
  client.enqueue({ taskGroup: "g", payload: {}, payloadSchema: email }),
  new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "g",
    payloadSchema: email,
    // @ts-expect-error: the payload has no such member
    handler: ({ payload }) => payload.subject,
  }),
  // @ts-expect-error: the schema says boolean
  new SiloWorker({ client, workerId: "w", taskGroup: "g", resultSchema: receipt, handler: () => ({ sent: 1 }) }),
];

test("what is no validator, or does not answer as one, is named; what it throws is an Error", async () => {
  const send = (payloadSchema: any) =>
    client.enqueue({ taskGroup: "g", payload: 1, payloadSchema });
  const answering = (validate: () => unknown) => ({
    "~standard": { version: 1, vendor: "test", validate },
  });
  for (const odd of [null, {}, answering(() => undefined), answering(async () => 5)]) {
    await assert.rejects(send(odd), (error: InvalidOptionError) => {
      return error instanceof InvalidOptionError && error.option === "payloadSchema";
    });
  }
  await assert.rejects(
    send(
      answering(() => {
        throw "no Error";
      }),
    ),
    (error) => error instanceof Error && error.message === "no Error",
  );
  const nameless = { message: "bad", path: [null, Symbol("s")] };
  await assert.rejects(send(answering(() => ({ issues: [nameless] }))), SiloValidationError);
});
