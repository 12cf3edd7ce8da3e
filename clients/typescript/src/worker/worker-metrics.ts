import type { Counter, Meter, ObservableGauge } from "@opentelemetry/api";

/** The instruments of one worker. Every point carries `defaultAttributes` and nothing else. */
export class WorkerMetrics {
  /** Polls that were answered. */
  readonly pollCounter: Counter;
  /** Polls that brought nothing. */
  readonly emptyPollCounter: Counter;
  /** Tasks and refresh tasks that polls brought. */
  readonly pollTasksReturnedCounter: Counter;
  /** Tasks dropped because this worker held them already. */
  readonly duplicateTaskDeliveriesCounter: Counter;
  /** Free slots; below zero while more tasks are queued than there are slots. */
  readonly availableTaskSlots: ObservableGauge;
  /** What every point carries. */
  readonly defaultAttributes: {
    /** The worker's task group. */
    task_group: string;
  };

  /** @param availableSlotsFn asked whenever the gauge is read. */
  constructor(meter: Meter, taskGroup: string, availableSlotsFn: () => number) {
    this.defaultAttributes = { task_group: taskGroup };
    this.pollCounter = meter.createCounter("silo.worker.polls", {
      description: "Polls answered by a server",
    });
    this.emptyPollCounter = meter.createCounter("silo.worker.polls.empty", {
      description: "Polls that brought no task",
    });
    this.pollTasksReturnedCounter = meter.createCounter("silo.worker.polls.tasks_returned", {
      description: "Tasks that polls brought",
    });
    this.duplicateTaskDeliveriesCounter = meter.createCounter(
      "silo.worker.duplicate_task_deliveries",
      { description: "Tasks delivered while already held by this worker" },
    );
    this.availableTaskSlots = meter.createObservableGauge("silo.worker.available_task_slots", {
      description: "Slots not taken by running or queued tasks",
    });
    this.availableTaskSlots.addCallback((result) => {
      result.observe(availableSlotsFn(), this.defaultAttributes);
    });
  }

  /** Counts one answered poll. */
  countPoll(tasks: number): void {
    this.pollCounter.add(1, this.defaultAttributes);
    if (tasks === 0) {
      this.emptyPollCounter.add(1, this.defaultAttributes);
    } else {
      this.pollTasksReturnedCounter.add(tasks, this.defaultAttributes);
    }
  }
}
