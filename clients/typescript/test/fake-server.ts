// A server of silo.v1 inside the test's process: each method is a function of the test's.
import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { GetClusterInfoResponse, Silo } from "../src/gen/silo";
import type { EnqueueRequest, Task } from "../src/gen/silo";
import { serialize } from "../src/wire/codec";

export const SHARD = "11111111-1111-4111-8111-111111111111";
export const OTHER_SHARD = "22222222-2222-4222-8222-222222222222";

/** One call as the server saw it. */
export interface SeenCall {
  method: string;
  // Each test knows which message its method gets.
  request: any;
  metadata: Metadata;
}

export type Handler = (request: any, metadata: Metadata) => unknown;

/** An error status for a handler to throw. */
export function grpcError(code: status, details: string, trailers: Record<string, string> = {}) {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailers)) {
    metadata.set(key, value);
  }
  return Object.assign(new Error(details), { code, details, metadata });
}

function definition(): ServiceDefinition {
  const result: Record<string, ServiceDefinition[string]> = {};
  for (const method of Silo.methods) {
    result[method.localName] = {
      path: `/${Silo.typeName}/${method.name}`,
      requestStream: false,
      responseStream: Boolean(method.serverStreaming),
      requestSerialize: (value: object) => Buffer.from(method.I.toBinary(value)),
      requestDeserialize: (bytes: Buffer) => method.I.fromBinary(bytes),
      responseSerialize: (value: object) => Buffer.from(method.O.toBinary(value)),
      responseDeserialize: (bytes: Buffer) => method.O.fromBinary(bytes),
    };
  }
  return result;
}

export class FakeServer {
  readonly calls: SeenCall[] = [];
  readonly handlers: Record<string, Handler> = {};
  /** WatchTopology calls that are open. */
  readonly watchers = new Set<any>();
  /** Whether the server knows WatchTopology. */
  isWatchable = false;
  /** Hears of calls that their client has cancelled. */
  onCancel: (method: string) => void = () => {};
  private readonly server = new Server({ "grpc.max_receive_message_length": -1 });
  private port = 0;

  /** Starts a server on a free port; it says that it owns one shard for all tenants. */
  static async start(handlers: Record<string, Handler> = {}, port = 0): Promise<FakeServer> {
    const fake = new FakeServer();
    Object.assign(fake.handlers, { getClusterInfo: () => clusterInfo([fake.address]) }, handlers);
    const implementation: UntypedServiceImplementation = {};
    for (const method of Silo.methods.filter((m) => !m.serverStreaming)) {
      implementation[method.localName] = (call: any, callback: any) => {
        fake.answer(method.localName, method.O, call, callback);
      };
    }
    implementation.watchTopology = (call: any) => fake.watch(call);
    fake.server.addService(definition(), implementation);
    const credentials = ServerCredentials.createInsecure();
    fake.port = await new Promise<number>((resolve, reject) => {
      fake.server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    return fake;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The requests that a method got. */
  requests(method: string): any[] {
    return this.calls.filter((call) => call.method === method).map((call) => call.request);
  }

  /** Sends its topology to all who watch it. */
  async tellTopology(): Promise<void> {
    for (const call of this.watchers) {
      call.write(await this.topology());
    }
  }

  stop(): void {
    this.server.forceShutdown();
  }

  private async topology(): Promise<object> {
    const { getClusterInfo } = this.handlers;
    return GetClusterInfoResponse.create((await getClusterInfo({}, new Metadata())) as object);
  }

  private async watch(call: any): Promise<void> {
    this.calls.push({ method: "watchTopology", request: call.request, metadata: call.metadata });
    if (!this.isWatchable) {
      call.emit("error", grpcError(status.UNIMPLEMENTED, "unknown method"));
      return;
    }
    this.watchers.add(call);
    call.on("cancelled", () => this.watchers.delete(call));
    call.write(await this.topology());
  }

  private answer(
    method: string,
    output: { create(value: object): object },
    call: any,
    callback: any,
  ): void {
    call.on("cancelled", () => this.onCancel(method));
    this.calls.push({ method, request: call.request, metadata: call.metadata });
    const handler = this.handlers[method];
    if (handler === undefined) {
      callback(grpcError(status.UNIMPLEMENTED, `no handler for ${method}`));
      return;
    }
    Promise.resolve()
      .then(() => handler(call.request, call.metadata))
      .then(
        (value) => callback(null, output.create((value ?? {}) as object)),
        (error) => callback(error),
      );
  }
}

/** A topology with one shard for each address, in equal ranges. */
export function clusterInfo(addresses: string[], ids: string[] = [SHARD, OTHER_SHARD]) {
  const bounds = ["", "8000000000000000", ""];
  return {
    numShards: addresses.length,
    shardOwners: addresses.map((grpcAddr, i) => ({
      shardId: ids[i],
      grpcAddr,
      nodeId: `node-${i}`,
      rangeStart: addresses.length === 1 ? "" : bounds[i],
      rangeEnd: addresses.length === 1 ? "" : bounds[i + 1],
    })),
    thisNodeId: "node-0",
    thisGrpcAddr: addresses[0] ?? "",
    members: [],
  };
}

/** A task as LeaseTasks hands it out. */
export function protoTask(id: string, payload: unknown = { n: 1 }, more: Partial<Task> = {}): Task {
  return {
    id,
    jobId: `job-of-${id}`,
    attemptNumber: 1,
    relativeAttemptNumber: 1,
    isLastAttempt: true,
    metadata: {},
    limits: [],
    payload: serialize(payload),
    priority: 50,
    shard: SHARD,
    taskGroup: "group",
    leaseMs: 10000n,
    ...more,
  };
}

/** A handler of LeaseTasks that hands out each batch once and then holds polls as a server does. */
export function batches(
  ...list: (Task[] | { tasks?: Task[]; refreshTasks?: object[] })[]
): Handler {
  const left = [...list];
  return async (request: { waitMs: number }) => {
    const next = left.shift();
    if (next === undefined) {
      await new Promise((resolve) => setTimeout(resolve, request.waitMs));
      return { tasks: [], refreshTasks: [] };
    }
    return Array.isArray(next) ? { tasks: next } : next;
  };
}

/** Waits until a condition holds. */
export async function until(condition: () => boolean, what = "the condition"): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) {
      throw new Error(`gave up waiting for ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A handler of Enqueue that answers with the id given, or one of its own. */
export function enqueueEcho(request: EnqueueRequest): { id: string } {
  return { id: request.id === "" ? "made-by-server" : request.id };
}
