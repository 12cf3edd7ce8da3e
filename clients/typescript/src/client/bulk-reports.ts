// ReportOutcomes: many outcomes in few calls, each with a result of its own.
import { status as grpcStatus } from "@grpc/grpc-js";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { restOf } from "../connection/call-limits";
import type { Connection } from "../connection/connection";
import {
  isConnectivityError,
  isTooLarge,
  isWrongShardError,
  mapError,
} from "../errors/error-mapping";
import {
  SiloGrpcError,
  SiloNotFoundError,
  SiloProtocolError,
  SiloResourceExhaustedError,
  TaskNotFoundError,
} from "../errors/errors";
import type { ReportOutcomeRequest, ReportOutcomesResult as ProtoResult } from "../gen/silo";
import type { CallOptions, ReportOutcomeOptions, ReportOutcomesResult } from "../jobs/types";
import { isFinal, outcomeBytes, outcomeToProto } from "../wire/mapping";
import { inCalls, mapLimited, SINGLE_CALLS } from "./bulk";
import type { MissingMethods } from "./bulk";

/**
 * Outcomes sent in one ReportOutcomes call. The answer comes when the last of them is durable:
 * beyond some hundreds the first would wait longer and the call would cost no less for each.
 */
export const REPORT_OUTCOMES_MAX = 256;

/** ReportOutcomes calls in flight for one list, to whatever shards. */
const CALLS = 4;

/** Bytes of a request beside its outcome and its tenant, roughly. */
const ITEM_BYTES = 128;

/** Answers to one call, and whether it was sent more than once. */
interface Answer {
  results: ProtoResult[];
  isRepeated: boolean;
}

/** Codes of a whole call that say nothing of what it carried. */
const WHOLE_FAILURES: ReadonlySet<string> = new Set([
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "ABORTED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "NOT_FOUND",
]);

interface Item {
  options: ReportOutcomeOptions;
  request: ReportOutcomeRequest;
  place: number;
  /** What is left of the time for all. */
  rest: () => CallOptions;
}

function sizeOf({ request: { outcome, tenantId } }: Item): number {
  return ITEM_BYTES + (tenantId?.length ?? 0) + outcomeBytes(outcome);
}

/** Whether a call of its own would have been sent again after this status. */
function isRepeatable(error: RpcError): boolean {
  return (
    error.code === "RESOURCE_EXHAUSTED" || isConnectivityError(error) || isWrongShardError(error)
  );
}

/**
 * What a failed report means for its task.
 * @param isRepeated whether it was sent more than once.
 */
function errorOf(error: unknown, taskId: string, isRepeated = false): Error {
  const mapped = mapError(error, "reportOutcomes", { taskId });
  if (error instanceof SiloNotFoundError) {
    return new TaskNotFoundError(taskId, error.grpcMessage, isRepeated);
  }
  return isRepeated && mapped instanceof TaskNotFoundError
    ? new TaskNotFoundError(taskId, mapped.grpcMessage, true)
    : mapped;
}

/** @returns undefined if the item has to be reported again. */
function resultOf(
  { options: { taskId } }: Item,
  answer: ProtoResult | undefined,
  isRepeated: boolean,
): ReportOutcomesResult | undefined {
  if (answer === undefined) {
    return { error: new SiloProtocolError(`No result returned from server for task ${taskId}`) };
  }
  if (answer.code === 0) {
    return {};
  }
  const error = new RpcError(answer.message, grpcStatus[answer.code] ?? "UNKNOWN");
  return isRepeatable(error) ? undefined : { error: errorOf(error, taskId, isRepeated) };
}

/**
 * Whether a call failed for what it carried, as far as one can tell: its parts may pass. Servers
 * that are away, busy, or refuse the caller would refuse the parts, too.
 */
function mayPassInParts(error: unknown): boolean {
  if (error instanceof SiloResourceExhaustedError) {
    return isTooLarge(error);
  }
  return error instanceof SiloGrpcError && !WHOLE_FAILURES.has(error.grpcCode);
}

export class BulkReports {
  /** @param single reports one outcome with a call of its own. */
  constructor(
    private readonly connection: Connection,
    private readonly missing: MissingMethods,
    private readonly single: (options: ReportOutcomeOptions, call: CallOptions) => Promise<void>,
  ) {}

  /**
   * Reports a list of any length; the results are in its order.
   * @throws InvalidOptionError for limits that cannot be meant, and nothing else.
   */
  async report(
    outcomes: readonly ReportOutcomeOptions[],
    call: CallOptions = {},
  ): Promise<ReportOutcomesResult[]> {
    const rest = restOf(call);
    const results = new Array<ReportOutcomesResult>(outcomes.length);
    const shards = new Map<string, Item[]>();
    outcomes.forEach((options, place) => {
      const { shard, taskId, tenant: tenantId } = options;
      try {
        const outcome = outcomeToProto(options.outcome);
        const noRetry = isFinal(options.outcome);
        const items = shards.get(shard) ?? [];
        shards.set(shard, items);
        const request = { shard: "", taskId, outcome, tenantId, noRetry };
        items.push({ options, request, place, rest });
      } catch (error) {
        results[place] = { error: errorOf(error, taskId) };
      }
    });
    const calls = [...shards.values()].flatMap((items) => [
      ...inCalls(items, REPORT_OUTCOMES_MAX, sizeOf),
    ]);
    await mapLimited(calls, CALLS, async (items) => {
      (await this.reportItems(items)).forEach((result, i) => {
        results[items[i].place] = result;
      });
    });
    return results;
  }

  /**
   * Items of one shard, as many as fit into a call.
   * @param wereSent whether they were sent before, with what became of them unknown.
   */
  private async reportItems(items: Item[], wereSent = false): Promise<ReportOutcomesResult[]> {
    if (items.length === 1) {
      return [await this.reportAlone(items[0], wereSent)];
    }
    let answer: Answer | undefined;
    try {
      answer = await this.call(items);
    } catch (error) {
      return mayPassInParts(error)
        ? this.reportHalves(items)
        : items.map(({ options }) => ({ error: errorOf(error, options.taskId) }));
    }
    if (answer === undefined) {
      return mapLimited(items, SINGLE_CALLS, (item) => this.reportAlone(item, wereSent));
    }
    const { results: given, isRepeated } = answer;
    const results = items.map((item, i) => resultOf(item, given.at(i), isRepeated || wereSent));
    const open = [...results.keys()].filter((i) => results[i] === undefined);
    await mapLimited(open, SINGLE_CALLS, async (i) => {
      results[i] = await this.reportAlone(items[i]);
    });
    return results as ReportOutcomesResult[];
  }

  /** One of the items has spoilt their call: in halves all others pass with few calls. */
  private async reportHalves(items: Item[]): Promise<ReportOutcomesResult[]> {
    const middle = Math.ceil(items.length / 2);
    const first = await this.reportItems(items.slice(0, middle), true);
    return [...first, ...(await this.reportItems(items.slice(middle), true))];
  }

  /** @returns undefined if the server does not know ReportOutcomes. */
  private call(items: Item[]): Promise<Answer | undefined> {
    const { shard } = items[0].options;
    const outcomes = items.map(({ request }) => request);
    const requestBytes = items.reduce((sum, item) => sum + sizeOf(item), 0);
    let tries = 0;
    return this.connection.shardCall(
      shard,
      { ...items[0].rest(), operation: "reportOutcomes", requestBytes },
      (stub, rpc, _shard, address) =>
        this.missing.attempt(address, "reportOutcomes", async () => {
          const isRepeated = tries++ > 0;
          const { results } = await stub.reportOutcomes({ shard, outcomes }, rpc).response;
          return { results, isRepeated };
        }),
    );
  }

  private async reportAlone(
    { options, rest }: Item,
    wereSent = false,
  ): Promise<ReportOutcomesResult> {
    try {
      await this.single(options, rest());
      return {};
    } catch (error) {
      return { error: errorOf(error, options.taskId, wereSent) };
    }
  }
}
