// grpc-js, unmodified, against a server it knows by its address alone: what it calls it learned by reflection.
// Usage: node client.cjs ADDRESS. One line for each check: "ok NAME" or "FAILED NAME: why".
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const path = require("node:path");
const { createRequire } = require("node:module");

const root = process.env.SILO_ROOT || path.join(__dirname, "..", "..");
const clientRequire = createRequire(path.join(root, "clients", "typescript", "package.json"));
const grpc = clientRequire("@grpc/grpc-js");
const loader = clientRequire("@grpc/proto-loader");

const address = process.argv[2];
const MAX = 128 * 1024 * 1024;
const LOADING = { keepCase: true, longs: Number, defaults: true, oneofs: true };
const OPTIONS = {
  "grpc.max_send_message_length": MAX,
  "grpc.max_receive_message_length": MAX,
  "grpc.use_local_subchannel_pool": 1,
};
const SERVICE = "silo.v1.Silo";

function call(client, method, request, timeoutMs = 60000) {
  return new Promise((resolve, reject) => {
    client[method](request, { deadline: Date.now() + timeoutMs }, (error, reply) =>
      error ? reject(error) : resolve(reply),
    );
  });
}

/** All answers of one reflection stream. */
function reflect(version, requests) {
  const file = path.join(root, "proto", "grpc", "reflection", version, "reflection.proto");
  const { ServerReflection } = grpc.loadPackageDefinition(loader.loadSync(file, LOADING)).grpc.reflection[version];
  const client = new ServerReflection(address, grpc.credentials.createInsecure(), OPTIONS);
  return new Promise((resolve, reject) => {
    const answers = [];
    const stream = client.ServerReflectionInfo({ deadline: Date.now() + 20000 });
    stream.on("data", (answer) => answers.push(answer));
    stream.on("error", reject);
    stream.on("end", () => {
      client.close();
      resolve(answers);
    });
    requests.forEach((request) => stream.write(request));
    stream.end();
  });
}

/** A FileDescriptorSet of files that are there as bytes: field 1 of it, again and again. */
function descriptorSet(files) {
  const parts = [];
  for (const file of files) {
    const head = [0x0a];
    let length = file.length;
    for (; length > 127; length >>>= 7) {
      head.push((length & 127) | 128);
    }
    head.push(length);
    parts.push(Buffer.from(head), file);
  }
  return Buffer.concat(parts);
}

let Silo;
async function learn() {
  for (const version of ["v1", "v1alpha"]) {
    const [list, file] = await reflect(version, [{ list_services: "*" }, { file_containing_symbol: SERVICE }]);
    const names = list.list_services_response.service.map((service) => service.name);
    assert(names.includes(SERVICE) && names.includes("grpc.health.v1.Health"), names.join());
    const set = descriptorSet(file.file_descriptor_response.file_descriptor_proto);
    Silo = grpc.loadPackageDefinition(loader.loadFileDescriptorSetFromBuffer(set, LOADING)).silo.v1.Silo;
  }
}

function connect(options = {}) {
  return new Silo(address, grpc.credentials.createInsecure(), { ...OPTIONS, ...options });
}

async function shardOf(client) {
  return (await call(client, "GetClusterInfo", {})).shard_owners[0].shard_id;
}

async function roundTrip(client, size) {
  const shard = await shardOf(client);
  const payload = crypto.randomBytes(size);
  const group = `node-${size}`;
  const { id } = await call(client, "Enqueue", { shard, task_group: group, payload: { msgpack: payload } }, 120000);
  const poll = { worker_id: "node", max_tasks: 1, task_group: group, wait_ms: 30000 };
  const { tasks } = await call(client, "LeaseTasks", poll, 120000);
  assert.strictEqual(tasks.length, 1);
  assert(payload.equals(tasks[0].payload.msgpack), "leased payload");
  await call(client, "ReportOutcome", { shard, task_id: tasks[0].id, success: { msgpack: payload } }, 120000);
  const result = await call(client, "GetJobResult", { shard, id, wait_ms: 1000 }, 120000);
  assert(payload.equals(result.success_data.msgpack), "result");
}

const checks = {
  async small_round_trip() {
    const client = connect();
    await roundTrip(client, 10);
    client.close();
  },

  async payload_of_5_MiB() {
    const client = connect();
    await roundTrip(client, 5 << 20);
    client.close();
  },

  async payload_of_100_MiB() {
    const client = connect();
    await roundTrip(client, 100 << 20);
    client.close();
  },

  async errors_carry_their_text() {
    const client = connect();
    const shard = await shardOf(client);
    const failure = (method, request) => call(client, method, request).then(assert.fail, (error) => error);
    assert.strictEqual((await failure("GetJob", { shard, id: "nobody" })).code, grpc.status.NOT_FOUND);
    const bad = await failure("Enqueue", { shard: "no uuid", task_group: "g" });
    assert.strictEqual(bad.code, grpc.status.INVALID_ARGUMENT);
    assert.notStrictEqual(bad.details, "");
    client.close();
  },

  async bursts_of_resets() {
    const client = connect();
    const shard = await shardOf(client);
    const lost = [];
    const channel = client.getChannel();
    const watch = (state) =>
      channel.watchConnectivityState(state, Date.now() + 60000, (error) => error || lost.push(state));
    assert.strictEqual(channel.getConnectivityState(false), grpc.connectivityState.READY);
    watch(grpc.connectivityState.READY);
    for (let burst = 0; burst < 20; burst++) {
      const poll = { worker_id: "r", max_tasks: 1, task_group: "node-none", wait_ms: 30000 };
      const ends = [];
      for (let i = 0; i < 50; i++) {
        ends.push(
          new Promise((resolve) => {
            const parked = client.LeaseTasks(poll, () => resolve());
            setTimeout(() => parked.cancel(), i % 5);
          }),
        );
      }
      await Promise.all(ends);
      assert.strictEqual((await call(client, "GetClusterInfo", {})).shard_owners[0].shard_id, shard);
    }
    assert.deepStrictEqual(lost, []);
    client.close();
  },

  async pings_every_second() {
    const client = connect({
      "grpc.keepalive_time_ms": 1000,
      "grpc.keepalive_timeout_ms": 1000,
      "grpc.keepalive_permit_without_calls": 1,
    });
    await shardOf(client);
    await new Promise((resolve) => setTimeout(resolve, 5500)); // being idle is what is tested
    assert.strictEqual(client.getChannel().getConnectivityState(false), grpc.connectivityState.READY);
    await shardOf(client);
    client.close();
  },
};

async function main() {
  const run = async (name, check) => {
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAILED ${name}: ${String(error.stack).split("\n").slice(0, 4).join(" ")}`);
    }
  };
  await run("reflection", learn);
  if (Silo !== undefined) {
    for (const [name, check] of Object.entries(checks)) {
      await run(name, check);
    }
  }
  process.exit(0);
}

main();
