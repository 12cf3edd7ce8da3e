// The certificates of a client: where they come from, whether they fit, and when they are read.
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { credentials } from "@grpc/grpc-js";
import type { ChannelCredentials } from "@grpc/grpc-js";
import { asError, messageOf } from "../base/describe";
import { InvalidOptionError } from "../errors/errors";

/** What a client needs to speak TLS. Of each pair (`ca` and `caFile`) only one may be given. */
export interface TlsOptions {
  /** Certificates of the authorities to trust in place of the system's, PEM. */
  ca?: string | Uint8Array;
  /** Path of a PEM file with them. */
  caFile?: string;
  /** Certificate of this client for mutual TLS, with its chain, PEM. Needs a key. */
  cert?: string | Uint8Array;
  /** Path of a PEM file with it. */
  certFile?: string;
  /** Private key of that certificate, PEM, not encrypted. */
  key?: string | Uint8Array;
  /** Path of a PEM file with it. */
  keyFile?: string;
  /**
   * Name that the servers' certificates are for. Default: the host that is dialled; needed where
   * that is an address or a forwarded port and the certificate has another name.
   */
  serverName?: string;
}

/** PEM text, or a file that has it, and the name of the setting that says so. */
export interface PemSource {
  setting: string;
  pem?: string | Uint8Array;
  file?: string;
}

/** Where the parts come from. */
export interface TlsSources {
  ca?: PemSource;
  cert?: PemSource;
  key?: PemSource;
  serverName?: string;
}

/** The parts as bytes. */
export interface TlsPems {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

/** @throws InvalidOptionError */
function readPem({ setting, pem, file }: PemSource): Buffer {
  let bytes: Buffer;
  try {
    bytes = file === undefined ? Buffer.from(pem ?? "") : readFileSync(file);
  } catch (error) {
    throw new InvalidOptionError(setting, `cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (!bytes.includes("-----BEGIN ")) {
    const hint = file === undefined ? "; the path of a file goes to the option ending in File" : "";
    const where = file === undefined ? "" : ` in ${file}`;
    throw new InvalidOptionError(setting, `there is no PEM block${where}${hint}`);
  }
  return bytes;
}

/** @throws InvalidOptionError if the first certificate is none. */
function checkCertificate(setting: string, pem: Buffer): void {
  try {
    new X509Certificate(pem);
  } catch (error) {
    const message = `the PEM block is no certificate: ${messageOf(error)}`;
    throw new InvalidOptionError(setting, message, { cause: error });
  }
}

/** All parts, read and checked against each other. @throws InvalidOptionError */
function readPems({ ca, cert, key }: TlsSources): TlsPems {
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? [key, "certificate"] : [cert, "key"];
    throw new InvalidOptionError(
      given?.setting ?? "tls",
      `a ${missing} has to be given with it: a client certificate is a certificate and its key`,
    );
  }
  const pems = {
    ca: ca && readPem(ca),
    cert: cert && readPem(cert),
    key: key && readPem(key),
  };
  if (ca !== undefined && pems.ca !== undefined) {
    checkCertificate(ca.setting, pems.ca);
  }
  if (cert !== undefined && pems.cert !== undefined) {
    checkCertificate(cert.setting, pems.cert);
  }
  return pems;
}

/** @throws InvalidOptionError if certificate and key do not belong together. */
function makeCredentials(sources: TlsSources, { ca, cert, key }: TlsPems): ChannelCredentials {
  try {
    return credentials.createSsl(ca ?? null, key ?? null, cert ?? null);
  } catch (error) {
    const setting = sources.key?.setting ?? sources.ca?.setting ?? "tls";
    const certificate = sources.cert === undefined ? "" : ` with the ${sources.cert.setting}`;
    const message = `cannot be used${certificate}: ${messageOf(error)}`;
    throw new InvalidOptionError(setting, message, { cause: error });
  }
}

/**
 * The certificates of one client. Files are read when it is made, and again before a connection
 * that begins after they changed; while what they hold does not fit together, such as a new
 * certificate with the old key, what was read before stays in use.
 */
export class TlsMaterial {
  private readonly files: readonly string[];
  private made: ChannelCredentials;
  private pemsInUse: TlsPems;
  private stamp: string;

  /** @throws InvalidOptionError for what cannot be read or does not fit together. */
  constructor(private readonly sources: TlsSources) {
    this.files = [sources.ca, sources.cert, sources.key]
      .map((source) => source?.file)
      .filter((file) => file !== undefined);
    this.stamp = this.stampNow();
    this.pemsInUse = readPems(sources);
    this.made = makeCredentials(sources, this.pemsInUse);
  }

  /** Name that certificates are for, if it is not the host dialled. */
  get serverName(): string | undefined {
    return this.sources.serverName;
  }

  /**
   * What a connection that begins now uses: another object once the files have changed. Looks at
   * the files, so it is not for every call.
   */
  get credentials(): ChannelCredentials {
    this.look();
    return this.made;
  }

  /** The certificates of such a connection. */
  get pems(): TlsPems {
    this.look();
    return this.pemsInUse;
  }

  private look(): void {
    const stamp = this.stampNow();
    if (stamp === this.stamp) {
      return;
    }
    this.stamp = stamp;
    try {
      const pems = readPems(this.sources);
      this.made = makeCredentials(this.sources, pems);
      this.pemsInUse = pems;
    } catch (error) {
      console.error("[SiloGRPCClient] certificates in use are kept:", asError(error).message);
    }
  }

  /** Changes when a file does. A file that is not there counts, too. */
  private stampNow(): string {
    return this.files
      .map((file) => {
        const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
        return stat === undefined ? "-" : `${stat.ino} ${stat.size} ${stat.mtimeNs}`;
      })
      .join(" ");
  }
}
