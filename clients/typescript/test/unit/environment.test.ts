// Where a client takes addresses, token and certificates from.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DialRules } from "../../src/connection/dial-rules";
import { tlsSources } from "../../src/connection/environment";
import { InvalidOptionError } from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";

const PEM = "-----BEGIN CERTIFICATE-----\n";

function refused(options: SiloGRPCClientOptions, option: string, message: RegExp): void {
  assert.throws(
    () => new DialRules(options, {}),
    (error) => {
      assert.ok(error instanceof InvalidOptionError);
      assert.equal(error.option, option);
      assert.match(error.message, message);
      return true;
    },
  );
}

test("servers and token come from the environment where no option gives them", () => {
  const environment = { SILO_SERVERS: "a:1, b:2,", SILO_TOKEN: "secret" };
  const rules = new DialRules({}, environment);
  assert.deepEqual(rules.servers, ["a:1", "b:2"]);
  assert.equal(rules.token, "secret");
  const own = new DialRules({ servers: "c:3", token: "" }, environment);
  assert.deepEqual(own.servers, ["c:3"]);
  assert.equal(own.token, "", "an empty token is one, too: none");
  assert.equal(new DialRules({ servers: "c:3" }, { SILO_TOKEN: "" }).token, undefined);
});

test("a token of the environment does not leave loopback in plaintext by a default", () => {
  const environment = { SILO_SERVERS: "localhost:1", SILO_TOKEN: "secret" };
  assert.throws(() => new DialRules({}, environment).dialled("silo.example:1"), {
    code: "SILO_PLAINTEXT_REFUSED",
  });
});

test("certificates: paths or text in the environment, and an option wins over each", () => {
  const environment = {
    SILO_TLS_CA: "/ca.pem",
    SILO_TLS_CERT: PEM,
    SILO_TLS_KEY: "/key.pem",
    SILO_TLS_SERVER_NAME: "silo",
  };
  assert.deepEqual(tlsSources({}, environment), {
    ca: { setting: "SILO_TLS_CA", file: "/ca.pem" },
    cert: { setting: "SILO_TLS_CERT", pem: PEM },
    key: { setting: "SILO_TLS_KEY", file: "/key.pem" },
    serverName: "silo",
  });
  assert.deepEqual(tlsSources({ ca: PEM, certFile: "/own.pem", serverName: "own" }, environment), {
    ca: { setting: "tls.ca", pem: PEM },
    cert: { setting: "tls.certFile", file: "/own.pem" },
    serverName: "own",
  });
  assert.deepEqual(tlsSources({}, { SILO_TLS_CA: "" }), {});
});

test("what turns TLS on and off", () => {
  const local = { servers: "localhost:1" };
  const named = { SILO_TLS_SERVER_NAME: "silo" };
  assert.equal(new DialRules(local, {}).useTls, false);
  assert.equal(new DialRules(local, named).useTls, true, "the environment speaks of TLS");
  assert.equal(new DialRules({ ...local, tls: false }, named).useTls, false);
  assert.equal(new DialRules({ ...local, tls: { serverName: "s" } }, {}).useTls, true);
  assert.equal(new DialRules({ ...local, tls: true }, {}).useTls, true);
  assert.equal(new DialRules({ servers: "silo.example:1", tls: false }, {}).useTls, false);
});

test("the roots of the gRPC library's own variable are used where TLS is on, and turn it on nowhere", () => {
  const environment = { GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: "/no/roots.pem" };
  assert.equal(new DialRules({ servers: "localhost:1" }, environment).useTls, false);
  assert.throws(() => new DialRules({ servers: "silo.example:1" }, environment), {
    option: "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
  });
});

test("options that cannot be meant are refused, with what to write instead", () => {
  refused({}, "servers", /no server is named, nor in SILO_SERVERS; give host:port/);
  refused({ servers: [] }, "servers", /no server is named/);
  refused({ servers: "a:1,b:2" }, "servers", /"a:1,b:2" is not one address/);
  refused({ servers: "http://silo:50051" }, "servers", /"http:\/\/silo:50051" is a URL/);
  refused({ servers: "silo" }, "servers", /"silo" has no port/);
  const servers = "localhost:1";
  refused({ servers, tls: true, useTls: false }, "tls", /asks for TLS to be on, useTls does not/);
  refused({ servers, tls: { ca: "/ca.pem" } }, "tls.ca", /no PEM block; the path of a file/);
  refused({ servers, tls: { caFile: "/no/such.pem" } }, "tls.caFile", /ENOENT.*\/no\/such\.pem/);
  refused({ servers, tls: { ca: PEM, caFile: "/ca" } }, "tls.ca", /either this or caFile/);
  refused({ servers, tls: { ca: PEM } }, "tls.ca", /is no certificate/);
  refused({ servers, tls: { cert: PEM } }, "tls.cert", /a key has to be given with it/);
  refused({ servers, tls: { keyFile: "/k" } }, "tls.keyFile", /a certificate has to be given/);
});

test("an IPv6 address gets the brackets that a port needs", () => {
  const servers = [{ host: "::1", port: 1 }, { host: "silo", port: 2 }];
  assert.deepEqual(new DialRules({ servers, tls: false }, {}).servers, ["[::1]:1", "silo:2"]);
});
