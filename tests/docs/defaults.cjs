// What test_client.py compares with the documentation: the client's defaults as they are, and as a server sees them.
//
// Usage: defaults.cjs ADDRESS     prints one JSON object.
const path = require("node:path");
const silo = require(path.join(process.env.SILO_ROOT, "clients", "typescript"));

async function main() {
  const client = new silo.SiloGRPCClient({ servers: [process.argv[2]] });
  const worker = new silo.SiloWorker({ client, workerId: "w", taskGroup: "g", handler: () => Promise.resolve() });
  const numbers = Object.entries(worker).filter(([, value]) => typeof value === "number");
  const handle = await client.enqueue({
    payload: null,
    taskGroup: "defaults",
    limits: [{ type: "rateLimit", name: "n", uniqueKey: "u", limit: 1n, durationMs: 1000n }],
  });
  const errors = Object.entries(silo).filter(([, made]) => typeof made === "function" && made.prototype instanceof Error);
  console.log(JSON.stringify({ worker: Object.fromEntries(numbers), id: handle.id, errors: errors.map(([name]) => name) }));
  await client.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
