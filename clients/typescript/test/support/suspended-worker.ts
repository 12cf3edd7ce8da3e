// A worker in a process of its own: `node suspended-worker.js ADDRESS` runs one task whose handler
// waits for its signal, and prints why it aborted.
import { SiloGRPCClient, SiloWorker } from "../../src/index";

const client = new SiloGRPCClient({ servers: process.argv[2] });
const worker = new SiloWorker({
  client,
  workerId: "suspended",
  taskGroup: "group",
  heartbeatIntervalMs: 100,
  onError: () => {},
  handler: async ({ cancellationSignal }) => {
    console.log("running");
    await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
    console.log(String(cancellationSignal.reason));
    process.exit(0);
  },
});
void worker.start();
