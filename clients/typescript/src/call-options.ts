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
 * @throws what the caller's token function throws.
 */
export async function makeCallOptions(
  given: RpcOptions,
  { token }: Pick<SiloGRPCClientOptions, "token">,
): Promise<RpcOptions> {
  const active = context.active();
  const meta: RpcMetadata = { ...given.meta };
  const bearer = typeof token === "function" ? await token() : token;
  if (bearer !== undefined && bearer !== "") {
    meta.authorization = `Bearer ${bearer}`;
  }
  propagation.inject(active, meta, lowerCaseSetter);
  return { ...given, meta };
}
