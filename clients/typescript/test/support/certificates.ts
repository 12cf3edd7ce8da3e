// Certificates for tests of TLS, made by openssl when they are needed.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** A certificate's file and its key's. */
export interface Pair {
  cert: string;
  key: string;
}

/** An authority of a directory of its own. */
export class Authority {
  readonly cert: string;

  private constructor(
    private readonly dir: string,
    private readonly name: string,
  ) {
    this.cert = this.path(`${name}.pem`);
  }

  static make(dir: string, name: string): Authority {
    const authority = new Authority(dir, name);
    authority.openssl(
      ["req", "-x509", ...NEW_KEY, "-days", "2", "-subj", `/CN=${name}`],
      ["-keyout", authority.path(`${name}.key`), "-out", authority.cert],
    );
    return authority;
  }

  /** @param names of a server: `DNS:localhost,IP:127.0.0.1`; none for a client. */
  issue(subject: string, names?: string): Pair {
    const [cert, key] = [this.path(`${subject}.pem`), this.path(`${subject}.key`)];
    const [request, extensions] = [this.path(`${subject}.csr`), this.path(`${subject}.ext`)];
    writeFileSync(extensions, names === undefined ? "" : `subjectAltName=${names}\n`);
    this.openssl(["req", ...NEW_KEY, "-subj", `/CN=${subject}`], ["-keyout", key, "-out", request]);
    this.openssl(
      ["x509", "-req", "-in", request, "-days", "2", "-extfile", extensions, "-out", cert],
      ["-CA", this.cert, "-CAkey", this.path(`${this.name}.key`), "-CAcreateserial"],
    );
    return { cert, key };
  }

  private path(file: string): string {
    return join(this.dir, file);
  }

  private openssl(...parts: string[][]): void {
    execFileSync("openssl", parts.flat(), { stdio: ["ignore", "ignore", "ignore"] });
  }
}

/** A directory for certificates, and what removes it. */
export function certificateDirectory(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), "silo-tls-"));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}
