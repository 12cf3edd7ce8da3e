// Stands for your mail service.
async function sendEmail(to: string, subject: string): Promise<void> {
  console.log(`Sending "${subject}" to ${to}`);
}

import { SiloGRPCClient, SiloWorker } from "@silo-ai/client";

const client = new SiloGRPCClient({
  servers: ["localhost:50051"],
});

// Enqueue a job
const handle = await client.enqueue({
  payload: { to: "user@example.com", subject: "Welcome!" },
  taskGroup: "emails",
  retryPolicy: {
    retryCount: 3,
    initialIntervalMs: 1000n,
    maxIntervalMs: 30000n,
    backoffFactor: 2.0,
    randomizeInterval: true,
  },
});

console.log(`Enqueued job: ${handle.id}`);

// Run a worker that processes email jobs
const worker = new SiloWorker({
  client,
  workerId: "email-worker-1",
  taskGroup: "emails",
  handler: async (task) => {
    const { to, subject } = task.payload;
    await sendEmail(to, subject);
    return { sent: true };
  },
});

await worker.start();
