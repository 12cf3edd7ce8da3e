// TLS, mutual TLS and tokens against real servers, and what a client says when they do not fit.
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  JobStatus,
  SiloGRPCClient,
  SiloTlsError,
  SiloUnauthenticatedError,
  SiloWorker,
} from "../../src/index";
import type { SiloError, SiloGRPCClientOptions, TlsProblem } from "../../src/index";
import { TlsMaterial } from "../../src/connection/tls";
import { Authority, certificateDirectory } from "../support/certificates";
import type { Pair } from "../support/certificates";
import { ServerProcess } from "../support/server-process";
import { unique } from "./live";

const NAMES = "DNS:localhost,IP:127.0.0.1";

const { dir, remove } = certificateDirectory();
const servers: Record<"plain" | "tls" | "mutual", ServerProcess | undefined> = {
  plain: undefined,
  tls: undefined,
  mutual: undefined,
};
const clients: SiloGRPCClient[] = [];
let authority: Authority;
let other: Authority;
let server: Pair;
let client: Pair;
let foreign: Pair;

function served({ cert, key }: Pair): string[] {
  return [`tls_cert = "${cert}"`, `tls_key = "${key}"`];
}

before(async () => {
  authority = Authority.make(dir, "authority");
  other = Authority.make(dir, "other");
  server = authority.issue("server", NAMES);
  client = authority.issue("client");
  foreign = other.issue("foreign");
  const token = 'auth_token = "secret"';
  const tls = served(server);
  servers.plain = await ServerProcess.start([token]);
  servers.tls = await ServerProcess.start([token, ...tls]);
  servers.mutual = await ServerProcess.start([...tls, `tls_client_ca = "${authority.cert}"`]);
});
after(async () => {
  for (const each of clients) {
    each.close();
  }
  await Promise.all(Object.values(servers).map((each) => each?.remove()));
  remove();
});

function connect(to: keyof typeof servers, options: SiloGRPCClientOptions): SiloGRPCClient {
  const made = new SiloGRPCClient({ servers: servers[to]?.address, token: "secret", ...options });
  clients.push(made);
  return made;
}

/** The error of a client's first call. */
async function firstError(to: keyof typeof servers, options: SiloGRPCClientOptions) {
  const call = connect(to, options).enqueue({ payload: 1, taskGroup: "tls" });
  const error: SiloError = await call.then(
    () => assert.fail("the call succeeded"),
    (thrown) => thrown,
  );
  assert.equal(error.address, servers[to]?.address);
  return error;
}

test("a job runs over mutual TLS", async () => {
  const { cert: certFile, key: keyFile } = client;
  const connected = connect("mutual", { tls: { caFile: authority.cert, certFile, keyFile } });
  const taskGroup = unique("mutual");
  const handler = async () => ({ done: true });
  const worker = new SiloWorker({ client: connected, workerId: "w", taskGroup, handler });
  await worker.start();
  const handle = await connected.enqueue({ payload: 1, taskGroup });
  assert.equal((await handle.awaitResult({ timeoutMs: 60_000 })).status, JobStatus.Succeeded);
  await worker.stop();
});

test("the environment is enough for TLS and a token", async () => {
  const set = {
    SILO_SERVERS: servers.tls?.address,
    SILO_TOKEN: "secret",
    SILO_TLS_CA: authority.cert,
  };
  Object.assign(process.env, set);
  const connected = new SiloGRPCClient();
  for (const name of Object.keys(set)) {
    delete process.env[name];
  }
  clients.push(connected);
  await connected.enqueue({ payload: 1, taskGroup: unique("environment") });
});

test("a name that differs from the one dialled is said by serverName", async () => {
  const tls = { caFile: authority.cert, serverName: "localhost" };
  await connect("tls", { tls }).refreshTopology();
});

const MISMATCHES: [
  string,
  keyof typeof servers,
  () => SiloGRPCClientOptions,
  TlsProblem,
  RegExp,
][] = [
  ["plaintext client, TLS server", "tls", () => ({}), "tls-server", /Set tls: true/],
  [
    "plaintext client, server with mutual TLS",
    "mutual",
    () => ({}),
    "tls-server",
    /Set tls: true/,
  ],
  [
    "TLS client, plaintext server",
    "plain",
    () => ({ tls: { caFile: authority.cert } }),
    "plaintext-server",
    /server speaks plaintext/,
  ],
  [
    "another authority",
    "tls",
    () => ({ tls: { caFile: other.cert } }),
    "unknown-authority",
    /tls: \{ caFile \}, or SILO_TLS_CA/,
  ],
  ["the system's authorities", "tls", () => ({ tls: true }), "unknown-authority", /caFile/],
  [
    "another name",
    "tls",
    () => ({ tls: { caFile: authority.cert, serverName: "silo.example" } }),
    "server-name",
    /silo\.example.*DNS:localhost/,
  ],
  [
    "no client certificate",
    "mutual",
    () => ({ tls: { caFile: authority.cert } }),
    "client-certificate",
    /asks for a client certificate.*SILO_TLS_CERT/,
  ],
  [
    "a client certificate of another authority",
    "mutual",
    () => {
      const { cert: certFile, key: keyFile } = foreign;
      return { tls: { caFile: authority.cert, certFile, keyFile } };
    },
    "client-certificate",
    /does not accept this client's certificate/,
  ],
];

for (const [name, to, options, problem, message] of MISMATCHES) {
  test(`the first call tells: ${name}`, async () => {
    const error = await firstError(to, options());
    assert.ok(error instanceof SiloTlsError, `${error.name}: ${error.message}`);
    assert.deepEqual([error.code, error.problem], ["SILO_TLS", problem]);
    assert.match(error.message, message);
  });
}

test("the first call tells of a token that is missing or wrong", async () => {
  const wrong = await firstError("plain", { token: "wrong" });
  assert.ok(wrong instanceof SiloUnauthenticatedError);
  assert.match(wrong.message, /server\.auth_token/);
  const missing = await firstError("plain", { token: "" });
  assert.ok(missing instanceof SiloUnauthenticatedError);
  assert.match(missing.message, /set token, or SILO_TOKEN/);
});

test("calls last out the restart of a server with TLS: no verdict comes too early", async () => {
  const { cert: certFile, key: keyFile } = client;
  const connected = connect("mutual", { tls: { caFile: authority.cert, certFile, keyFile } });
  const restarts = (async () => {
    for (let i = 0; i < 3; i++) {
      await servers.mutual?.kill();
      await servers.mutual?.start();
    }
  })();
  const taskGroup = unique("restart");
  let restarting = true;
  const lane = async () => {
    while (restarting) {
      await connected.enqueue({ payload: 1, taskGroup }, { timeoutMs: 120_000 });
    }
  };
  const lanes = Promise.all(Array.from({ length: 8 }, lane));
  await restarts;
  restarting = false;
  await lanes;
});

test("new certificates on disk are used by the next connection", async () => {
  const files = { cert: join(dir, "live.pem"), key: join(dir, "live.key") };
  const caFile = join(dir, "live-ca.pem");
  const install = (from: Authority, { cert, key }: Pair) => {
    copyFileSync(cert, files.cert);
    copyFileSync(key, files.key);
    copyFileSync(from.cert, caFile);
  };
  install(authority, server);
  const settings = [...served(files), `tls_client_ca = "${caFile}"`];
  const rotating = await ServerProcess.start(settings);
  const tls = { caFile, certFile: files.cert, keyFile: files.key };
  const connected = new SiloGRPCClient({ servers: rotating.address, tls });
  clients.push(connected);
  try {
    await connected.refreshTopology();
    await rotating.kill();
    install(other, other.issue("rotated", NAMES));
    await rotating.start();
    await connected.enqueue({ payload: 1, taskGroup: "g" }, { timeoutMs: 60_000 });
  } finally {
    await rotating.remove();
  }
});

test("certificates that do not fit are refused, or do not replace those in use", async (context) => {
  const files = { cert: join(dir, "own.pem"), key: join(dir, "own.key") };
  copyFileSync(client.cert, files.cert);
  copyFileSync(client.key, files.key);
  const sources = {
    cert: { setting: "tls.certFile", file: files.cert },
    key: { setting: "tls.keyFile", file: files.key },
  };
  const complaints = context.mock.method(console, "error", () => undefined);
  const material = new TlsMaterial(sources);
  const first = material.credentials;
  copyFileSync(foreign.cert, files.cert);
  assert.equal(material.credentials, first, "the certificate is new, its key is not");
  assert.match(String(complaints.mock.calls[0].arguments[1]), /tls\.keyFile: cannot be used/);
  assert.throws(() => new TlsMaterial(sources), { code: "SILO_INVALID_OPTION" });
  copyFileSync(foreign.key, files.key);
  assert.notEqual(material.credentials, first);
});
