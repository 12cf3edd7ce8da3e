// What a client takes from the environment where its options say nothing. An option always wins.
import { InvalidOptionError } from "../errors/errors";
import type { SiloGRPCClientOptions } from "./options";
import type { PemSource, TlsOptions, TlsSources } from "./tls";

/** The variables; one that is empty counts as not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

function valueOf(environment: Environment, name: string): string | undefined {
  const value = environment[name];
  return value === "" ? undefined : value;
}

/** The addresses of SILO_SERVERS, which commas separate. */
export function serversFrom(environment: Environment): string[] | undefined {
  return valueOf(environment, "SILO_SERVERS")
    ?.split(",")
    .map((server) => server.trim())
    .filter((server) => server !== "");
}

export function tokenFrom(environment: Environment): string | undefined {
  return valueOf(environment, "SILO_TOKEN");
}

/** The authorities that the gRPC library itself would trust, if the environment names them. */
export function grpcRoots(environment: Environment): PemSource | undefined {
  return pemFrom(environment, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
}

/** A variable is a path, or the PEM text itself. */
function pemFrom(environment: Environment, setting: string): PemSource | undefined {
  const value = valueOf(environment, setting);
  if (value === undefined) {
    return undefined;
  }
  return value.includes("-----BEGIN ") ? { setting, pem: value } : { setting, file: value };
}

/** @throws InvalidOptionError if both forms of a part are given. */
function pemOf(tls: TlsOptions, part: "ca" | "cert" | "key"): PemSource | undefined {
  const [pem, file] = [tls[part], tls[`${part}File`]];
  if (pem !== undefined && file !== undefined) {
    throw new InvalidOptionError(`tls.${part}`, `give either this or ${part}File, not both`);
  }
  if (pem !== undefined) {
    return { setting: `tls.${part}`, pem };
  }
  return file === undefined ? undefined : { setting: `tls.${part}File`, file };
}

/**
 * Where the certificates come from. A client certificate and its key are taken from the same
 * place: those of the environment are left alone if an option has either.
 * @returns an empty object if nothing is given.
 */
export function tlsSources(tls: TlsOptions, environment: Environment): TlsSources {
  const own = { cert: pemOf(tls, "cert"), key: pemOf(tls, "key") };
  const isOwn = own.cert !== undefined || own.key !== undefined;
  const sources: TlsSources = {
    ca: pemOf(tls, "ca") ?? pemFrom(environment, "SILO_TLS_CA"),
    cert: isOwn ? own.cert : pemFrom(environment, "SILO_TLS_CERT"),
    key: isOwn ? own.key : pemFrom(environment, "SILO_TLS_KEY"),
    serverName: tls.serverName ?? valueOf(environment, "SILO_TLS_SERVER_NAME"),
  };
  return Object.fromEntries(Object.entries(sources).filter(([, value]) => value !== undefined));
}

/**
 * Whether the options ask for TLS; undefined if they leave it open.
 * @throws InvalidOptionError if they contradict each other.
 */
export function tlsWanted({ tls, useTls }: SiloGRPCClientOptions): boolean | undefined {
  const wanted = typeof tls === "object" ? true : tls;
  if (wanted !== undefined && useTls !== undefined && wanted !== useTls) {
    const what = `asks for TLS to be ${wanted ? "on" : "off"}, useTls does not`;
    throw new InvalidOptionError("tls", what);
  }
  return wanted ?? useTls;
}
