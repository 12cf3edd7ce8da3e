// Gives tasks back to the server that were leased and never begun: another worker gets them at
// once, under the same attempt number.
import type { SiloGRPCClient } from "../client/client";
import { verdictOf } from "./delivery";
import type { Runner } from "./runner";

/** Tasks of one call; each of them costs the server a write. */
const RETURN_TASKS_MAX = 256;

/** What giving back needs of a client; one that cannot do it will do. */
export type ReturningClient = Partial<Pick<SiloGRPCClient, "returnTasks">>;

/** Tasks of one shard, as many as fit in a call. */
function callsOf(runners: readonly Runner[]): Runner[][] {
  const shards = new Map<string, Runner[]>();
  for (const runner of runners) {
    const list = shards.get(runner.shard) ?? [];
    shards.set(runner.shard, list);
    list.push(runner);
  }
  return [...shards.values()].flatMap((list) =>
    Array.from({ length: Math.ceil(list.length / RETURN_TASKS_MAX) }, (_, i) =>
      list.slice(i * RETURN_TASKS_MAX, (i + 1) * RETURN_TASKS_MAX),
    ),
  );
}

/**
 * Gives tasks back. Never rejects.
 * @returns those that are still this worker's, because the server knows no better or cannot be
 *     reached.
 */
export async function giveBack(
  client: ReturningClient,
  workerId: string,
  runners: readonly Runner[],
): Promise<Runner[]> {
  if (client.returnTasks === undefined) {
    return [...runners];
  }
  const kept = await Promise.all(
    callsOf(runners).map(async (call) => {
      const { shard } = call[0];
      const tasks = call.map(({ taskId, tenant }) => ({ taskId, tenant }));
      try {
        const results = await client.returnTasks?.({ shard, workerId, tasks });
        return call.filter((_, i) => {
          const error = results?.[i]?.error;
          return error !== undefined && verdictOf(error) !== "gone";
        });
      } catch {
        return call;
      }
    }),
  );
  return kept.flat();
}
