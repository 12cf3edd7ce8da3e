import { context, propagation } from "@opentelemetry/api";
import type { TextMapSetter } from "@opentelemetry/api";
import type { RpcMetadata, RpcOptions } from "@protobuf-ts/runtime-rpc";
import type { SiloGRPCClientOptions } from "./options";

const lowerCaseSetter: TextMapSetter<RpcMetadata> = {
  set(carrier, key, value) {
    carrier[key.toLowerCase()] = value;
  },
};

/** What the caller wants of one RPC. @throws what the caller's function throws. */
export function givenOptions(options: Pick<SiloGRPCClientOptions, "rpcOptions">): RpcOptions {
  const { rpcOptions } = options;
  return (typeof rpcOptions === "function" ? rpcOptions() : rpcOptions) ?? {};
}

/**
 * The options of one RPC: those given, which are not changed, with the bearer token and the active
 * trace context added to the metadata.
 */
export function makeCallOptions(given: RpcOptions, bearer: string | undefined): RpcOptions {
  const meta: RpcMetadata = { ...given.meta };
  if (bearer !== undefined) {
    meta.authorization = `Bearer ${bearer}`;
  }
  propagation.inject(context.active(), meta, lowerCaseSetter);
  return { ...given, meta };
}
