import assert from "node:assert/strict";
import { test } from "node:test";
import { isLoopbackAddress, serverAddresses } from "../../src/connection/options";
import { queryParameter } from "../../src/client/query";
import { SiloGRPCClient } from "../../src/index";

test("servers in all their forms", () => {
  assert.deepEqual(serverAddresses("a:1,b:2"), ["a:1,b:2"]);
  assert.deepEqual(serverAddresses(["a:1", "b:2", "a:1"]), ["a:1", "b:2"]);
  assert.deepEqual(serverAddresses({ host: "a", port: 1 }), ["a:1"]);
  assert.deepEqual(serverAddresses([{ host: "a", port: 1 }]), ["a:1"]);
});

test("loopback addresses", () => {
  for (const address of [
    "localhost:50051",
    "LOCALHOST",
    "127.0.0.1:1",
    "127.255.0.9:50051",
    "[::1]:50051",
    "::1",
    "::1:50051",
  ]) {
    assert.ok(isLoopbackAddress(address), address);
  }
  for (const address of [
    "example.com:50051",
    "localhost.example.com:1",
    "10.0.0.1:1",
    "127.example.com:1",
    "[2001:db8::1]:1",
    "0.0.0.0:50051",
  ]) {
    assert.ok(!isLoopbackAddress(address), address);
  }
});

test("query parameters", () => {
  assert.deepEqual(queryParameter(null).value, { oneofKind: "nullValue", nullValue: {} });
  assert.deepEqual(queryParameter(true).value, { oneofKind: "boolValue", boolValue: true });
  assert.deepEqual(queryParameter(5n).value, { oneofKind: "int64Value", int64Value: 5n });
  assert.deepEqual(queryParameter(-3).value, { oneofKind: "int64Value", int64Value: -3n });
  assert.deepEqual(queryParameter(1.5).value, { oneofKind: "float64Value", float64Value: 1.5 });
  assert.deepEqual(queryParameter("s").value, { oneofKind: "stringValue", stringValue: "s" });
  const bytesValue = new Uint8Array([1]);
  assert.deepEqual(queryParameter(bytesValue).value, { oneofKind: "bytesValue", bytesValue });
  assert.throws(() => queryParameter(Infinity), /must be finite/);
  assert.throws(() => queryParameter(2 ** 53), /must be safe integers; use bigint/);
  assert.throws(() => queryParameter({} as never), {
    message: "unsupported query bind parameter type: object",
  });
});

test("a client's option that is misspelt is refused with the one that was meant", () => {
  const make = (options: object) => () => new SiloGRPCClient(options);
  const code = "SILO_INVALID_OPTION";
  assert.throws(make({ server: "localhost:1" }), {
    code,
    option: "server",
    message: /did you mean servers\?/,
  });
  assert.throws(make({ servers: "localhost:1", shardRouting: { maxRetry: 1 } }), {
    code,
    option: "shardRouting.maxRetry",
    message: /did you mean maxRetries\?/,
  });
  assert.throws(make({ servers: "localhost:1", constructor: 1 }), { code, option: "constructor" });
  new SiloGRPCClient({ servers: "localhost:1", token: undefined, sevrers: undefined } as object).close();
});

test("a job's member that is misspelt is refused before anything is sent", async () => {
  const client = new SiloGRPCClient({ servers: "localhost:1" });
  const job = { payload: 1, taskGroup: "g", prioritty: 5 };
  const refused = { option: "prioritty", message: /did you mean priority\?/ };
  await assert.rejects(client.enqueue(job), refused);
  const [{ error }] = await client.enqueueMany([job]);
  assert.match(String(error), /did you mean priority\?/);
  client.close();
});
