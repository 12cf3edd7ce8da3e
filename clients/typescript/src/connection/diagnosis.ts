// Why a server cannot be reached: found by dialling it once more, by hand.
//
// The gRPC library tells a failed connection as a line of text, and the same one for a server that
// is down and one that speaks TLS to a plaintext client. Here a bare connection is made, with the
// client's certificates but no token and no call, and what happens to it is put into words that say
// what to change. Bytes of the peer are looked at, never kept.
import { connect as connectTcp, isIP } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { SiloTlsError, SiloUnavailableError, withCause } from "../errors/errors";
import type { TlsProblem } from "../errors/errors";
import type { TlsPems } from "./tls";

/** How long one connection of an examination may take, in milliseconds. */
const DIAL_MS = 2000;

/** What HTTP/2 clients say first: the preface and an empty SETTINGS frame. */
const PREFACE = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

const FRAME_SETTINGS = 4;
const TLS_ALERT = 0x15;

/** How the client speaks TLS. */
export interface TlsDial {
  pems: TlsPems;
  /** The name that the certificate has to carry, if it is not the host. */
  serverName?: string;
}

/** What came of one connection. */
interface Attempt {
  /** The first bytes that the peer sent. */
  answer?: Buffer;
  /** Why it ended, if it did; a peer that just closes gives none. */
  error?: NodeJS.ErrnoException;
  /** Whether it came about: TCP, and the handshake where there is one. */
  connected: boolean;
  timedOut: boolean;
  /** Whether the host's name had an address by then. */
  resolved: boolean;
}

interface HostPort {
  host: string;
  port: number;
}

/** @returns undefined for targets that are no `host:port`, such as unix:path. */
function parsed(address: string): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})$/.exec(address);
  return match ? { host: match[1] ?? match[2], port: Number(match[3]) } : undefined;
}

/**
 * Waits for the first bytes of a peer, or for the end of the connection. Never rejects.
 * @param isNumeric whether the host is an address, so that no name has to be looked up.
 */
function listen(
  socket: Socket,
  isNumeric: boolean,
  readyEvent: "connect" | "secureConnect",
): Promise<Attempt> {
  return new Promise((resolve) => {
    let connected = false;
    let resolved = isNumeric;
    socket.once("lookup", (error) => (resolved ||= !error));
    const end = (outcome: Partial<Attempt>) => {
      clearTimeout(timer);
      // Errors that come later are nobody's.
      socket.on("error", () => undefined);
      socket.destroy();
      resolve({ connected, resolved, timedOut: false, ...outcome });
    };
    const timer = setTimeout(() => end({ timedOut: true }), DIAL_MS);
    socket.once(readyEvent, () => {
      connected = true;
      socket.write(PREFACE);
    });
    socket.once("data", (answer: Buffer) => end({ answer }));
    socket.once("error", (error) => end({ error }));
    socket.once("close", () => end({}));
  });
}

function dialPlain({ host, port }: HostPort): Promise<Attempt> {
  return listen(connectTcp({ host, port }), isIP(host) !== 0, "connect");
}

/** @param tls undefined = whatever certificate the peer shows will do. */
function dialTls({ host, port }: HostPort, tls: TlsDial | undefined): Promise<Attempt> {
  const name = tls?.serverName ?? host;
  const socket = connectTls({
    host,
    port,
    ...tls?.pems,
    servername: isIP(name) === 0 ? name : undefined,
    rejectUnauthorized: tls !== undefined,
    ALPNProtocols: ["h2"],
  });
  return listen(socket, isIP(host) !== 0, "secureConnect");
}

function isHttp2({ answer }: Attempt): boolean {
  return answer !== undefined && answer.length > 3 && answer[3] === FRAME_SETTINGS;
}

/** Which of the problems with TLS a failed handshake shows; undefined if none. */
function problemOf(error: NodeJS.ErrnoException): TlsProblem | undefined {
  const text = `${error.code ?? ""} ${error.message}`.toLowerCase();
  if (/wrong.version.number|packet.length.too.long|unknown.protocol|http.request/.test(text)) {
    return "plaintext-server";
  }
  if (/altname_invalid/.test(text)) {
    return "server-name";
  }
  if (/cert_has_expired|cert_not_yet_valid/.test(text)) {
    return "expired";
  }
  if (/self_signed|unable_to_(verify|get_issuer)/.test(text)) {
    return "unknown-authority";
  }
  // Alerts are what the server says of this client.
  if (/alert.*(certificate|unknown.ca|handshake.failure)/.test(text)) {
    return "client-certificate";
  }
  // Not by the message: that of a connection which is lost in the handshake speaks of TLS, too.
  return /^(ERR_SSL|ERR_TLS|EPROTO)/.test(error.code ?? "") ? "handshake" : undefined;
}

const ADVICE: Record<TlsProblem, string> = {
  "plaintext-server":
    "the server speaks plaintext, this client TLS. Turn TLS on in the server (server.tls_cert and " +
    "server.tls_key), or on a network that you trust set tls: false",
  "tls-server":
    "the server speaks TLS, this client plaintext. Set tls: true, or tls: { caFile } if the " +
    "server's certificate is of an authority of your own",
  "unknown-authority":
    "its certificate is signed by no authority that this client trusts. Give the authority's " +
    "certificate: tls: { caFile }, or SILO_TLS_CA",
  "server-name":
    "its certificate is for other names. Dial a name that it is for, or set tls: { serverName }, " +
    "or SILO_TLS_SERVER_NAME",
  expired: "its certificate is not valid now. Renew it, or set the clocks right",
  "client-certificate":
    "it asks for a client certificate. Give one that is signed by an authority of the server's " +
    "server.tls_client_ca: tls: { certFile, keyFile }, or SILO_TLS_CERT and SILO_TLS_KEY",
  handshake: "the handshake failed",
};

const OTHER_CERTIFICATE =
  "it does not accept this client's certificate, which has to be valid and signed by an authority " +
  "of the server's server.tls_client_ca";

function tlsError(
  address: string,
  problem: TlsProblem,
  cause?: Error,
  advice = ADVICE[problem],
): SiloTlsError {
  const detail = cause === undefined ? "" : ` (${textOf(cause)})`;
  const message = `no TLS connection to ${address}: ${advice}${detail}`;
  const error = Object.assign(new SiloTlsError(message, problem), { address });
  return cause === undefined ? error : withCause(error, cause);
}

/** OpenSSL's texts hold addresses and source files; errors of several tries have no text at all. */
function textOf(error: NodeJS.ErrnoException): string {
  const openssl = /:SSL routines:[^:]*:([^:]+)/.exec(error.message);
  return openssl?.[1] ?? (error.message === "" ? (error.code ?? error.name) : error.message);
}

function unreachable(address: string, what: string, cause?: Error): SiloUnavailableError {
  const error = Object.assign(new SiloUnavailableError(what), { address });
  return cause === undefined ? error : withCause(error, cause);
}

function nameless(address: string, host: string, how: string, cause?: Error) {
  const what =
    `the name "${host}" of ${address} does not resolve (${how}). Check servers; if the ` +
    "cluster tells this name, set coordination.advertised_grpc_addr there, or addressMap here";
  return unreachable(address, what, cause);
}

/** Why TCP did not come about. */
function dialError(address: string, host: string, error: NodeJS.ErrnoException) {
  const code = error.code ?? error.name;
  switch (code) {
    case "ECONNREFUSED": {
      const what =
        `nothing listens at ${address} (${code}). Is the server running, and is this the port of ` +
        "its server.grpc_addr?";
      return unreachable(address, what, error);
    }
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return nameless(address, host, code, error);
    default:
      return unreachable(address, `cannot connect to ${address}: ${textOf(error)}`, error);
  }
}

/** Why nothing was heard for DIAL_MS. */
function silent(address: string, host: string, { resolved }: Attempt): SiloUnavailableError {
  if (!resolved) {
    return nameless(address, host, `no answer of the name service within ${DIAL_MS} ms`);
  }
  const what =
    `no answer from ${address} within ${DIAL_MS} ms. Is a firewall in between, or another ` +
    "program at this port?";
  return unreachable(address, what);
}

async function examinePlain(address: string, at: HostPort) {
  const plain = await dialPlain(at);
  if (isHttp2(plain)) {
    return undefined;
  }
  if (!plain.connected && plain.error !== undefined) {
    return dialError(address, at.host, plain.error);
  }
  if (plain.answer?.subarray(0, 5).toString("latin1") === "HTTP/") {
    const what = `the server at ${address} speaks HTTP/1 and no gRPC. Is this Silo's port?`;
    return unreachable(address, what);
  }
  if (plain.timedOut) {
    return silent(address, at.host, plain);
  }
  const secure = await dialTls(at, undefined);
  const isTls =
    secure.connected ||
    plain.answer?.[0] === TLS_ALERT ||
    /alert/i.test(secure.error === undefined ? "" : `${secure.error.code}`);
  return isTls ? tlsError(address, "tls-server") : undefined;
}

async function examineTls(address: string, at: HostPort, tls: TlsDial) {
  const secure = await dialTls(at, tls);
  if (secure.answer !== undefined) {
    return undefined;
  }
  if (secure.error !== undefined) {
    const problem = problemOf(secure.error);
    if (problem === undefined) {
      return dialError(address, at.host, secure.error);
    }
    const hasOther = problem === "client-certificate" && tls.pems.cert !== undefined;
    const advice = hasOther ? OTHER_CERTIFICATE : ADVICE[problem];
    return tlsError(address, problem, secure.error, advice);
  }
  return secure.timedOut ? silent(address, at.host, secure) : undefined;
}

/**
 * Finds out why a server cannot be reached. Takes a few seconds at most.
 * @param tls undefined = the client speaks plaintext.
 * @returns undefined if it can be reached now, or nothing can be said. Never rejects.
 */
export async function diagnose(
  address: string,
  tls: TlsDial | undefined,
): Promise<SiloUnavailableError | undefined> {
  const at = parsed(address);
  if (at === undefined) {
    return undefined;
  }
  try {
    return await (tls === undefined ? examinePlain(address, at) : examineTls(address, at, tls));
  } catch {
    // A port beyond 65535, for example: the library's own error says it.
    return undefined;
  }
}
