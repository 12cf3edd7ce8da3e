// Interoperability with grpc-js. Usage: SILO_BIN_DIR=<dir> node grpcjs_test.cjs
"use strict";
const assert = require("node:assert");
const { spawn, execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { createRequire } = require("node:module");
const readline = require("node:readline");

const root = process.env.SILO_ROOT || path.join(__dirname, "..", "..");
const clientRequire = createRequire(path.join(root, "clients", "typescript", "package.json"));
const grpc = clientRequire("@grpc/grpc-js");
const loader = clientRequire("@grpc/proto-loader");

const program = process.env.RPC_ECHO_SERVER || path.join(process.env.SILO_BIN_DIR, "rpc_echo_server");
const OPTIONS = {
  "grpc.max_send_message_length": -1,
  "grpc.max_receive_message_length": -1,
  "grpc.use_local_subchannel_pool": 1,
};
const same = (bytes) => bytes;

class Server {
  async start(...args) {
    this.process = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.exited = new Promise((resolve) => this.process.once("exit", resolve));
    this.lines = readline.createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    const { value } = await this.lines.next();
    this.address = `127.0.0.1:${value.split(" ")[1]}`;
    return this;
  }
  client(options = {}) {
    return new grpc.Client(this.address, grpc.credentials.createInsecure(), { ...OPTIONS, ...options });
  }
  async stop() {
    this.process.kill("SIGTERM");
    const { value } = await this.lines.next();
    assert.strictEqual(await this.exited, 0);
    return value;
  }
}

function start(client, method, body, options = {}) {
  let call;
  const result = new Promise((resolve, reject) => {
    call = client.makeUnaryRequest(
      method,
      same,
      same,
      Buffer.from(body),
      options.metadata || new grpc.Metadata(),
      { deadline: Date.now() + (options.timeoutMs || 60000) },
      (error, reply) => (error ? reject(error) : resolve(reply)),
    );
  });
  return { call, result };
}

const unary = (client, method, body = "", options = {}) => start(client, method, body, options).result;

function stream(client, body) {
  const call = client.makeServerStreamRequest("/test.Echo/Stream", same, same, Buffer.from(body), new grpc.Metadata(), {
    deadline: Date.now() + 60000,
  });
  return new Promise((resolve, reject) => {
    const sizes = [];
    call.on("data", (message) => sizes.push(message.length));
    call.on("error", reject);
    call.on("end", () => resolve(sizes));
  });
}

async function fails(code, promise) {
  try {
    await promise;
  } catch (error) {
    assert.strictEqual(error.code, code, `${error.code} ${error.details}, not ${code}`);
    return error;
  }
  throw new Error(`no error; wanted ${code}`);
}

async function stats(client) {
  const text = (await unary(client, "/test.Echo/Stats")).toString();
  return Object.fromEntries(text.split(" ").map((pair) => [pair.split("=")[0], Number(pair.split("=")[1])]));
}

async function waitFor(condition) {
  const end = Date.now() + 20000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, "waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

let server;
let client;

const tests = {
  async unary() {
    for (const method of ["Unary", "Thread", "Pieces"]) {
      assert.strictEqual((await unary(client, `/test.Echo/${method}`, "hello")).toString(), "hello");
      assert.strictEqual((await unary(client, `/test.Echo/${method}`)).length, 0);
    }
  },

  async "error texts and trailers"() {
    for (const text of ["plain", "100% ünïcode ∞\nline two", " blanks "]) {
      const error = await fails(5, unary(client, "/test.Echo/Fail", `5 ${text}`));
      assert.strictEqual(error.details, text);
      assert.deepStrictEqual(error.metadata.get("x-test"), ["a value"]);
      assert.deepStrictEqual(error.metadata.get("x-bad"), []);
    }
  },

  async "unknown methods"() {
    await fails(12, unary(client, "/test.Echo/Nothing"));
    await fails(12, unary(client, "/no.Service/Nothing"));
  },

  async "deadlines"() {
    await fails(4, unary(client, "/test.Echo/Sleep", "60000", { timeoutMs: 200 }));
    await waitFor(async () => (await stats(client)).sleeping === 0);
  },

  async "cancel, then reuse"() {
    const before = (await stats(client)).cancels;
    const { call, result } = start(client, "/test.Echo/Sleep", "60000");
    await waitFor(async () => (await stats(client)).sleeping === 1);
    call.cancel();
    await fails(1, result);
    await waitFor(async () => (await stats(client)).cancels === before + 1);
    assert.strictEqual((await unary(client, "/test.Echo/Unary", "again")).toString(), "again");
  },

  async "5 MiB and 100 MiB"() {
    for (const size of [5 << 20, 100 << 20]) {
      const message = Buffer.alloc(size, "0123456789abcdef");
      assert.ok(message.equals(await unary(client, "/test.Echo/Unary", message)));
    }
  },

  async "an over-size message leaves the connection usable"() {
    const conns = (await stats(client)).conns;
    const error = await fails(11, unary(client, "/test.Echo/Unary", Buffer.alloc((128 << 20) + 1)));
    assert.match(error.details, /message length too large/);
    assert.strictEqual((await unary(client, "/test.Echo/Unary", "here")).toString(), "here");
    assert.strictEqual((await stats(client)).conns, conns);
  },

  async "12 KB of metadata"() {
    const metadata = new grpc.Metadata();
    metadata.set("x-large", "m".repeat(12000));
    const reply = await unary(client, "/test.Echo/Header", "x-large", { metadata });
    assert.strictEqual(reply.toString(), "m".repeat(12000));
    metadata.set("x-larger", "m".repeat(28000));
    await fails(8, unary(client, "/test.Echo/Unary", "", { metadata }));
    assert.strictEqual((await unary(client, "/test.Echo/Unary", "here")).toString(), "here");
  },

  async "500 calls at once"() {
    const replies = await Promise.all(
      Array.from({ length: 500 }, (_, i) => unary(client, i % 2 ? "/test.Echo/Unary" : "/test.Echo/Thread", `${i}`)),
    );
    assert.deepStrictEqual(
      replies.map(String),
      replies.map((_, i) => `${i}`),
    );
  },

  async "streams"() {
    assert.deepStrictEqual(await stream(client, "1000 1000"), Array(1000).fill(1000));
    assert.deepStrictEqual(await stream(client, "20 1000000"), Array(20).fill(1000000));
    assert.deepStrictEqual(await stream(client, "0 0"), []);
    await fails(3, stream(client, "1 999999999"));
  },

  async "100 clients reset bursts of calls"() {
    const clients = Array.from({ length: 100 }, () => server.client());
    await Promise.all(clients.map((one) => unary(one, "/test.Echo/Unary")));
    const conns = (await stats(client)).conns;
    for (let round = 0; round < 3; round++) {
      const calls = clients.flatMap((one) => Array.from({ length: 20 }, () => start(one, "/test.Echo/Sleep", "60000")));
      await waitFor(async () => (await stats(client)).sleeping > 0);
      calls.forEach(({ call }) => call.cancel());
      await Promise.all(calls.map(({ result }) => fails(1, result)));
    }
    await Promise.all(clients.map((one) => unary(one, "/test.Echo/Unary")));
    await waitFor(async () => (await stats(client)).sleeping === 0);
    assert.strictEqual((await stats(client)).conns, conns);
    clients.forEach((one) => one.close());
  },

  async "a ping every second"() {
    const pinger = server.client({
      "grpc.keepalive_time_ms": 1000,
      "grpc.keepalive_timeout_ms": 1000,
      "grpc.keepalive_permit_without_calls": 1,
    });
    await unary(pinger, "/test.Echo/Unary");
    const conns = (await stats(client)).conns;
    await new Promise((resolve) => setTimeout(resolve, 4000)); // the time itself is what is tested
    assert.strictEqual(pinger.getChannel().getConnectivityState(false), grpc.connectivityState.READY);
    assert.strictEqual((await unary(pinger, "/test.Echo/Unary", "alive")).toString(), "alive");
    assert.ok((await stats(client)).conns <= conns); // those of earlier tests may end meanwhile
    pinger.close();
  },

  async "reflection"() {
    for (const version of ["v1", "v1alpha"]) {
      const answers = await reflect(version, [
        { list_services: "" },
        { file_containing_symbol: "grpc.health.v1.Health.Check" },
        { file_by_filename: "grpc/health/v1/health.proto" },
        { file_by_filename: "nothing.proto" },
        { file_containing_symbol: "no.Symbol" },
        { all_extension_numbers_of_type: "grpc.health.v1.HealthCheckRequest" },
        { all_extension_numbers_of_type: "no.Type" },
        { file_containing_extension: { containing_type: "no.Type", extension_number: 7 } },
        {},
      ]);
      const services = answers[0].list_services_response.service.map((service) => service.name);
      assert.deepStrictEqual(services.sort(), [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "test.Echo",
        "test.Locked",
      ]);
      const [file] = answers[1].file_descriptor_response.file_descriptor_proto;
      assert.ok(file.includes("HealthCheckRequest"));
      assert.ok(file.equals(answers[2].file_descriptor_response.file_descriptor_proto[0]));
      assert.deepStrictEqual(
        [3, 4, 6, 7, 8].map((i) => answers[i].error_response.error_code),
        [5, 5, 5, 5, 3],
      );
      assert.strictEqual(
        answers[5].all_extension_numbers_response.base_type_name,
        "grpc.health.v1.HealthCheckRequest",
      );
    }
  },

  async "drain with calls in flight"() {
    const own = await new Server().start("--loops", "2");
    const one = own.client();
    const calls = Array.from({ length: 50 }, () => unary(one, "/test.Echo/Sleep", "1000"));
    await waitFor(async () => (await stats(one)).sleeping === 50);
    const stopped = own.stop();
    assert.deepStrictEqual((await Promise.all(calls)).map(String), Array(50).fill("slept"));
    assert.strictEqual(await stopped, "drained");
    await fails(14, unary(own.client(), "/test.Echo/Unary", "new", { timeoutMs: 5000 }));
  },
};

/** All answers of one reflection stream; each request is sent when the answer before it is there. */
function reflect(version, requests) {
  const file = path.join(root, "proto", "grpc", "reflection", version, "reflection.proto");
  const loaded = loader.loadSync(file, { keepCase: true, longs: Number, oneofs: true });
  const { ServerReflection } = grpc.loadPackageDefinition(loaded).grpc.reflection[version];
  const one = new ServerReflection(server.address, grpc.credentials.createInsecure(), OPTIONS);
  return new Promise((resolve, reject) => {
    const answers = [];
    const call = one.ServerReflectionInfo({ deadline: Date.now() + 20000 });
    const next = () => (answers.length < requests.length ? call.write(requests[answers.length]) : call.end());
    call.on("data", (answer) => {
      answers.push(answer);
      next();
    });
    call.on("error", reject);
    call.on("end", () => {
      one.close();
      resolve(answers);
    });
    next();
  });
}

async function main() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "rpc-js-"));
  const descriptors = path.join(dir, "descriptors");
  const protos = ["health/v1/health.proto", "reflection/v1/reflection.proto", "reflection/v1alpha/reflection.proto"];
  execFileSync("protoc", ["-I", "proto", `--descriptor_set_out=${descriptors}`, ...protos.map((p) => `grpc/${p}`)], {
    cwd: root,
  });
  server = await new Server().start("--loops", "2", "--descriptors", descriptors);
  client = server.client();
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED ${name}: ${error.stack}`);
    }
  }
  client.close();
  assert.strictEqual(await server.stop(), "drained");
  fs.rmSync(dir, { recursive: true });
  console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
