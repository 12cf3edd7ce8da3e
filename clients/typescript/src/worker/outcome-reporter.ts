// Sends the outcomes of one worker, those of one shard together where they come thick.
//
// A shard to which no call is in flight gets what there is with the next turn of the event loop,
// so a lone outcome waits for nothing. What finishes during a call rides the next one, which
// leaves when that call is answered, when it is full, or after MAX_WAIT_MS: no heartbeat renews
// the lease by now, and a call may be held up by a large result or by its retries.
import { context } from "@opentelemetry/api";
import type { Context } from "@opentelemetry/api";
import { asError } from "../base/describe";
import { REPORT_OUTCOMES_MAX } from "../client/bulk-reports";
import type { SiloGRPCClient } from "../client/client";
import type { ReportOutcomeOptions } from "../jobs/types";

/** Longest wait of an outcome for calls in flight, in milliseconds. */
const MAX_WAIT_MS = 10;

interface Waiting {
  options: ReportOutcomeOptions;
  /** Where it was reported: carries the task's span. */
  context: Context;
  /** With the error if it was not recorded. */
  done: (error?: Error) => void;
}

/** Outcomes on their way to one shard. */
interface Lane {
  waiting: Waiting[];
  calls: number;
  /** Set while the lane is going to be looked at. */
  timer?: NodeJS.Timeout;
  turn?: NodeJS.Immediate;
}

/** What the reporter needs of a client; one that knows only single reports will do. */
export type ReportingClient = Pick<SiloGRPCClient, "reportOutcome"> &
  Partial<Pick<SiloGRPCClient, "reportOutcomes">>;

export class OutcomeReporter {
  private readonly lanes = new Map<string, Lane>();

  constructor(private readonly client: ReportingClient) {}

  /**
   * Reports an outcome; resolves when it is recorded. Fewer wait for a shard than fit in a call.
   * @throws what `SiloGRPCClient.reportOutcome` throws.
   */
  report(options: ReportOutcomeOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const lane = this.lanes.get(options.shard) ?? { waiting: [], calls: 0 };
      this.lanes.set(options.shard, lane);
      lane.waiting.push({
        options,
        context: context.active(),
        done: (error) => (error === undefined ? resolve() : reject(error)),
      });
      this.look(options.shard, lane);
    });
  }

  private look(shard: string, lane: Lane): void {
    if (lane.waiting.length >= REPORT_OUTCOMES_MAX) {
      void this.send(shard, lane);
    } else if (lane.waiting.length > 0 && lane.calls === 0) {
      lane.turn ??= setImmediate(() => void this.send(shard, lane));
    } else if (lane.waiting.length > 0) {
      lane.timer ??= setTimeout(() => void this.send(shard, lane), MAX_WAIT_MS);
    } else if (lane.calls === 0) {
      this.lanes.delete(shard);
    }
  }

  /** Sends all that wait in one call, and settles them. Never rejects. */
  private async send(shard: string, lane: Lane): Promise<void> {
    clearTimeout(lane.timer);
    clearImmediate(lane.turn);
    lane.timer = undefined;
    lane.turn = undefined;
    const batch = lane.waiting;
    lane.waiting = [];
    lane.calls++;
    // A call can carry one trace only: the first outcome's.
    const errors = await context.with(batch[0].context, () => this.call(batch));
    lane.calls--;
    batch.forEach(({ done }, i) => done(errors[i]));
    this.look(shard, lane);
  }

  /** @returns for each outcome why it was not recorded. Never rejects. */
  private async call(batch: Waiting[]): Promise<(Error | undefined)[]> {
    if (batch.length === 1 || this.client.reportOutcomes === undefined) {
      return Promise.all(batch.map((waiting) => this.callAlone(waiting)));
    }
    try {
      const results = await this.client.reportOutcomes(batch.map(({ options }) => options));
      return batch.map((_, i) => results[i].error);
    } catch (error) {
      return batch.map(() => asError(error));
    }
  }

  private async callAlone({ options, context: own }: Waiting): Promise<Error | undefined> {
    try {
      await context.with(own, () => this.client.reportOutcome(options));
      return undefined;
    } catch (error) {
      return asError(error);
    }
  }
}
